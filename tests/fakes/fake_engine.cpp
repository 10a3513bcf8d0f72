#include "fakes/fake_engine.h"

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "fakes/fake_pace.h"
#include "fakes/fake_prefix_cache.h"
#include "fakes/fake_tokens.h"
#include "protocol/prefix_hash.h"

namespace llorch {
namespace {

// One job on its way. Only the engine thread changes it, but `cancelled` and `parked`.
struct FakeJob {
  enum class Phase { queued, prefill, decode };
  JobRequest request;
  std::shared_ptr<Outbox> outbox;
  std::deque<JobEvent> script;  // played instead, when not empty at submit
  bool scripted = false;
  bool cancelled = false;
  bool parked = false;
  Phase phase = Phase::queued;
  std::uint64_t prompt_hash = 0;
  std::int64_t prompt_tokens = 0;
  std::int64_t prompt_done = 0;
  std::int64_t cached_tokens = 0;
  std::vector<PrefixHash> chain;
  bool begun = false;  // Started is out
  std::int64_t next_index = 0;
  std::int64_t end_index = 0;
  std::string held_text;         // could still become a stop string
  std::deque<JobEvent> pending;  // not yet taken by the outbox
};

Ended ended(const FakeJob& job, StopReason reason) {
  Ended end;
  end.tokens_out = job.next_index;
  end.reason = reason;
  end.prompt_tokens = job.prompt_tokens;
  end.prefill_ms = 1;
  end.decode_time_ms = 2;
  return end;
}

std::string resumed_text(const FakeJob& job) {
  std::string text;
  for (const auto token : job.request.resume_tokens) text += static_cast<char>(token);
  return text;
}

ChatDelta content_delta(std::string text) {
  ChatDelta delta;
  delta.content = std::move(text);
  return delta;
}

// Takes from `text` what no stop string can reach any more; `hit` is set when one is complete.
std::string release_text(std::string& text, const std::vector<std::string>& stops,
                         std::string& hit) {
  for (const auto& stop : stops) {
    if (const auto at = text.find(stop); at != std::string::npos) {
      hit = stop;
      auto released = text.substr(0, at);
      text.clear();
      return released;
    }
  }
  std::size_t keep = 0;
  for (const auto& stop : stops) {
    for (auto n = std::min(stop.size() - 1, text.size()); n > keep; --n) {
      if (std::string_view(text).substr(text.size() - n) == std::string_view(stop).substr(0, n)) {
        keep = n;
      }
    }
  }
  auto released = text.substr(0, text.size() - keep);
  text.erase(0, text.size() - keep);
  return released;
}

Started started(const FakeJob& job) {
  Started event{.prompt_tokens = job.prompt_tokens,
                .cached_tokens = job.cached_tokens,
                .seed = job.request.sampling.seed.value_or(7),
                .resumed_text = resumed_text(job),
                .resumed_deltas = {}};
  const bool chat = job.request.parse_chat && !event.resumed_text.empty();
  if (chat) event.resumed_deltas.push_back(content_delta(event.resumed_text));
  return event;
}

ModelCard make_card(const FakeEngineOptions& options) {
  ModelCard card;
  card.architecture = "fake";
  card.description = "fake engine";
  card.device = "none";
  card.tokenizer_hash = "00000000000000fa";
  card.template_source = "gguf";
  card.layout = "streams";
  card.embeddings_only = options.embeddings_only;
  card.slots_total = options.slots;
  card.context_tokens = options.context_tokens;
  card.train_context_tokens = options.context_tokens;
  card.vocabulary_tokens = 256;
  card.embedding_size = options.embedding_size;
  card.parameters = 1;
  card.memory_bytes = 1 << 20;
  return card;
}

std::vector<float> embedding_of(std::string_view input, std::size_t size) {
  std::vector<float> vector(size);
  double sum = 0;
  for (std::size_t i = 0; i < size; ++i) {
    vector[i] = static_cast<float>(mix(hash_bytes(input) + i) % 1000) / 1000.0F + 0.001F;
    sum += static_cast<double>(vector[i]) * static_cast<double>(vector[i]);
  }
  for (auto& value : vector) value /= static_cast<float>(std::sqrt(sum));
  return vector;
}

Result<Embeddings> embeddings_of(const EmbeddingRequest& request,
                                 const FakeEngineOptions& options) {
  Embeddings out;
  const auto size = request.dimensions ? static_cast<std::size_t>(*request.dimensions)
                                       : static_cast<std::size_t>(options.embedding_size);
  for (const auto& input : request.inputs) {
    if (static_cast<std::int64_t>(input.size()) > options.context_tokens) {
      return fail(Code::context_length_exceeded, "an input is longer than the context");
    }
    out.vectors.push_back(embedding_of(input, size));
    out.prompt_tokens += static_cast<std::int64_t>(input.size());
  }
  return out;
}

}  // namespace

struct FakeEngine::State {
  explicit State(FakeEngineOptions given)
      : options(given),
        card(make_card(given)),
        cache(static_cast<std::size_t>(given.cache_tokens * given.bytes_per_token) /
              prefix_block_bytes),
        pace(given.prefill_tokens_per_second, given.decode_tokens_per_second),
        steps_allowed(given.held ? 0 : unlimited) {}

