#include "fakes/memory_store.h"

#include <algorithm>
#include <utility>

#include "base/limits.h"

namespace llorch {
namespace {

template <class T>
void set(T& field, const std::optional<T>& value) {
  if (value) field = *value;
}

Result<std::vector<StoredJob>::iterator> find_job(std::vector<StoredJob>& jobs, const JobId& id) {
  const auto found = std::ranges::find(jobs, id, &StoredJob::job_id);
  if (found == jobs.end()) return fail(Code::job_not_found, "no job " + id.value);
  return found;
}

void change(StoredJob& job, const UpdateJob& update) {
  set(job.status, update.status);
  set(job.worker_id, update.worker_id);
  set(job.tokenizer_hash, update.tokenizer_hash);
  set(job.attempt, update.attempt);
  if (update.dispatched_at_ms) job.dispatched_at_ms = update.dispatched_at_ms;
  if (update.first_token_at_ms) job.first_token_at_ms = update.first_token_at_ms;
  job.ended_at_ms = update.ended_at_ms;
  set(job.prompt_tokens, update.prompt_tokens);
  set(job.cached_tokens, update.cached_tokens);
  set(job.tokens_out, update.tokens_out);
  set(job.stop_reason, update.stop_reason);
  set(job.error_code, update.error_code);
  set(job.error_message, update.error_message);
  if (job.ended_at_ms) job.body.clear();
}

}  // namespace

struct MemoryStore::Apply {
  MemoryStore& store;

  Result<void> operator()(const UpsertWorker& write) const {
    auto& row =
        store.workers_.try_emplace(write.worker.worker_id.value, write.worker).first->second;
    const auto registered_at_ms = row.registered_at_ms;
    row = write.worker;
    row.registered_at_ms = registered_at_ms;
    return {};
  }
  Result<void> operator()(const RemoveWorker& write) const {
    store.workers_.erase(write.worker_id.value);
    return {};
  }
  Result<void> operator()(const InsertJob& write) const {
    const StoredJob& job = write.job;
    if (job.body.size() > limits::body_bytes_max) return fail(Code::too_large, "body");
    if (has_ended(job.status) || job.ended_at_ms) return fail(Code::invalid_request, "ended");
    const bool known = std::ranges::any_of(store.jobs_, [&](const StoredJob& other) {
      const bool same_key = !job.idempotency_key.empty() && other.tenant == job.tenant &&
                            other.idempotency_key == job.idempotency_key;
      return other.job_id == job.job_id || same_key;
    });
    if (known) return fail(Code::conflict, "job " + job.job_id.value + " is stored already");
    store.jobs_.push_back(job);
    return {};
  }
  Result<void> operator()(const RemoveJob& write) const {
    std::erase_if(store.jobs_, [&](const StoredJob& job) { return job.job_id == write.job_id; });
    store.frames_.erase(write.job_id.value);
    return {};
  }
  Result<void> operator()(const UpdateJob& write) const {
    const bool ends = write.status && has_ended(*write.status);
    if (ends != write.ended_at_ms.has_value()) return fail(Code::invalid_request, "half an end");
    const auto job = find_job(store.jobs_, write.job_id);
    if (!job) return fail(job.error());
    if ((*job)->ended_at_ms) return fail(Code::conflict, "has ended already");
    change(**job, write);
    return {};
  }
  Result<void> operator()(const AppendDecision& write) const {
    const auto row = store.decisions_.empty() ? 0 : store.decisions_.back().row;
    store.decisions_.push_back({row + 1, write.decision});
    return {};
  }
  Result<void> operator()(const UpsertKey& write) const {
    store.keys_[write.key.key_id] = write.key;
    return {};
  }
  Result<void> operator()(const FoldFrames& write) const {
    if (write.blob.size() > limits::store_frames_bytes_max) return fail(Code::too_large, "frames");
    const auto job = find_job(store.jobs_, write.job_id);
    if (!job) return fail(job.error());
    store.frames_[write.job_id.value] = write.blob;
    return {};
  }
  Result<void> operator()(const EndAbandoned& write) const {
    for (auto& job : store.jobs_) {
      if (job.ended_at_ms || job.route == StoredJob::Route::v2) continue;
      change(job, {.job_id = job.job_id,
                   .status = StoredJob::Status::failed,
                   .ended_at_ms = write.ended_at_ms,
                   .error_code = write.error_code,
                   .error_message = write.error_message});
    }
    return {};
  }
  Result<void> operator()(const DeleteOlder& write) const {
    std::erase_if(store.jobs_, [&](const StoredJob& job) {
      const bool old = job.ended_at_ms && *job.ended_at_ms < write.before_ms;
      if (old) store.frames_.erase(job.job_id.value);
      return old;
    });
    const auto newest = store.decisions_.empty() ? 0 : store.decisions_.back().row;
    std::erase_if(store.decisions_, [&](const DecisionRow& row) {
      return row.decision.at_ms < write.before_ms || row.row <= newest - write.decisions_max;
    });
    return {};
  }
};

class MemoryStore::Reader final : public StoreReader {
 public:
  explicit Reader(MemoryStore& store) : store_(store) {}

