#include "engine/engine_core.h"

#include <algorithm>
#include <cassert>
#include <span>
#include <utility>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"

namespace llorch {
namespace {

constexpr double rate_weight = 0.1;  // of the published running rates
// Of the wanted token gap, for reading cells that go to disk; the decode after it needs the rest.
constexpr double disk_read_share = 0.25;

}  // namespace

EngineCore::EngineCore(const LoadedModel& loaded, const CoreOptions& options,
                       std::function<void()> publish, std::unique_ptr<StepTrace> trace)
    : loaded_(loaded),
      context_(loaded.context.get()),
      publish_(std::move(publish)),
      trace_(std::move(trace)),
      itl_target_ms_(options.itl_target_ms),
      planner_(
          {.batch_tokens_max = loaded.batch_tokens_max, .itl_target_ms = options.itl_target_ms}),
      cells_(context_, loaded.model.get(), options.kv),
      draft_tokens_(options.draft_tokens),
      batch_(loaded.batch_tokens_max),
      slots_(static_cast<std::size_t>(loaded.card.slots_total)),
      output_rows_(slots_.size(), -1) {
  totals_.waiting_since = steady_now();
}

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

void EngineCore::finish() {
  while (!runs_.empty()) cancel(runs_.front()->outbox);
  cells_.keep_all_on_disk(slots_);
}

void EngineCore::arrived(const std::string& file,
                         const std::shared_ptr<const KvSnapshot>& snapshot) {
  cells_.arrived(file, snapshot, runs_, steady_now());
}

void EngineCore::seat(const std::shared_ptr<Run>& run, const Seat& seat) {
  const auto ready = std::move(run->ready);
  run->prompt_tokens = static_cast<std::int64_t>(ready->prompt.size());
  run->answer = std::move(ready->answer);
  run->evaluated = cells_.place(slots_, *run, seat, steady_now());
  run->disk = {};
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
    const auto chosen = cells_.choose(slots_, *run, cost_.prefill().ms_per_token());
    if (cells_.awaits_disk(*run, chosen.cached_tokens, cost_.prefill().ms_per_token(),
                           steady_now()) ||
        await_leader(*run, chosen.cached_tokens)) {
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

// Jobs that ended leave gaps, and only neighbours are computed in one piece.
void EngineCore::close_gap() {
  const auto decoding = std::ranges::count_if(
      slots_, [](const auto& slot) { return slot.run && slot.run->decoding(); });
  if (decoding < 2) return;
  cells_.close_gap(slots_, cost_.decode_ms(static_cast<std::int32_t>(decoding)), steady_now());
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

std::span<const SlotView> EngineCore::look(SteadyTime now) {
  views_.clear();
  for (const auto& slot : slots_) {
    if (!slot.run) continue;
    const auto& run = *slot.run;
    auto left = run.left();
    if (run.request.deterministic && run.phase == SlotPhase::prefill) {
      // Fixed borders: the prompt in chunks, resumed tokens one by one as they were drawn.
      left = run.evaluated < run.prompt_tokens ? run.prompt_tokens - run.evaluated : 1;
    }
    views_.push_back({.slot = run.slot,
                      .phase = run.phase,
                      .prefill_left = left,
                      .evaluated = run.evaluated,
                      .waited_ms = elapsed_ms(run.seated_at, now),
                      .deterministic = run.request.deterministic});
  }
  return views_;
}

// Only for a job that computes alone: beside others each guessed token would split the batch.
void EngineCore::add_draft(std::vector<PlannedRow>& rows) {
  draft_ = {};
  drafting_ = false;
  if (rows.size() != 1 || draft_tokens_ == 0 || !cells_.cuts()) return;
  auto& run = *slots_[static_cast<std::size_t>(rows.front().slot)].run;
  if (!run.decoding() || run.request.deterministic) return;
  drafting_ = true;
  const auto most = std::min<std::int64_t>(draft_tokens_, run.answer->tokens_left() - 1);
  draft_ = run.speculation.draft(run.tokens, static_cast<std::int32_t>(most), draft_cost_);
  rows.front().tokens += static_cast<std::int32_t>(draft_.size());
}

void EngineCore::fill_batch(const std::vector<PlannedRow>& rows) {
  batch_.clear();
  for (const auto& row : rows) {
    const auto& run = *slots_[static_cast<std::size_t>(row.slot)].run;
    output_rows_[static_cast<std::size_t>(row.slot)] = -1;
    const auto known = static_cast<std::int64_t>(run.tokens.size());
    for (std::int64_t i = 0; i < row.tokens; ++i) {
      const auto at = run.evaluated + i;
      const auto token = at < known ? run.tokens[static_cast<std::size_t>(at)]
                                    : draft_[static_cast<std::size_t>(at - known)];
      // Logits only where a token is drawn from them.
      const bool drawn = at + 1 >= known;
      const auto index = batch_.add(token, static_cast<llama_pos>(at), run.slot, drawn);
      if (at + 1 == known) output_rows_[static_cast<std::size_t>(row.slot)] = index;
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
  if (step.failure) return fail_run(run, std::move(*step.failure));
  if (run.phase == SlotPhase::prefill) {
    run.phase = SlotPhase::decode;
    run.first_token_at = now;
  }
  if (step.token) run.tokens.push_back(step.token->id);
  deliver(run, std::move(step.token), std::move(step.end));
}

// Draws from the rows of the guess for as long as it turns out right.
void EngineCore::draw_drafted(Run& run, const PlannedRow& row, SteadyTime now) {
  const auto slot = run.slot;
  const auto first = output_rows_[static_cast<std::size_t>(slot)];
  const auto computed = run.evaluated + row.tokens;
  for (std::int32_t i = 0; i < row.tokens; ++i) {
    ++run.evaluated;
    const auto before = run.tokens.size();
    const auto guess = static_cast<std::size_t>(i);
    draw_token(run, first + i, now);
    if (run.over || run.tokens.size() == before) break;
    run.speculation.judge(guess, run.tokens.back());
    if (guess == draft_.size() || run.tokens.back() != draft_[guess]) break;
    ++totals_.draft_hit_tokens_total;
    if (!run.decoding()) break;  // its outbox is full
  }
  if (run.evaluated == computed || cells_.cut(slot, run.evaluated)) return;
  cells_.clear(slot);
  slots_[static_cast<std::size_t>(slot)].resident.clear();
  run.evaluated = 0;
  if (!run.over)
    fail_run(run, {.code = Code::backend_error,
                   .message = "the backend could not take back guessed tokens"});
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
    if (drafting_) {
      draw_drafted(*run, row, now);
      continue;
    }
    run->evaluated += row.tokens;
    const auto output = output_rows_[static_cast<std::size_t>(row.slot)];
    if (output >= 0) {
      draw_token(*run, output, now);
    } else {
      tell_progress(*run, now);
    }
  }
}

StepShape EngineCore::shape_of(const std::vector<PlannedRow>& rows) const {
  StepShape shape{.drafted = static_cast<std::int32_t>(draft_.size())};
  for (const auto& row : rows) {
    const auto& run = *slots_[static_cast<std::size_t>(row.slot)].run;
    // The last token of a prompt costs what a token of an answer does.
    const bool as_decode = run.decoding() || row.tokens == 1;
    if (as_decode) {
      ++shape.decode_rows;
      shape.decode_cells += run.evaluated + row.tokens;
    } else {
      shape.prefill.add(row.tokens, run.evaluated);
    }
  }
  return shape;
}

void EngineCore::measure(const StepShape& shape, const StepTimes& times,
                         std::uint64_t tokens_drawn) {
  if (trace_) trace_->step(times, shape, tokens_drawn);
  const auto ms = elapsed_ms(times.begun, times.decoded);
  const bool alone = shape.decode_rows == 1 && shape.prefill.tokens == 0;
  if (alone) draft_cost_.observe(shape.drafted, ms);
  if (shape.drafted == 0) cost_.observe(shape.decode_rows, shape.prefill, ms);
  totals_.draft_tokens_total += static_cast<std::uint64_t>(shape.drafted);
  const auto decode_ms =
      shape.prefill.tokens == 0 ? ms : std::min(ms, cost_.decode_ms(shape.decode_rows));
  totals_.decode_ms_total += decode_ms;
  totals_.prefill_ms_total += ms - decode_ms;
  totals_.sampling_ms_total += elapsed_ms(times.decoded, times.sampled);
  const auto blend = [&](double& mean, double tokens) {
    if (tokens <= 0 || ms <= 0) return;
    const double rate = tokens * 1000.0 / ms;
    mean = mean == 0 ? rate : mean + rate_weight * (rate - mean);
  };
  if (shape.prefill.tokens == 0) {
    blend(totals_.decode_tokens_per_second, static_cast<double>(tokens_drawn));
  }
  if (shape.decode_rows == 0) {
    prefill_rate_.add(static_cast<double>(shape.prefill.tokens), ms);
    totals_.prefill_tokens_per_second = prefill_rate_.per_second();
  }
}

void EngineCore::end_wait() {
  if (!totals_.waiting_since) return;
  totals_.waiting_ms_total += elapsed_ms(*totals_.waiting_since, steady_now());
  totals_.waiting_since.reset();
  publish_();  // before a step that may be long: a reader must not count that as waiting, too
}

bool EngineCore::step() {
  unpark();
  seat_waiting();
  close_gap();
  cells_.keep_on_disk(slots_, itl_target_ms_ * disk_read_share, steady_now());
  StepTimes times{.begun = steady_now()};
  auto& rows = planner_.plan(look(times.begun), cost_);
  if (rows.empty()) {
    if (!totals_.waiting_since) totals_.waiting_since = times.begun;
    return false;
  }
  end_wait();
  add_draft(rows);
  fill_batch(rows);
  times.planned = steady_now();
  if (!decode_batch(rows)) return true;
  llama_synchronize(context_);
  times.decoded = steady_now();
  const auto shape = shape_of(rows);
  const auto drawn_before = totals_.tokens_out_total;
  after_decode(rows, times.decoded);
  times.sampled = steady_now();
  measure(shape, times, totals_.tokens_out_total - drawn_before);
  return true;
}

JobSpan EngineCore::span_of(const Run& run, SteadyTime now, std::int64_t tokens_out) {
  return {.id = run.request.id.value,
          .slot = run.slot,
          .submitted = run.submitted_at,
          .seated = run.seated_at,
          .first_token = run.first_token_at,
          .ended = now,
          .prompt_tokens = run.prompt_tokens,
          .cached_tokens = run.cached_tokens,
          .tokens_out = tokens_out};
}

void EngineCore::end(Run& run, Ended ended) {
  ended.prompt_tokens = run.prompt_tokens;
  ended.cached_tokens = run.cached_tokens;
  if (run.slot >= 0) {
    const auto now = steady_now();
    const bool answered = run.first_token_at != SteadyTime{};
    ended.prefill_ms = elapsed_ms(run.seated_at, answered ? run.first_token_at : now);
    ended.decode_time_ms = answered ? elapsed_ms(run.first_token_at, now) : 0;
    if (trace_) trace_->job(span_of(run, now, ended.tokens_out));
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
    cells_.left(run.slot, steady_now());
    slot.run.reset();
  }
  // Last: the list may hold the only other reference.
  runs_.remove_if([&](const auto& other) { return other.get() == &run; });
}

bool EngineCore::has_pending() const {
  return cells_.has_unwritten() ||
         std::ranges::any_of(runs_, [](const auto& run) { return run->disk.until.has_value(); });
}

EngineLoad EngineCore::snapshot() const {
  EngineLoad load = totals_;
  load.kv_disk.restored_total = cells_.restored_total();
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
