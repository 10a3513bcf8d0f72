// A file of what each engine step did and how long its parts took, in Chrome's trace format: open
// it in a browser's trace viewer. One row of bars for the engine, one for each slot. Threads: the
// engine thread.
#pragma once

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"
#include "engine/step_cost.h"

namespace llorch {

// What one llama_decode evaluates.
struct StepShape {
  std::int32_t decode_rows = 0;
  std::int64_t decode_cells = 0;  // that their attention reads
  PrefillWork prefill;
  std::int32_t drafted = 0;  // tokens of decode_rows that were guessed
};

// When each part of a step was done.
struct StepTimes {
  SteadyTime begun;
  SteadyTime planned;
  SteadyTime decoded;
  SteadyTime sampled;
};

// A job that has left its slot.
struct JobSpan {
  std::string_view id;
  std::int32_t slot = 0;
  SteadyTime submitted;
  SteadyTime seated;
  SteadyTime first_token;  // unset: it had none
  SteadyTime ended;
  std::int64_t prompt_tokens = 0;
  std::int64_t cached_tokens = 0;
  std::int64_t tokens_out = 0;
};

class StepTrace {
 public:
  // Errors: conflict (the file is there), invalid_request (it cannot be made). The trace begins
  // now.
  static Result<std::unique_ptr<StepTrace>> open(const std::string& path);
  StepTrace(const StepTrace&) = delete;
  StepTrace& operator=(const StepTrace&) = delete;
  ~StepTrace();  // ends the file; one that was cut off before is read by the viewers, too

  void step(const StepTimes& times, const StepShape& shape, std::uint64_t tokens_drawn);
  void job(const JobSpan& span);

 private:
  StepTrace(std::FILE* file, std::string path);
  void bar(std::string_view name, std::int32_t row, SteadyTime from, SteadyTime to,
           std::string_view arguments);
  void write(std::string_view text);

  std::FILE* file_;  // null once it is full or cannot be written
  const std::string path_;
  const SteadyTime epoch_;
  std::uint64_t bytes_ = 0;
};

}  // namespace llorch
