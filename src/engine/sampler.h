// Picks one token from a row of logits, by arithmetic of our own: one random number a token, made
// from (seed, token index), so a job can be resumed anywhere without replaying draws.
// Threads: one job's sampler belongs to the engine thread.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "engine/engine.h"

namespace llorch {

// Every field resolved; ranges as in SamplingFields.
struct Sampling {
  SamplingDefaults chain;
  std::uint64_t seed = 0;
  std::vector<std::pair<Token, double>> logit_bias;
};

// Uniform in [0, 1), a pure function of its arguments.
double counter_uniform(std::uint64_t seed, std::uint64_t token_index);

// The job's own fields over the model's defaults; `seed` must be set by then.
Sampling resolve_sampling(const SamplingFields& fields, const SamplingDefaults& defaults,
                          std::uint64_t seed);

struct Candidate {
  Token id;
  float logit;
  float probability;
};

// Order of the chain: bias, penalties, [mask], top_k, top_p, min_p, temperature, draw.
// Source: llama.cpp's default order of samplers.
class Sampler {
 public:
  // `never`: ids that are not to be chosen (ends of generation with ignore_eos).
  Sampler(Sampling sampling, std::vector<Token> never);

  // Counts a token that is part of the answer (penalties look at the last 64).
  void accept(Token token);

  // Restricts a token or the whole row; used for grammars. Sets logits to -inf.
  using Allows = std::function<bool(Token)>;
  using Mask = std::function<void(std::vector<Candidate>&)>;
  struct Constraint {
    Allows allows;  // is this one token allowed? Asked first, it is the cheap question.
    Mask mask;      // otherwise every candidate is judged
  };

  // Shape: logits [vocabulary]. nullopt: the constraint allows no token at all.
  std::optional<Token> pick(std::span<const float> logits, std::uint64_t token_index,
                            const Constraint* constraint);

 private:
  void load_row(std::span<const float> logits);
  Token choose(double u);
  bool penalises() const;
  void apply_penalties();
  // The answer of the chain where nothing but the largest logit counts, without copying the row.
  std::optional<Token> greedy(std::span<const float> logits) const;

  Sampling sampling_;
  std::vector<Token> never_;
  std::vector<Token> recent_;  // ring of the last 64
  std::size_t recent_at_ = 0;
  std::vector<Token> seen_;  // those, sorted
  std::vector<Candidate> row_;
};

struct Ranked {
  Token id;
  double logprob;
};
// log softmax of the raw row: the chosen token's and the `count` likeliest, best first.
std::vector<Ranked> log_probabilities(std::span<const float> logits, Token chosen,
                                      std::size_t count);

}  // namespace llorch
