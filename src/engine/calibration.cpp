#include "engine/calibration.h"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <optional>
#include <utility>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "engine/calibration_file.h"
#include "engine/loaded_model.h"
#include "engine/memory_commit.h"
#include "sys/host.h"

namespace llorch {
namespace {

constexpr std::int32_t streams = 4;
constexpr std::int32_t probe_tokens = 64;  // a prompt, or what a decoding step leaves room for
// Of threads: beyond what a busy moment can feign. Of what gives other numbers: it must be clear.
constexpr double gain_least = 1.1;
constexpr double gain_least_other_numbers = 1.2;

// How long a job of 256 tokens in and 64 out takes beside three others like it.
double job_ms(const CalibrationRow& row) {
  return 256 * row.prefill_ms_per_token + 64 * row.decode_ms;
}

bool same_numbers(const CalibrationChoice& a, const CalibrationChoice& b) {
  return a.batch_tokens == b.batch_tokens && a.flash_attention == b.flash_attention;
}

std::int32_t prompt_tokens(const CalibrationChoice& choice, const CalibrationChoice& usual) {
  return choice.batch_tokens == usual.batch_tokens ? probe_tokens : choice.batch_tokens;
}

// A context as the engine makes it.
ContextHandle probe_context(const LoadedModel& loaded, const CalibrationChoice& choice) {
  const auto tokens = std::max(256U, static_cast<std::uint32_t>(choice.batch_tokens) + 16);
  auto params = stream_params(loaded, streams, tokens, choice.batch_tokens, choice.threads);
  params.flash_attn_type =
      choice.flash_attention ? LLAMA_FLASH_ATTN_TYPE_ENABLED : LLAMA_FLASH_ATTN_TYPE_DISABLED;
  return ContextHandle(llama_init_from_model(loaded.model.get(), params));
}

// The best of them: the first may pay for pages, and others may disturb.
std::optional<double> decode_ms(llama_context* context, const Batch& batch, int times) {
  std::optional<double> best;
  for (int i = 0; i < times; ++i) {
    llama_memory_clear(llama_get_memory(context), false);
    const auto begun = steady_now();
    if (llama_decode(context, batch.get()) != 0) return std::nullopt;
    llama_synchronize(context);
    const auto ms = elapsed_ms(begun, steady_now());
    best = std::min(best.value_or(ms), ms);
  }
  return best;
}

CalibrationRow measure(const LoadedModel& loaded, const CalibrationChoice& choice,
                       std::int32_t tokens) {
  CalibrationRow row{.choice = choice};
  const auto context = probe_context(loaded, choice);
  if (!context) return row;
  ThreadPoolHandle pool;
  if (loaded.card.backend == "cpu") {
    pool = start_threads(choice.threads);
    if (pool) llama_attach_threadpool(context.get(), pool.get(), nullptr);
  }
  Batch batch(std::max(choice.batch_tokens, streams));
  for (std::int32_t stream = 0; stream < streams; ++stream) batch.add(1, 0, stream, true);
  const auto step = decode_ms(context.get(), batch, 3);
  batch.clear();
  for (std::int32_t at = 0; at < tokens; ++at) batch.add(1, at, 0, at + 1 == tokens);
  const auto prefill = decode_ms(context.get(), batch, 1);
  if (pool) llama_detach_threadpool(context.get());
  if (!step || !prefill) return row;
  row.decode_ms = *step;
  row.prefill_ms_per_token = *prefill / tokens;
  return row;
}

std::vector<CalibrationChoice> candidates_here(const EngineOptions& options) {
  const auto cores = read_host_facts().cores;
  return calibration_candidates(options, cores, count_physical_cores(cores));
}

void log_choice(const Calibration& done, double ms) {
  const auto& row = done.rows[done.best];
  const auto measured = std::ranges::count_if(done.rows, [](auto& r) { return r.decode_ms > 0; });
  log_event(LogLevel::info, "engine", "calibrated",
            {{"threads", std::int64_t{row.choice.threads}},
             {"batch_tokens", std::int64_t{row.choice.batch_tokens}},
             {"flash_attention", row.choice.flash_attention},
             {"measured", static_cast<std::int64_t>(measured)},
             {"ms", static_cast<std::int64_t>(ms)}});
}

}  // namespace

std::vector<CalibrationChoice> calibration_candidates(const EngineOptions& options,
                                                      std::uint32_t cores,
                                                      std::uint32_t physical_cores) {
  CalibrationChoice usual;
  usual.threads = options.threads > 0 ? options.threads : static_cast<std::int32_t>(cores);
  usual.batch_tokens = options.batch_tokens_max;
  usual.flash_attention = options.flash_attention.value_or(true);
  std::vector<CalibrationChoice> out{usual};
  const auto add = [&](auto change) {
    auto other = usual;
    change(other);
    if (std::ranges::find(out, other) == out.end()) out.push_back(other);
  };
  if (options.threads == 0 && options.backend == "cpu") {
    add([&](auto& c) { c.threads = static_cast<std::int32_t>(physical_cores); });
  }
  if (!options.flash_attention) add([](auto& c) { c.flash_attention = false; });
  for (const std::int32_t tokens : {256, 1024, 2048}) {
    add([&](auto& c) { c.batch_tokens = tokens; });
  }
  return out;
}

std::size_t best_row(std::span<const CalibrationRow> rows) {
  std::size_t best = 0;
  if (rows.front().decode_ms <= 0) return best;
  double best_ms = job_ms(rows.front());
  for (std::size_t i = 1; i < rows.size(); ++i) {
    if (rows[i].decode_ms <= 0) continue;
    const bool same = same_numbers(rows[i].choice, rows.front().choice);
    const double gain = same ? gain_least : gain_least_other_numbers;
    const double ms = job_ms(rows[i]);
    if (job_ms(rows.front()) < gain * ms || ms >= best_ms) continue;
    best = i;
    best_ms = ms;
  }
  return best;
}

Calibration measure_calibration(const LoadedModel& loaded,
                                std::span<const CalibrationChoice> candidates, double budget_ms) {
  const auto begun = steady_now();
  Calibration done;
  double usual_ms = 0;
  for (const auto& choice : candidates) {
    done.rows.push_back({.choice = choice});
    const auto tokens = prompt_tokens(choice, candidates.front());
    const auto spent = elapsed_ms(begun, steady_now());
    const auto wanted = usual_ms * std::max(1.0, static_cast<double>(tokens) / probe_tokens);
    if (spent + wanted > budget_ms) continue;
    done.rows.back() = measure(loaded, choice, tokens);
    if (usual_ms == 0) usual_ms = elapsed_ms(begun, steady_now());
  }
  forget_untouched_memory();
  done.best = best_row(done.rows);
  log_choice(done, elapsed_ms(begun, steady_now()));
  return done;
}

CalibrationChoice calibrate(const LoadedModel& loaded, const EngineOptions& options) {
  const auto candidates = candidates_here(options);
  if (options.calibration_path.empty()) return candidates.front();
  const CalibrationFile file(options, loaded.card);
  if (const auto kept = file.read()) {
    if (std::ranges::find(candidates, *kept) != candidates.end()) return *kept;
  }
  // What a busy moment may decide is not to change anyone's answers.
  std::vector<CalibrationChoice> quick;
  std::ranges::copy_if(candidates, std::back_inserter(quick),
                       [&](const auto& c) { return same_numbers(c, candidates.front()); });
  if (quick.size() < 2) return candidates.front();
  const auto done = measure_calibration(loaded, quick, limits::calibration_ms);
  file.write(done);
  return done.rows[done.best].choice;
}

Result<Calibration> calibrate_thoroughly(EngineOptions options) {
  options.slots = 1;  // what is measured has contexts of its own
  options.ctx_tokens = 256;
  const auto path = std::exchange(options.calibration_path, {});
  const auto loaded = load_model(options, [](double) {});
  if (!loaded) return fail(loaded.error());
  if (!loaded->context) {
    return fail(Code::invalid_request,
                "this model only makes embeddings: there is nothing to choose",
                "a model that generates");
  }
  const auto candidates = candidates_here(options);
  auto done = measure_calibration(*loaded, candidates, limits::calibration_thorough_ms);
  options.calibration_path = path;
  if (!path.empty()) CalibrationFile(options, loaded->card).write(done);
  return done;
}

}  // namespace llorch
