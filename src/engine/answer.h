// One answer as it grows: draws the next token from a row of logits and turns it into an event.
// What it says about token i is a pure function of tokens 0..i, the seed and the rows of logits,
// so replaying the tokens of a broken run brings it to the same state.
// Threads: the engine thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "engine/outbox.h"
#include "engine/prepare.h"
#include "engine/sampler.h"
#include "engine/text_stream.h"
#include "engine/vocabulary.h"

namespace llorch {

class Answer {
 public:
  Answer(const JobRequest& job, PreparedJob ready, const Vocabulary& vocabulary);

  // Takes over the tokens of an earlier run without an event for them; the end, when they are the
  // whole answer. Errors: invalid_request (a token does not fit the grammar, or follows the end).
  Result<std::optional<Ended>> resume(std::span<const Token> tokens);
  // What the resumed tokens had said, for replies that are not streamed.
  const std::string& resumed_text() const { return resumed_text_; }
  const std::vector<ChatDelta>& resumed_deltas() const { return resumed_deltas_; }

  struct Step {
    std::optional<Error> failure;   // nothing else then
    std::optional<TokenOut> token;  // none for an end of generation
    std::optional<Ended> end;       // timings are for the caller to fill in
  };
  // Shape: logits [vocabulary] of the last token so far.
  Step next(std::span<const float> logits);
  // The end for a reason that no token gives.
  Ended finish(StopReason reason);

  std::int64_t tokens_out() const { return tokens_out_; }
  std::int64_t tokens_left() const { return max_tokens_ - tokens_out_; }
  std::uint64_t seed() const { return seed_; }

 private:
  struct Said {
    std::string text;
    bool held = false;
    std::vector<ChatDelta> deltas;
    int stop_index = -1;
  };
  Said say(Token token);
  std::optional<Token> draw(std::span<const float> logits);
  std::optional<Ended> end_after(int stop_index);
  void add_logprobs(std::span<const float> logits, TokenOut& token) const;

  const Vocabulary& vocabulary_;
  const std::size_t user_stops_;
  const bool ignore_eos_;
  const std::optional<std::uint32_t> top_logprobs_;
  const std::int64_t max_tokens_;
  const std::uint64_t seed_;
  std::vector<Token> visible_control_;
  Sampler sampler_;
  std::optional<Grammar> grammar_;
  std::unique_ptr<ChatParser> parser_;
  TextStream text_;
  std::int64_t tokens_out_ = 0;
  std::string resumed_text_;
  std::vector<ChatDelta> resumed_deltas_;
};

}  // namespace llorch
