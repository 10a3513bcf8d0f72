// What a job needs before it can have a slot: token ids, a compiled grammar, a parser, resolved
// sampling. Everything here may take long and runs on the prepare thread.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/chat_format.h"
#include "engine/engine.h"
#include "engine/grammar.h"
#include "engine/sampler.h"
#include "engine/vocabulary.h"

namespace llorch {

struct PreparedJob {
  std::vector<Token> prompt;  // at least one token
  Sampling sampling;
  std::optional<Grammar> grammar;
  std::vector<std::string> stops;
  std::vector<Token> visible_control;
  std::unique_ptr<ChatParser> parser;
  std::int64_t max_tokens = 0;  // of the whole answer, resumed tokens included; fits the context
};

struct PrepareContext {
  const Vocabulary& vocabulary;
  const ChatFormat& chat;
  const ModelCard& card;
};

// Errors: invalid_request, context_length_exceeded, internal.
Result<PreparedJob> prepare(const JobRequest& job, const PrepareContext& context);

}  // namespace llorch
