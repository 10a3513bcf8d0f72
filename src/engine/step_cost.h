// A running model of how long one llama_decode takes, learned from each step as it ends.
// Pure: no clock, no llama.h. Threads: belongs to the engine thread.
#pragma once

#include <array>
#include <cstdint>

#include "base/limits.h"

namespace llorch {

// From so many rows of one prompt on llama.cpp's processor code computes attention in tiles, where
// a cell costs a small part of what it costs row by row (third_party/patches/0004).
inline constexpr std::int64_t tile_rows = 64;
inline constexpr std::int64_t tile_rows_long = 17;  // where a row sees more than long_cells
inline constexpr std::int64_t long_cells = 256;

// Tokens behind `done` that are computed in tiles beside streams, which share the first one's
// batch. Beside another prompt some of them may not be; only the estimate suffers.
constexpr std::int64_t wide_from_tokens(std::int64_t done) {
  return 1 + (done < long_cells ? tile_rows : tile_rows_long);
}

// The part of a step that computes prompts.
struct PrefillWork {
  std::int32_t prompts = 0;  // each costs a pass over the weights of its own (a ubatch)
  std::int64_t tokens = 0;
  // That attention reads, over all the tokens: by prompts of few tokens, and by the others.
  double narrow_cells = 0;
  double wide_cells = 0;

  // `count` tokens of a prompt of which `done` are computed.
  static PrefillWork of(std::int64_t count, std::int64_t done = 0);
  void add(std::int64_t count, std::int64_t done);
};

// Milliseconds of prompts as a sum of prices: of a prompt, a token, a cell. A Kalman filter follows
// them, so a short chunk tells nothing wrong about a long one, nor an empty context about a full
// one.
class PrefillCost {
 public:
  void observe(const PrefillWork& work, double ms);
  bool known() const { return known_; }
  // Of a token in the middle of a prompt of a thousand that is computed alone. 0 = not known.
  double ms_per_token() const;
  double ms(const PrefillWork& work) const;
  // Of `count` tokens that are computed in tiles, behind `done`. Hopeful until such a step was
  // seen, for else none would be tried.
  double wide_ms(std::int64_t count, std::int64_t done) const;
  // The most tokens of a prompt of which `done` are computed that take no longer than `ms`; without
  // a bound while nothing is known.
  std::int64_t tokens_in(double ms, std::int64_t done) const;

 private:
  enum : std::size_t { prompt, token, narrow_cell, wide_cell, prices };
  using Vector = std::array<double, prices>;

  static Vector amounts(const PrefillWork& work);
  bool learn(Vector& amounts);
  std::int64_t tokens_at(double ms, double cell_ms, std::int64_t done) const;

  bool known_ = false;
  Vector prices_{};                           // ms each
  Vector drift_{};                            // how far each may wander in a step
  std::array<Vector, prices> uncertainty_{};  // covariance of the prices
};

class StepCost {
 public:
  // What a step of that shape took. Shape: 0 <= decode_rows <= 256.
  void observe(std::int32_t decode_rows, const PrefillWork& work, double ms);
  // Of a step that only decodes.
  double decode_ms(std::int32_t decode_rows) const;
  const PrefillCost& prefill() const { return prefill_; }

 private:
  std::array<double, limits::slots_max + 1> decode_ms_{};  // 0 = not seen yet
  PrefillCost prefill_;
};

}  // namespace llorch