  static constexpr std::int64_t unlimited = -1;

  FakeEngineOptions options;
  ModelCard card;
  mutable std::mutex mutex;
  mutable std::condition_variable changed;     // inbox, controls and progress alike
  std::vector<std::shared_ptr<FakeJob>> jobs;  // in order of submission
  std::deque<std::function<void()>> tasks;     // tokenize, detokenize, embed
  std::vector<JobEvent> next_script;
  FakePrefixCache cache;
  FakePace pace;
  std::int64_t steps_allowed;
  EngineLoad load;
  bool stopping = false;
  std::thread thread;

  void run();
  void apply_cancels(std::unique_lock<std::mutex>& lock);
  bool has_work() const;
  void step(std::unique_lock<std::mutex>& lock);
  void advance(FakeJob& job);
  void give_time();
  void advance_by_speed(FakeJob& job, std::int64_t tokens);
  void begin_prompt(FakeJob& job);
  void compute(FakeJob& job, std::int64_t todo);
  void deliver(std::unique_lock<std::mutex>& lock, const std::shared_ptr<FakeJob>& job);
  void answer(std::unique_lock<std::mutex>& lock);
  void post(std::function<void()> task);
  void remove(const std::shared_ptr<FakeJob>& job);
  void claim_slots();
  void refresh_load();
  JobEvent decode_one(FakeJob& job, std::optional<JobEvent>& end);
};

FakeEngine::FakeEngine(FakeEngineOptions options) : state_(std::make_unique<State>(options)) {
  state_->refresh_load();
  state_->thread = std::thread([state = state_.get()] { state->run(); });
}

FakeEngine::~FakeEngine() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stopping = true;
    for (const auto& job : state_->jobs) job->cancelled = true;
  }
  state_->changed.notify_all();
  state_->thread.join();
}

const ModelCard& FakeEngine::card() const {
  return state_->card;
}

EngineLoad FakeEngine::load() const {
  const std::lock_guard lock(state_->mutex);
  return state_->load;
}

std::string FakeEngine::prompt_text(const PromptSource& prompt) {
  std::string text;
  if (const auto* bare = std::get_if<std::string>(&prompt)) return *bare;
  if (const auto* chat = std::get_if<ChatPrompt>(&prompt)) {
    for (const auto& message : chat->messages) text += message.content;
  } else {
    for (const auto token : std::get<std::vector<Token>>(prompt)) {
      text += static_cast<char>(token);
    }
  }
  return text;
}

Token FakeEngine::token_at(std::string_view prompt, std::int64_t index) {
  return token_of(hash_bytes(prompt), index);
}

std::string FakeEngine::text_of(std::string_view prompt, std::int64_t from, std::int64_t to) {
  std::string text;
  for (auto i = from; i < to; ++i) text += static_cast<char>(token_at(prompt, i));
  return text;
}

