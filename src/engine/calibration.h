// Which threads, batch size and attention kernel suit a model on this machine, kept in a file for
// the next start. The first load tries threads for a moment; attention without flash and another
// batch size give other (equally good) numbers, so they are tried only when asked for.
// Threads: blocks its caller.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/llama_engine.h"

namespace llorch {

struct LoadedModel;

struct CalibrationChoice {
  std::int32_t threads = 1;
  std::int32_t batch_tokens = 512;
  bool flash_attention = true;
  bool operator==(const CalibrationChoice&) const = default;
};

struct CalibrationRow {
  CalibrationChoice choice;
  double decode_ms = 0;             // a step of four streams; 0 = not measured
  double prefill_ms_per_token = 0;  // of one prompt
};

// What is worth trying, the default first. What the options fix is not varied.
std::vector<CalibrationChoice> calibration_candidates(const EngineOptions& options,
                                                      std::uint32_t cores,
                                                      std::uint32_t physical_cores);

// The row to take: the first unless another wins by enough. Shape: not empty.
std::size_t best_row(std::span<const CalibrationRow> rows);

struct Calibration {
  std::vector<CalibrationRow> rows;  // as far as there was time
  std::size_t best = 0;
};

// Measures in contexts of its own, about `budget_ms` in all; what would not fit stays unmeasured.
Calibration measure_calibration(const LoadedModel& loaded,
                                std::span<const CalibrationChoice> candidates, double budget_ms);

// The choice for this model: from options.calibration_path when the file there is of this model,
// program and machine, else of the threads alone, measured and kept there. Not being able to keep
// it is a log line.
CalibrationChoice calibrate(const LoadedModel& loaded, const EngineOptions& options);

// All candidates, with time enough. Errors: those of load_llama_engine(); invalid_request for a
// model that only embeds.
Result<Calibration> calibrate_thoroughly(EngineOptions options);

}  // namespace llorch
