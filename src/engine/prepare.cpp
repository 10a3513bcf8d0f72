#include "engine/prepare.h"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

#include "base/random.h"

namespace llorch {
namespace {

Result<std::vector<Token>> tokenize_segments(const std::vector<prompt::Segment>& segments,
                                             const Vocabulary& vocabulary) {
  std::vector<Token> tokens;
  bool first = true;
  for (const auto& segment : segments) {
    // One beginning-of-text token, also when the template writes it out itself.
    const bool bos = first && vocabulary.adds_bos() &&
                     !(segment.special && !vocabulary.bos_text().empty() &&
                       segment.text.starts_with(vocabulary.bos_text()));
    auto part = vocabulary.tokenize(segment.text, segment.special, bos);
    if (!part) return part;
    tokens.insert(tokens.end(), part->begin(), part->end());
    first = false;
  }
  return tokens;
}

Result<GrammarSpec> read_prompt(const JobRequest& job, const PrepareContext& context,
                                PreparedJob& ready) {
  if (const auto* ids = std::get_if<std::vector<Token>>(&job.prompt)) {
    ready.prompt = *ids;
    return grammar_of_format(job.format);
  }
  if (const auto* text = std::get_if<std::string>(&job.prompt)) {
    auto tokens = tokenize_segments({{*text, true}}, context.vocabulary);
    if (!tokens) return fail(tokens.error());
    ready.prompt = std::move(*tokens);
    return grammar_of_format(job.format);
  }
  auto rendered =
      context.chat.render(std::get<ChatPrompt>(job.prompt), {.format = job.format,
                                                             .parse = job.parse_chat,
                                                             .call_seed = ready.sampling.seed,
                                                             .max_tokens = job.max_tokens});
  if (!rendered) return fail(rendered.error());
  auto tokens = tokenize_segments(rendered->segments, context.vocabulary);
  if (!tokens) return fail(tokens.error());
  ready.prompt = std::move(*tokens);
  ready.stops.insert(ready.stops.end(), rendered->stops.begin(), rendered->stops.end());
  ready.visible_control = std::move(rendered->visible_control);
  ready.parser = std::move(rendered->parser);
  return std::move(rendered->grammar);
}

Result<void> check_ids(const std::vector<Token>& ids, const char* field,
                       const Vocabulary& vocabulary) {
  for (const auto id : ids) {
    if (!vocabulary.contains(id)) {
      return fail_field({.field = field,
                         .constraint = "token ids of this model",
                         .message = fmt::format("{}: token id {} is not in 0..{}", field, id,
                                                vocabulary.size() - 1)});
    }
  }
  return {};
}

Result<void> fit_context(const JobRequest& job, const ModelCard& card, PreparedJob& ready) {
  const auto prompt = static_cast<std::int64_t>(ready.prompt.size());
  const auto room = card.context_tokens - prompt;
  const auto resumed = static_cast<std::int64_t>(job.resume_tokens.size());
  // Resumed tokens that fill the context to the last place are a whole answer.
  if (room < std::max<std::int64_t>(resumed, 1)) {
    auto message = fmt::format(
        "the prompt has {} tokens{}; this model's context is {} tokens, and "
        "the answer needs at least one",
        prompt, resumed > 0 ? fmt::format(" and {} are resumed", resumed) : "",
        card.context_tokens);
    const bool chat = std::holds_alternative<ChatPrompt>(job.prompt);
    return fail(
        Error{.code = Code::context_length_exceeded,
              .message = message,
              .violations = {{.field = chat ? "messages" : "prompt",
                              .constraint = "fits the context",
                              .message = message}},
              .next = "shorten the prompt, or start the worker with a larger --ctx-tokens"});
  }
  ready.max_tokens = room;
  if (job.max_tokens) {
    ready.max_tokens =
        static_cast<std::int64_t>(std::min(*job.max_tokens, static_cast<std::uint64_t>(room)));
  }
  return {};
}

}  // namespace

Result<PreparedJob> prepare(const JobRequest& job, const PrepareContext& context) {
  if (context.card.embeddings_only) {
    return fail_field({.field = "model",
                       .constraint = "generates",
                       .message = "this model makes embeddings, it does not generate text"},
                      "use /v1/embeddings");
  }
  PreparedJob ready;
  ready.sampling = resolve_sampling(job.sampling, context.card.sampling,
                                    job.sampling.seed.value_or(random_u64()));
  ready.stops = job.stop;
  auto spec = read_prompt(job, context, ready);
  if (!spec) return fail(spec.error());
  if (ready.prompt.empty()) {
    return fail_field(
        {.field = "prompt", .constraint = "not empty", .message = "the prompt has no tokens"});
  }
  if (auto ok = check_ids(ready.prompt, "prompt", context.vocabulary); !ok) return fail(ok.error());
  if (auto ok = check_ids(job.resume_tokens, "resume_tokens", context.vocabulary); !ok) {
    return fail(ok.error());
  }
  if (auto ok = fit_context(job, context.card, ready); !ok) return fail(ok.error());
  if (!spec->gbnf.empty()) {
    auto grammar = Grammar::compile(*spec, context.vocabulary);
    if (!grammar) return fail(grammar.error());
    ready.grammar = std::move(*grammar);
  }
  return ready;
}

}  // namespace llorch