void FakeEngine::submit(JobRequest request, std::shared_ptr<Outbox> outbox) {
  auto job = std::make_shared<FakeJob>();
  const auto text = prompt_text(request.prompt);
  job->prompt_hash = hash_bytes(text);
  const auto bytes_per_token = state_->options.bytes_per_token;
  const auto text_tokens =
      (static_cast<std::int64_t>(text.size()) + bytes_per_token - 1) / bytes_per_token;
  job->prompt_tokens = text_tokens + static_cast<std::int64_t>(request.resume_tokens.size());
  if (state_->options.cache_tokens > 0) {
    job->chain = prefix_chain(request.cache_scope, "fake", request.prompt);
  }
  job->next_index = static_cast<std::int64_t>(request.resume_tokens.size());
  const auto room = state_->options.context_tokens - text_tokens;
  const auto wanted = request.max_tokens
                          ? static_cast<std::int64_t>(std::min<std::uint64_t>(
                                *request.max_tokens, static_cast<std::uint64_t>(INT64_MAX)))
                          : room;
  job->end_index = std::min(wanted, room);
  job->request = std::move(request);
  job->outbox = outbox;
  outbox->on_room([state = state_.get(), weak = std::weak_ptr(job)] {
    const std::lock_guard lock(state->mutex);
    if (const auto parked = weak.lock()) parked->parked = false;
    state->changed.notify_all();
  });
  {
    const std::lock_guard lock(state_->mutex);
    job->scripted = !state_->next_script.empty();
    job->script.assign(state_->next_script.begin(), state_->next_script.end());
    state_->next_script.clear();
    state_->jobs.push_back(std::move(job));
    state_->refresh_load();
  }
  state_->changed.notify_all();
}

void FakeEngine::cancel(const std::shared_ptr<Outbox>& outbox) {
  {
    const std::lock_guard lock(state_->mutex);
    for (const auto& job : state_->jobs) {
      if (job->outbox == outbox) job->cancelled = true;
    }
  }
  state_->changed.notify_all();
}

void FakeEngine::tokenize(std::string text, bool, bool, Reply<Tokenized> reply) {
  state_->post([text = std::move(text), reply = std::move(reply)] {
    Tokenized out;
    for (const char c : text) {
      out.tokens.push_back(static_cast<unsigned char>(c));
      out.pieces.emplace_back(1, c);
    }
    reply(std::move(out));
  });
}

void FakeEngine::detokenize(std::vector<Token> tokens, Reply<std::string> reply) {
  state_->post([tokens = std::move(tokens), reply = std::move(reply)] {
    std::string text;
    for (const auto token : tokens) {
      if (token < 0 || token > 255) {
        return reply(fail_field({.field = "tokens",
                                 .constraint = "token ids of this model",
                                 .message = "a token is not in the vocabulary"}));
      }
      text += static_cast<char>(token);
    }
    reply(std::move(text));
  });
}

void FakeEngine::embed(EmbeddingRequest request, std::stop_token /*stop*/,
                       Reply<Embeddings> reply) {
  state_->post([request = std::move(request), reply = std::move(reply), state = state_.get()] {
    reply(embeddings_of(request, state->options));
  });
}

void FakeEngine::hold() {
  const std::lock_guard lock(state_->mutex);
  state_->steps_allowed = 0;
}

void FakeEngine::release() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->steps_allowed = State::unlimited;
  }
  state_->changed.notify_all();
}

void FakeEngine::allow(std::int64_t steps) {
  {
    const std::lock_guard lock(state_->mutex);
    state_->steps_allowed = std::max<std::int64_t>(state_->steps_allowed, 0) + steps;
  }
  state_->changed.notify_all();
}

void FakeEngine::script_next(std::vector<JobEvent> events) {
  const std::lock_guard lock(state_->mutex);
  state_->next_script = std::move(events);
}

bool FakeEngine::wait_until(const std::function<bool(const EngineLoad&)>& met) const {
  std::unique_lock lock(state_->mutex);
  return state_->changed.wait_for(lock, std::chrono::seconds(20),
                                  [&] { return met(state_->load); });
}

void FakeEngine::State::run() {
  std::unique_lock lock(mutex);
  auto next_step = std::chrono::steady_clock::now();
  pace.idle_until(next_step);
  while (true) {
    answer(lock);
    apply_cancels(lock);
    if (stopping && jobs.empty()) return;
    if (!tasks.empty()) continue;  // asked while a cancel was being told
    claim_slots();
    const bool may_step = steps_allowed != 0 && has_work();
    if (!may_step) {
      changed.wait(lock);
      pace.idle_until(std::chrono::steady_clock::now());
      continue;
    }
    if (std::chrono::steady_clock::now() < next_step) {  // the pace; a cancel ends the wait early
      changed.wait_until(lock, next_step);
      continue;
    }
    next_step = std::chrono::steady_clock::now() + options.step;
    if (steps_allowed > 0) --steps_allowed;
    step(lock);
    changed.notify_all();
  }
}

