#include "engine/answer.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include "base/limits.h"

namespace llorch {

Answer::Answer(const JobRequest& job, PreparedJob ready, const Vocabulary& vocabulary)
    : vocabulary_(vocabulary),
      user_stops_(job.stop.size()),
      ignore_eos_(job.ignore_eos),
      top_logprobs_(job.top_logprobs),
      max_tokens_(ready.max_tokens),
      seed_(ready.sampling.seed),
      visible_control_(std::move(ready.visible_control)),
      sampler_(std::move(ready.sampling),
               job.ignore_eos ? vocabulary.generation_ends() : std::vector<Token>{}),
      grammar_(std::move(ready.grammar)),
      parser_(std::move(ready.parser)),
      text_(std::move(ready.stops)) {
  const auto skip =
      ready.prompt.size() - std::min(ready.prompt.size(), limits::penalty_window_tokens);
  for (auto i = skip; i < ready.prompt.size(); ++i) sampler_.accept(ready.prompt[i]);
}

Answer::Said Answer::say(Token token) {
  ++tokens_out_;
  sampler_.accept(token);
  const bool visible =
      std::find(visible_control_.begin(), visible_control_.end(), token) != visible_control_.end();
  auto step = text_.feed(vocabulary_.piece(token, visible));
  Said said{
      .text = std::move(step.text), .held = step.held, .deltas = {}, .stop_index = step.stop_index};
  if (parser_ && !said.text.empty()) said.deltas = parser_->feed(said.text, false);
  return said;
}

Result<std::optional<Ended>> Answer::resume(std::span<const Token> tokens) {
  std::optional<Ended> end;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const auto refuse = [&](const std::string& why) {
      return fail_field({.field = "resume_tokens",
                         .constraint = "the beginning of an answer",
                         .message = "resume_tokens[" + std::to_string(i) + "]: " + why});
    };
    if (end) return refuse("the answer had ended before it");
    if (vocabulary_.ends_generation(tokens[i])) return refuse("ends the answer");
    if (grammar_ && !grammar_->accept(tokens[i])) return refuse("does not fit the grammar");
    auto said = say(tokens[i]);
    resumed_text_ += said.text;
    std::move(said.deltas.begin(), said.deltas.end(), std::back_inserter(resumed_deltas_));
    end = end_after(said.stop_index);
  }
  return end;
}

std::optional<Token> Answer::draw(std::span<const float> logits) {
  const auto index = static_cast<std::uint64_t>(tokens_out_);
  if (!grammar_) return sampler_.pick(logits, index, nullptr);
  const Sampler::Constraint constraint{
      .allows = [this](Token token) { return grammar_->allows(token); },
      .mask = [this](std::vector<Candidate>& row) { grammar_->mask(row); }};
  return sampler_.pick(logits, index, &constraint);
}

Answer::Step Answer::next(std::span<const float> logits) {
  Step step;
  const auto token = draw(logits);
  // A grammar that allows nothing more is complete.
  const bool ends = !token || (!ignore_eos_ && vocabulary_.ends_generation(*token)) ||
                    (grammar_ && !grammar_->accept(*token));
  if (grammar_ && grammar_->overrun()) {
    step.failure = fail_field({.field = grammar_->field(),
                               .constraint = "fewer readings",
                               .message = "the grammar can read the answer in too many ways"},
                              "write it without alternatives that begin alike and recurse")
                       .error();
    return step;
  }
  if (ends) {
    step.end = finish(StopReason::EOS);
    return step;
  }
  TokenOut out{.index = tokens_out_, .id = *token};
  auto said = say(*token);
  out.text = std::move(said.text);
  out.held = said.held;
  out.deltas = std::move(said.deltas);
  add_logprobs(logits, out);
  step.end = end_after(said.stop_index);
  step.token = std::move(out);
  return step;
}

std::optional<Ended> Answer::end_after(int stop_index) {
  if (stop_index >= 0) {
    // A template's own end of turn is an end of the sequence; a client's stop string is named.
    const bool named = static_cast<std::size_t>(stop_index) < user_stops_;
    auto ended = finish(named ? StopReason::STOP_SEQUENCE : StopReason::EOS);
    if (named) ended.stop_sequence = text_.stop(stop_index);
    return ended;
  }
  if (tokens_out_ >= max_tokens_) return finish(StopReason::MAX_TOKENS);
  return std::nullopt;
}

Ended Answer::finish(StopReason reason) {
  Ended ended{.tokens_out = tokens_out_, .reason = reason};
  ended.tail = text_.flush();
  if (parser_) ended.tail_deltas = parser_->feed(ended.tail, true);
  return ended;
}

void Answer::add_logprobs(std::span<const float> logits, TokenOut& token) const {
  if (!top_logprobs_) return;
  const auto ranked = log_probabilities(logits, token.id, *top_logprobs_);
  const auto named = [&](const Ranked& r) {
    return TokenLogprob{
        .token = r.id, .bytes = vocabulary_.piece(r.id, true), .logprob = r.logprob};
  };
  token.logprob = named(ranked.front());
  for (std::size_t i = 1; i < ranked.size(); ++i) token.top_logprobs.push_back(named(ranked[i]));
}

}  // namespace llorch
