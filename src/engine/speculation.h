// Guesses the next tokens of an answer from what stands earlier in its own prompt and answer, so
// that one decode can check several at once. A guess never changes an answer: each token is drawn
// from its own row of logits with its own random number, and a wrong guess ends the step there.
// Pure: no clock, no llama.h. Threads: belongs to the engine thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/limits.h"
#include "protocol/job.h"

namespace llorch {

// Finds the latest earlier place that the last three tokens stood at.
class NgramIndex {
 public:
  // The tokens that followed there, at most `most`; empty when there was none. `tokens` is the same
  // sequence at each call, longer each time. A part of it, valid until that changes.
  std::span<const Token> continuation(std::span<const Token> tokens, std::size_t most);

 private:
  std::size_t bucket(const Token* ngram) const;
  void extend(std::span<const Token> tokens);

  std::vector<std::uint32_t> followed_at_;  // by hash of the n-gram; 0 = none; the latest wins
  std::size_t indexed_ = 0;                 // places in it so far
};

// What a step of one decoding job costs with so many guessed tokens beside it: measured as it runs.
class DraftCost {
 public:
  void observe(std::int32_t drafted, double ms);
  // In steps without a guess.
  double steps(std::int32_t drafted) const;

 private:
  std::array<double, limits::draft_tokens_max + 1> ms_{};  // 0 = not seen yet
};

// One job's guesses, and how often they were right.
class Speculation {
 public:
  // The guess to check in the next step: as long as pays by the cost and by how often guesses were
  // right, so nothing at all where they are mostly wrong. Shape: 0 <= most.
  std::span<const Token> draft(std::span<const Token> tokens, std::int32_t most,
                               const DraftCost& cost);
  // The token that was drawn after `position` tokens of the last draft(). Guesses are judged also
  // when none was checked, which costs nothing, so a job whose answer begins to repeat is noticed.
  void judge(std::size_t position, Token drawn);

 private:
  NgramIndex index_;
  std::array<Token, limits::draft_tokens_max> guess_{};
  std::size_t guessed_ = 0;
  double right_ = 0.5;  // running share of right guesses
};

}  // namespace llorch