void FakeEngine::State::post(std::function<void()> task) {
  {
    const std::lock_guard lock(mutex);
    tasks.push_back(std::move(task));
  }
  changed.notify_all();
}

void FakeEngine::State::answer(std::unique_lock<std::mutex>& lock) {
  while (!tasks.empty()) {
    const auto task = std::move(tasks.front());
    tasks.pop_front();
    lock.unlock();
    task();
    lock.lock();
  }
}

void FakeEngine::State::apply_cancels(std::unique_lock<std::mutex>& lock) {
  for (std::size_t i = 0; i < jobs.size();) {
    const auto job = jobs[i];
    if (!job->cancelled) {
      ++i;
      continue;
    }
    remove(job);
    auto end = ended(*job, StopReason::CANCELLED);
    lock.unlock();
    job->outbox->try_push(std::move(end));
    lock.lock();
    i = 0;  // others may have come or gone meanwhile
    changed.notify_all();
  }
}

bool FakeEngine::State::has_work() const {
  return std::ranges::any_of(
      jobs, [](const auto& job) { return job->phase != FakeJob::Phase::queued && !job->parked; });
}

void FakeEngine::State::claim_slots() {
  auto busy = std::ranges::count_if(
      jobs, [](const auto& job) { return job->phase != FakeJob::Phase::queued; });
  for (const auto& job : jobs) {
    if (busy >= options.slots) break;
    if (job->phase != FakeJob::Phase::queued) continue;
    job->phase = FakeJob::Phase::prefill;
    ++busy;
    changed.notify_all();
  }
  refresh_load();
}

void FakeEngine::State::refresh_load() {
  load.jobs.clear();
  load.slots_busy = 0;
  load.queue_depth = 0;
  load.kv_cells_used = 0;
  for (const auto& job : jobs) {
    if (job->phase == FakeJob::Phase::queued) {
      ++load.queue_depth;
    } else {
      ++load.slots_busy;
      load.kv_cells_used += job->prompt_done + job->next_index;
    }
    load.jobs.push_back({job->request.id, job->prompt_done, job->next_index});
  }
  load.memory_free_bytes = std::int64_t{1} << 30;
}

void FakeEngine::State::remove(const std::shared_ptr<FakeJob>& job) {
  std::erase(jobs, job);
  refresh_load();
}

JobEvent FakeEngine::State::decode_one(FakeJob& job, std::optional<JobEvent>& end) {
  TokenOut token;
  token.index = job.next_index++;
  token.id = token_of(job.prompt_hash, token.index);
  job.held_text += static_cast<char>(token.id);
  std::string stop_hit;
  token.text = release_text(job.held_text, job.request.stop, stop_hit);
  token.held = !job.held_text.empty();
  if (job.request.top_logprobs) {
    token.logprob = TokenLogprob{token.id, std::string(1, static_cast<char>(token.id)), -0.5};
    for (std::uint32_t i = 0; i < *job.request.top_logprobs; ++i) {
      const auto other = static_cast<Token>('a' + i);
      token.top_logprobs.push_back({other, std::string(1, static_cast<char>(other)), -0.5 - i});
    }
  }
  ++load.tokens_out_total;
  if (!stop_hit.empty() || job.next_index >= job.end_index) {
    auto last = ended(job, StopReason::MAX_TOKENS);
    if (!stop_hit.empty()) {
      last.reason = StopReason::STOP_SEQUENCE;
      last.stop_sequence = stop_hit;
    }
    last.tail = std::exchange(job.held_text, {});
    if (job.request.parse_chat && !last.tail.empty()) {
      last.tail_deltas.push_back(content_delta(last.tail));
    }
    end = std::move(last);
  }
  if (job.request.parse_chat && !token.text.empty()) {
    token.deltas.push_back(content_delta(token.text));
  }
  return token;
}

