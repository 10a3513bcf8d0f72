// What a run measured, and how it is printed. Threads: one.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace llorch::bench {

// Samples of one quantity; percentiles are of what was seen, never interpolated.
class Samples {
 public:
  void add(double value) { values_.push_back(value); }
  void add(const Samples& others);
  std::size_t count() const { return values_.size(); }
  // The smallest value that at least `percent` of all are not above; 0 without samples.
  double percentile(double percent) const;
  double max() const { return percentile(100); }

 private:
  std::vector<double> values_;
};

struct Figures {
  double wall_s = 0;
  double client_cpu_s = 0;  // what measuring cost
  std::uint32_t requests_ok = 0;
  std::uint64_t prompt_tokens = 0;
  std::uint64_t tokens_out = 0;
  Samples ttft_ms;
  Samples gap_ms;               // between two writes of one stream that carried text
  Samples stream_tokens_per_s;  // of each stream, from its first token to its last
  std::map<std::string, std::uint32_t> errors;  // by kind

  // With background streams: their gaps before the long prompt came and while it ran.
  bool injected = false;
  double injected_ttft_ms = 0;
  std::uint64_t injected_prompt_tokens = 0;
  Samples quiet_gap_ms;
  Samples loaded_gap_ms;
};

// One line: {"wall_s":…,"requests_ok":…,"tokens_per_s":…,"ttft_ms":{"p50":…,…},…}
std::string to_json(const Figures& figures);
// For people.
std::string to_text(const Figures& figures);

}  // namespace llorch::bench
