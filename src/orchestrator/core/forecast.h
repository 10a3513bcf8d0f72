// When waiting jobs will probably start: the slots of the workers that could take them, each with
// the time it comes free, filled in the queue's order. Pure. Times are ms from now.
#pragma once

#include <optional>
#include <vector>

namespace llorch {

struct Lane {  // one slot of one worker
  double free_in_ms = 0;
  double ms_per_prompt_token = 0, ms_per_token = 0;
};

class Forecast {
 public:
  explicit Forecast(std::vector<Lane> lanes);

  bool empty() const { return lanes_.empty(); }
  // When the next job gets a slot, if it comes after those started so far; 0: at once.
  // Shape: not empty().
  double next_start_ms() const;
  // The next job of the queue takes the slot that comes free first, and gives its start.
  double start(double prompt_tokens, double tokens_out);
  // How long such a job would take there.
  double length_ms(double prompt_tokens, double tokens_out) const;

 private:
  std::vector<Lane> lanes_;  // a heap, the first to come free on top
};

}  // namespace llorch
