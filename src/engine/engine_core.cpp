#include "engine/engine_core.h"

#include <algorithm>
#include <cassert>
#include <span>
#include <utility>

#include "base/limits.h"
#include "base/log.h"

namespace llorch {
namespace {

constexpr double newest_weight = 0.1;  // of the published running rates

SteadyTime steady_now() {
  return std::chrono::steady_clock::now();
}

}  // namespace

EngineCore::EngineCore(const LoadedModel& loaded, const CoreOptions& options,
                       std::function<void()> publish)
    : loaded_(loaded),
      context_(loaded.context.get()),
      publish_(std::move(publish)),
      planner_(
          {.batch_tokens_max = loaded.batch_tokens_max, .itl_target_ms = options.itl_target_ms}),
      cells_(context_, loaded.model.get(), options.snapshot_bytes_max),
      batch_(loaded.batch_tokens_max),
      slots_(static_cast<std::size_t>(loaded.card.slots_total)),
      output_rows_(slots_.size(), -1) {}

void EngineCore::add(std::shared_ptr<Run> run) {
  runs_.push_back(std::move(run));
}

void EngineCore::prepared(const std::shared_ptr<Run>& run,
                          Result<std::unique_ptr<ReadyRun>> ready) {
  if (run->over) return;  // cancelled meanwhile
  if (!ready) return fail_run(*run, ready.error());
  if ((*ready)->end) return end_without_slot(*run, std::move(**ready));
  run->ready = std::move(*ready);
  const auto& prompt = run->ready->prompt;
  const auto& resumed = run->request.resume_tokens;
  run->tokens.reserve(static_cast<std::size_t>(loaded_.card.context_tokens));
  run->tokens.assign(prompt.begin(), prompt.end());
  run->tokens.insert(run->tokens.end(), resumed.begin(), resumed.end());
}

// The resumed tokens were the whole answer: its end alone is missing.
void EngineCore::end_without_slot(Run& run, ReadyRun ready) {
  run.prompt_tokens = static_cast<std::int64_t>(ready.prompt.size());
  run.answer = std::move(ready.answer);
  tell_started(run);
  end(run, std::move(ready.end).value_or(Ended{}));
}

void EngineCore::cancel(const std::shared_ptr<Outbox>& outbox) {
  const auto found = std::find_if(runs_.begin(), runs_.end(),
                                  [&](const auto& run) { return run->outbox == outbox; });
  if (found == runs_.end()) return;
  const auto run = *found;
  auto ended = run->answer ? run->answer->finish(StopReason::CANCELLED)
                           : Ended{.reason = StopReason::CANCELLED};
  // Nobody waits for that token any more, so it does not count either.
  if (std::exchange(run->parked, std::nullopt)) --ended.tokens_out;
  end(*run, std::move(ended));
}

void EngineCore::cancel_all() {
  while (!runs_.empty()) cancel(runs_.front()->outbox);
}

void EngineCore::seat(const std::shared_ptr<Run>& run, const Seat& seat) {
  const auto ready = std::move(run->ready);
  run->prompt_tokens = static_cast<std::int64_t>(ready->prompt.size());
  run->answer = std::move(ready->answer);
  run->evaluated = cells_.place(slots_, *run, seat, steady_now());
  run->cached_tokens = std::min(run->evaluated, run->prompt_tokens);
  auto& slot = slots_[static_cast<std::size_t>(seat.slot)];
  slot.run = run;
  slot.scope = run->request.cache_scope;
  slot.resident.clear();
  run->slot = seat.slot;
  run->phase = SlotPhase::prefill;
  run->seated_at = steady_now();
  run->progress_told_at = run->seated_at;
  totals_.tokens_in_total += static_cast<std::uint64_t>(run->prompt_tokens);
  totals_.prefix_hit_tokens_total += static_cast<std::uint64_t>(run->cached_tokens);
  tell_started(*run);
}

void EngineCore::tell_started(Run& run) {
  publish_();
  run.outbox->try_push(Started{.prompt_tokens = run.prompt_tokens,
                               .cached_tokens = run.cached_tokens,
                               .seed = run.answer->seed(),
                               .resumed_text = run.answer->resumed_text(),
                               .resumed_deltas = run.answer->resumed_deltas()});
}

void EngineCore::seat_waiting() {
  auto idle = std::count_if(slots_.begin(), slots_.end(), [](const auto& s) { return !s.run; });
  for (auto next = runs_.begin(); idle > 0 && next != runs_.end();) {
    const auto run = *next++;  // seat() may end the run and take it off the list
    if (!run->ready || run->slot >= 0) continue;
    if (awaits(*run)) {
      --idle;  // the place is its own
      continue;
    }
    const auto chosen = cells_.choose(slots_, *run, cost_.prefill_ms_per_token());
    if (await_leader(*run, chosen.cached_tokens)) {
      --idle;
      continue;
    }
    seat(run, chosen);
    if (run->slot >= 0) --idle;
  }
}

// Whether the job it waits for is still on its way to where their prompts part.
bool EngineCore::awaits(Run& run) {
  const auto leader = run.awaited.lock();
  if (leader && leader->phase == SlotPhase::prefill && !leader->over &&
      leader->evaluated < run.awaited_tokens) {
    return true;
  }
  run.awaited.reset();
  return false;
}

bool EngineCore::await_leader(Run& run, std::int64_t cached_tokens) {
  if (!cells_.copies()) return false;
  const auto leader = choose_leader(slots_, run, cached_tokens);
  run.awaited = leader.run;
  run.awaited_tokens = leader.fork;
  return leader.run != nullptr;
}

void EngineCore::unpark() {
  for (const auto& slot : slots_) {
    if (!slot.run || slot.run->phase != SlotPhase::parked) continue;
    const auto run = slot.run;
    run->phase = SlotPhase::decode;
    deliver(*run, std::exchange(run->parked, std::nullopt),
            std::exchange(run->parked_end, std::nullopt));
  }
}

std::vector<SlotView> EngineCore::views(SteadyTime now) const {
  std::vector<SlotView> out;
  for (const auto& slot : slots_) {
    if (!slot.run) continue;
    const auto& run = *slot.run;
    auto left = run.left();
    if (run.request.deterministic && run.phase == SlotPhase::prefill) {
      // Fixed borders: the prompt in chunks, resumed tokens one by one as they were drawn.
      left = run.evaluated < run.prompt_tokens ? run.prompt_tokens - run.evaluated : 1;
    }
    out.push_back({.slot = run.slot,
                   .phase = run.phase,
                   .prefill_left = left,
                   .waited_ms = elapsed_ms(run.seated_at, now),
                   .deterministic = run.request.deterministic});
  }
  return out;
}

void EngineCore::fill_batch(const std::vector<PlannedRow>& rows) {
  batch_.clear();
  for (const auto& row : rows) {
    const auto& run = *slots_[static_cast<std::size_t>(row.slot)].run;
    output_rows_[static_cast<std::size_t>(row.slot)] = -1;
    for (std::int64_t i = 0; i < row.tokens; ++i) {
      const auto at = run.evaluated + i;
      // Logits only where a token is drawn from them.
      const bool last = at + 1 == static_cast<std::int64_t>(run.tokens.size());
      const auto index = batch_.add(run.tokens[static_cast<std::size_t>(at)],
                                    static_cast<llama_pos>(at), run.slot, last);
      if (last) output_rows_[static_cast<std::size_t>(row.slot)] = index;
    }
  }
}

bool EngineCore::decode_batch(const std::vector<PlannedRow>& rows) {
  const auto status = llama_decode(context_, batch_.get());
  ++totals_.engine_step;
  if (status == 0) return true;
  log_event(LogLevel::error, "engine", "decode_failed", {{"status", std::int64_t{status}}});
  for (const auto& row : rows) {
    const auto run = slots_[static_cast<std::size_t>(row.slot)].run;
    run->evaluated = 0;  // what the cells hold now is not known
    fail_run(*run, {.code = Code::backend_error,
                    .message = "the backend could not evaluate a batch (status " +
                               std::to_string(status) + ")"});
  }
  return false;
}

void EngineCore::deliver(Run& run, std::optional<TokenOut> token, std::optional<Ended> ended) {
  if (token) {
    if (!run.outbox->try_push(*token)) {
      run.phase = SlotPhase::parked;
      run.parked = std::move(token);
      run.parked_end = std::move(ended);
      return;
    }
    ++totals_.tokens_out_total;
  }
  if (ended) end(run, std::move(*ended));
}

void EngineCore::draw_token(Run& run, std::int32_t output, SteadyTime now) {
  const float* const logits = llama_get_logits_ith(context_, output);
  assert(logits != nullptr);
  const auto vocabulary = static_cast<std::size_t>(loaded_.vocabulary->size());
  auto step = run.answer->next(std::span(logits, vocabulary));
  if (run.phase == SlotPhase::prefill) {
    run.phase = SlotPhase::decode;
    run.first_token_at = now;
  }
  if (step.token) run.tokens.push_back(step.token->id);
  deliver(run, std::move(step.token), std::move(step.end));
}

void EngineCore::tell_progress(Run& run, SteadyTime now) {
  if (elapsed_ms(run.progress_told_at, now) < static_cast<double>(limits::prefill_event_ms)) return;
  run.progress_told_at = now;
  run.outbox->try_push(PrefillProgress{.prompt_done = std::min(run.evaluated, run.prompt_tokens),
                                       .prompt_total = run.prompt_tokens,
                                       .engine_step = totals_.engine_step});
}

void EngineCore::after_decode(const std::vector<PlannedRow>& rows, SteadyTime now) {
  for (const auto& row : rows) {
    const auto run = slots_[static_cast<std::size_t>(row.slot)].run;
    run->evaluated += row.tokens;
    const auto output = output_rows_[static_cast<std::size_t>(row.slot)];
    if (output >= 0) {
      draw_token(*run, output, now);
    } else {
      tell_progress(*run, now);
    }
  }
}

void EngineCore::measure(const std::vector<PlannedRow>& rows, double ms) {
  std::int32_t decode_rows = 0;
  std::int32_t prefill_tokens = 0;
  for (const auto& row : rows) {
    const bool decoding = slots_[static_cast<std::size_t>(row.slot)].run->decoding();
    (decoding ? decode_rows : prefill_tokens) += row.tokens;
  }
  cost_.observe(decode_rows, prefill_tokens, ms);
  const auto blend = [&](double& mean, std::int32_t tokens) {
    if (tokens == 0 || ms <= 0) return;
    const double rate = tokens * 1000.0 / ms;
    mean = mean == 0 ? rate : mean + newest_weight * (rate - mean);
  };
  if (prefill_tokens == 0) blend(totals_.decode_tokens_per_second, decode_rows);
  if (decode_rows == 0) blend(totals_.prefill_tokens_per_second, prefill_tokens);
}

bool EngineCore::step() {
  unpark();
  seat_waiting();
  const auto begun = steady_now();
  const auto rows = planner_.plan(views(begun), cost_);
  if (rows.empty()) return false;
  fill_batch(rows);
  if (!decode_batch(rows)) return true;
  llama_synchronize(context_);
  const auto now = steady_now();
  measure(rows, elapsed_ms(begun, now));
  after_decode(rows, now);
  return true;
}

void EngineCore::end(Run& run, Ended ended) {
  ended.prompt_tokens = run.prompt_tokens;
  ended.cached_tokens = run.cached_tokens;
  if (run.slot >= 0) {
    const auto now = steady_now();
    const bool answered = run.first_token_at != SteadyTime{};
    ended.prefill_ms = elapsed_ms(run.seated_at, answered ? run.first_token_at : now);
    ended.decode_time_ms = answered ? elapsed_ms(run.first_token_at, now) : 0;
  }
  leave(run, std::move(ended));
}

void EngineCore::fail_run(Run& run, Error error) {
  leave(run, Failed{std::move(error)});
}

void EngineCore::leave(Run& run, JobEvent last) {
  const auto outbox = run.outbox;  // release() may drop the run
  release(run);
  publish_();
  outbox->try_push(std::move(last));
}

void EngineCore::release(Run& run) {
  run.over = true;
  run.outbox->on_room(nullptr);  // the outbox may outlive the engine that this would wake
  if (run.slot >= 0) {
    auto& slot = slots_[static_cast<std::size_t>(run.slot)];
    // Cells of a deterministic job are nobody else's prefix: it promises no cache in or out.
    if (run.request.deterministic) run.evaluated = 0;
    run.tokens.resize(static_cast<std::size_t>(run.evaluated));
    slot.resident = std::move(run.tokens);
    if (run.evaluated == 0) cells_.clear(run.slot);
    slot.run.reset();
  }
  // Last: the list may hold the only other reference.
  runs_.remove_if([&](const auto& other) { return other.get() == &run; });
}

EngineLoad EngineCore::snapshot() const {
  EngineLoad load = totals_;
  load.kv_snapshot_bytes = static_cast<std::int64_t>(cells_.snapshot_bytes());
  for (const auto& slot : slots_) {
    load.kv_cells_used += static_cast<std::int64_t>(slot.resident.size());
    if (!slot.run) continue;
    ++load.slots_busy;
    load.kv_cells_used += slot.run->evaluated;
  }
  load.queue_depth = static_cast<std::int32_t>(runs_.size()) - load.slots_busy;
  for (const auto& run : runs_) {
    load.jobs.push_back({.id = run->request.id,
                         .prompt_done = std::min(run->evaluated, run->prompt_tokens),
                         .tokens_out = run->answer ? run->answer->tokens_out() : 0});
  }
  return load;
}

}  // namespace llorch