// What one step gives a job that has a slot.
void FakeEngine::State::advance(FakeJob& job) {
  auto& out = job.pending;
  if (job.scripted) {
    out.push_back(std::move(job.script.front()));
    job.script.pop_front();
    return;
  }
  if (job.phase == FakeJob::Phase::decode) {
    std::optional<JobEvent> end;
    out.push_back(decode_one(job, end));
    if (end) out.push_back(std::move(*end));
    return;
  }
  if (job.prompt_tokens >= options.context_tokens) {
    out.push_back(Failed{{Code::context_length_exceeded, "the prompt is longer than the context"}});
    return;
  }
  if (!job.begun) begin_prompt(job);
  compute(job, std::min(options.prefill_chunk, job.prompt_tokens - job.prompt_done));
}

void FakeEngine::State::begin_prompt(FakeJob& job) {
  job.begun = true;
  const auto blocks = static_cast<std::int64_t>(cache.find(job.chain));
  const auto bytes = blocks * static_cast<std::int64_t>(prefix_block_bytes);
  job.cached_tokens = std::min(bytes / options.bytes_per_token, job.prompt_tokens - 1);
  job.prompt_done = job.cached_tokens;
  load.prefix_hit_tokens_total += static_cast<std::uint64_t>(job.cached_tokens);
  job.pending.push_back(started(job));
}

void FakeEngine::State::compute(FakeJob& job, std::int64_t todo) {
  job.prompt_done += todo;
  load.tokens_in_total += static_cast<std::uint64_t>(todo);
  if (job.prompt_done < job.prompt_tokens) {
    job.pending.push_back(PrefillProgress{job.prompt_done, job.prompt_tokens, load.engine_step});
    return;
  }
  cache.computed(job.chain);
  job.phase = FakeJob::Phase::decode;
  // The resumed tokens were the whole answer: its end alone is missing.
  if (job.next_index >= job.end_index) job.pending.push_back(ended(job, StopReason::MAX_TOKENS));
}

void FakeEngine::State::give_time() {
  const auto in = [&](FakeJob::Phase phase) {
    return std::ranges::count(jobs, phase, [](const auto& job) { return job->phase; });
  };
  pace.give(std::chrono::steady_clock::now(), in(FakeJob::Phase::prefill) > 0,
            in(FakeJob::Phase::decode));
  load.prefill_tokens_per_second = pace.prefill_measured();
  load.decode_tokens_per_second = pace.decode_measured();
}

// `tokens`: of each stream, due; those of prompts come from the pace.
void FakeEngine::State::advance_by_speed(FakeJob& job, std::int64_t tokens) {
  const bool too_long = job.prompt_tokens >= options.context_tokens;
  if (job.scripted || (job.phase == FakeJob::Phase::prefill && too_long)) return advance(job);
  if (job.phase == FakeJob::Phase::decode) {
    std::optional<JobEvent> end;
    for (; tokens > 0 && !end; --tokens) {
      job.pending.push_back(decode_one(job, end));
      if (end) job.pending.push_back(std::move(*end));
    }
    return;
  }
  if (!pace.prefill_due()) return;
  if (!job.begun) begin_prompt(job);
  compute(job, pace.take_prefill(job.prompt_tokens - job.prompt_done));
}

void FakeEngine::State::deliver(std::unique_lock<std::mutex>& lock,
                                const std::shared_ptr<FakeJob>& job) {
  while (!job->pending.empty()) {
    const auto event = job->pending.front();
    const bool last = std::holds_alternative<Ended>(event) || std::holds_alternative<Failed>(event);
    if (last) remove(job);  // the slot is free before the client can know
    job->parked = true;     // before the push: room may be made before it returns
    lock.unlock();
    const bool taken = job->outbox->try_push(event);
    lock.lock();
    if (!taken) return;
    job->parked = false;
    job->pending.pop_front();
  }
}

void FakeEngine::State::step(std::unique_lock<std::mutex>& lock) {
  ++load.engine_step;
  const auto now = jobs;
  if (pace.kept()) give_time();
  const auto due = pace.take_decode();
  for (const auto& job : now) {
    if (job->cancelled || job->phase == FakeJob::Phase::queued || job->parked) continue;
    if (!job->pending.empty()) {  // what the outbox had no room for
    } else if (pace.kept()) {
      advance_by_speed(*job, due);
    } else {
      advance(*job);
    }
    deliver(lock, job);
  }
  refresh_load();
}

}  // namespace llorch