  Result<std::vector<StoredWorker>> workers() override {
    std::vector<StoredWorker> rows;
    for (const auto& [id, worker] : store_.workers_) rows.push_back(worker);
    return rows;
  }
  Result<std::vector<StoredKey>> keys() override {
    std::vector<StoredKey> rows;
    for (const auto& [id, key] : store_.keys_) rows.push_back(key);
    return rows;
  }
  Result<std::optional<StoredJob>> job(const JobId& job_id) override {
    const auto found = find_job(store_.jobs_, job_id);
    return found ? std::optional(**found) : std::nullopt;
  }
  Result<std::optional<StoredJob>> job_of_key(std::string_view tenant,
                                              std::string_view key) override {
    for (auto job : store_.jobs_) {
      if (key.empty() || job.tenant != tenant || job.idempotency_key != key) continue;
      job.body.clear();
      return job;
    }
    return std::nullopt;
  }
  Result<std::vector<StoredJob>> jobs(const JobFilter& filter) override {
    auto rows = in_order();
    std::ranges::reverse(rows);
    auto from = rows.begin();
    while (filter.before && from != rows.end() && place_of(*from) >= *filter.before) ++from;
    std::vector<StoredJob> page;
    for (; from != rows.end(); ++from) {
      if (page.size() >= std::min(filter.limit, limits::store_list_max)) break;
      if (filter.since_ms && from->accepted_at_ms < *filter.since_ms) continue;
      if (filter.status && from->status != *filter.status) continue;
      if (filter.model && from->model != *filter.model) continue;
      if (filter.tenant && from->tenant != *filter.tenant) continue;
      from->body.clear();
      page.push_back(*from);
    }
    return page;
  }
  Result<std::vector<StoredUsage>> usage(std::int64_t since_ms) override {
    std::map<std::pair<std::string, std::string>, StoredUsage> sums;
    for (const auto& job : store_.jobs_) {
      if (job.accepted_at_ms < since_ms) continue;
      auto& sum = sums[{job.tenant, job.model}];
      sum.tenant = job.tenant;
      sum.model = job.model;
      ++sum.jobs;
      if (job.status == StoredJob::Status::failed) ++sum.failed;
      sum.prompt_tokens += job.prompt_tokens;
      sum.cached_tokens += job.cached_tokens;
      sum.tokens_out += job.tokens_out;
    }
    std::vector<StoredUsage> rows;
    for (const auto& [key, sum] : sums) {
      if (rows.size() < limits::store_list_max) rows.push_back(sum);
    }
    return rows;
  }
  Result<std::vector<StoredCharge>> charges(std::int64_t since_ms) override {
    std::map<std::pair<std::int64_t, std::string>, std::int64_t> sums;
    for (const auto& job : store_.jobs_) {
      if (job.key_id.empty() || job.ended_at_ms.value_or(since_ms - 1) < since_ms) continue;
      sums[{*job.ended_at_ms, job.key_id}] += job.prompt_tokens + job.tokens_out;
    }
    std::vector<StoredCharge> rows;
    for (const auto& [at, tokens] : sums) rows.push_back({at.second, at.first, tokens});
    return rows;
  }
  Result<std::vector<StoredJob>> open_jobs() override {
    auto rows = in_order();
    std::erase_if(rows, [](const StoredJob& job) {
      return job.ended_at_ms || job.route != StoredJob::Route::v2;
    });
    return rows;
  }
  Result<std::vector<StoredDecision>> decisions(const JobId& job_id) override {
    std::vector<StoredDecision> rows;
    for (const auto& [row, decision] : store_.decisions_) {
      if (decision.job_id == job_id) rows.push_back(decision);
    }
    return rows;
  }
  Result<DecisionSpan> newest_decisions(std::int64_t since_ms, std::int64_t count_max) override {
    std::vector<DecisionRow> found;
    std::ranges::copy_if(store_.decisions_, std::back_inserter(found),
                         [&](const auto& row) { return row.decision.at_ms >= since_ms; });
    std::ranges::stable_sort(found, [](const auto& a, const auto& b) {
      return std::pair(a.decision.at_ms, a.row) > std::pair(b.decision.at_ms, b.row);
    });
    DecisionSpan span{.count = std::ssize(found)};
    for (const auto& row : found) {
      if (count_max-- <= 0) break;
      span.first_row = span.first_row == 0 ? row.row : std::min(span.first_row, row.row);
    }
    return span;
  }
  Result<std::vector<DecisionRow>> decisions_from(std::int64_t row,
                                                  std::int64_t count_max) override {
    std::vector<DecisionRow> found;
    for (const auto& each : store_.decisions_) {
      if (each.row >= row && std::ssize(found) < count_max) found.push_back(each);
    }
    return found;
  }
  Result<std::optional<std::string>> frames(const JobId& job_id) override {
    const auto found = store_.frames_.find(job_id.value);
    return found == store_.frames_.end() ? std::nullopt : std::optional(found->second);
  }

 private:
  std::vector<StoredJob> in_order() const {
    auto rows = store_.jobs_;
    std::ranges::sort(rows, {}, place_of);
    return rows;
  }

  MemoryStore& store_;
};

void MemoryStore::apply(const StoreWrite& write, const Done& done) {
  const auto broken = fault ? fault(write) : std::nullopt;
  auto result = broken ? Result<void>(fail(*broken)) : std::visit(Apply{*this}, write);
  if (done) done(std::move(result));
}

Result<void> MemoryStore::write(StoreWrite write, Done done) {
  if (hold) {
    waiting_.push_back({std::move(write), std::move(done)});
  } else {
    apply(write, done);
  }
  return {};
}

void MemoryStore::release() {
  while (!waiting_.empty()) {
    const auto next = std::move(waiting_.front());
    waiting_.pop_front();
    apply(next.write, next.done);
  }
}

Result<void> MemoryStore::read(Read task) {
  Reader reader(*this);
  task(reader);
  return {};
}

Result<void> MemoryStore::flush() {
  release();
  return {};
}

}  // namespace llorch
