// What the journal gives back: jobs, lists and decisions, read beside the writer.
#include <functional>
#include <utility>

#include "net/await_reply.h"
#include "orchestrator/journal.h"

namespace llorch {
namespace {

// Runs `ask` on the store's reader and resolves with its answer.
template <class T>
Task<Result<T>> ask_store(Executor executor, Store& store,
                          std::function<Result<T>(StoreReader&)> ask) {
  using Reply = std::function<void(Result<T>)>;
  const std::function<void(Reply)> start = [&store, ask = std::move(ask)](const Reply& reply) {
    const auto posted = store.read([ask, reply](StoreReader& reader) { reply(ask(reader)); });
    if (!posted) reply(fail(posted.error()));
  };
  co_return co_await await_reply<T>(executor, start);
}

}  // namespace

Task<Result<std::optional<JobId>>> Journal::job_of_key(std::string tenant, std::string key,
                                                       std::string body_sha256) {
  using Found = std::optional<StoredJob>;
  const std::function<Result<Found>(StoreReader&)> ask = [tenant, key](StoreReader& reader) {
    return reader.job_of_key(tenant, key);
  };
  auto found = co_await ask_store<Found>(executor_, store_, ask);
  if (!found) co_return fail(found.error());
  const auto job = std::move(*found);
  if (!job) co_return std::nullopt;
  if (job->idempotency_hash != body_sha256) {
    co_return fail(Code::conflict, "this Idempotency-Key was used with another body");
  }
  co_return job->job_id;
}

Task<std::shared_ptr<JobRecord>> Journal::recall_row(JobId id) {
  using Found = std::optional<StoredJob>;
  const std::function<Result<Found>(StoreReader&)> ask = [id](StoreReader& reader) {
    return reader.job(id);
  };
  const auto found = co_await ask_store<Found>(executor_, store_, ask);
  const auto row = found.value_or(std::nullopt);
  if (!row) co_return nullptr;
  auto job = record_of(executor_, *row);
  job->closed = has_ended(row->status);
  co_return job;
}

Task<std::shared_ptr<JobRecord>> Journal::recall(JobId id) {
  auto job = co_await recall_row(id);
  if (!job || job->kind != JobKind::task || !job->closed) co_return job;
  using Blob = std::optional<std::string>;
  const std::function<Result<Blob>(StoreReader&)> ask = [id](StoreReader& reader) {
    return reader.frames(id);
  };
  const auto found = co_await ask_store<Blob>(executor_, store_, ask);
  const auto blob = found.value_or(std::nullopt);
  if (!blob) co_return job;
  const auto frames = decode_frames(*blob);
  for (const auto& frame : frames.value_or(std::vector<LoggedFrame>{})) {
    take_frame(*job, static_cast<std::int64_t>(frame.seq), frame.bytes);
  }
  co_return job;
}

Task<Result<std::vector<StoredJob>>> Journal::list(const JobFilter& filter) {
  using Rows = std::vector<StoredJob>;
  const std::function<Result<Rows>(StoreReader&)> ask = [filter](StoreReader& reader) {
    return reader.jobs(filter);
  };
  auto rows = co_await ask_store<Rows>(executor_, store_, ask);
  co_return rows;
}

Task<std::vector<std::string>> Journal::decisions(JobId id) {
  using Rows = std::vector<StoredDecision>;
  const std::function<Result<Rows>(StoreReader&)> ask = [id](StoreReader& reader) {
    return reader.decisions(id);
  };
  const auto rows = co_await ask_store<Rows>(executor_, store_, ask);
  std::vector<std::string> texts;
  if (rows) {
    for (const auto& row : *rows) texts.push_back(row.json);
  }
  co_return texts;
}

Task<Result<std::vector<StoredUsage>>> Journal::usage(std::int64_t since_ms) {
  using Rows = std::vector<StoredUsage>;
  const std::function<Result<Rows>(StoreReader&)> ask = [since_ms](StoreReader& reader) {
    return reader.usage(since_ms);
  };
  co_return co_await ask_store<Rows>(executor_, store_, ask);
}

}  // namespace llorch
