#include "prompt_text.h"

#include <array>
#include <random>
#include <string_view>

#include "protocol/json_text.h"

namespace llorch::bench {
namespace {

constexpr auto vocabulary = std::to_array<std::string_view>(
    {"the",  "of",    "and",   "to",    "in",    "is",    "that",  "for",  "it",    "was",
     "on",   "are",   "as",    "with",  "they",  "at",    "be",    "this", "from",  "have",
     "or",   "by",    "one",   "had",   "not",   "but",   "what",  "all",  "were",  "when",
     "we",   "there", "can",   "an",    "your",  "which", "their", "said", "if",    "do",
     "will", "each",  "about", "how",   "up",    "out",   "them",  "then", "she",   "many",
     "some", "so",    "these", "would", "other", "into",  "has",   "more", "her",   "two",
     "like", "him",   "see",   "time",  "could", "no",    "make",  "than", "first", "been"});

// Streams of seeds that never meet: prefixes, requests and the injected prompt.
constexpr std::uint64_t prefix_stream = 1'000'000'000;
constexpr std::uint64_t request_stream = 2'000'000'000;

}  // namespace

std::string words_of(std::uint64_t seed, std::uint32_t words) {
  std::mt19937_64 random(seed);
  std::string text;
  for (std::uint32_t i = 0; i < words; ++i) {
    if (i > 0) text += ' ';
    text += vocabulary[random() % vocabulary.size()];
  }
  return text;
}

std::string prompt_of(const LoadOptions& options, std::uint32_t index) {
  const std::uint64_t base = options.seed * 10'000'000'000;
  std::string prompt;
  if (options.shared_prefix_words > 0) {
    prompt = words_of(base + prefix_stream + index % options.prefixes, options.shared_prefix_words);
    prompt += ' ';
  }
  const auto own = words_of(base + request_stream + index, options.prompt_words);
  prompt += own;
  for (std::uint32_t i = 1; i < options.prompt_repeats; ++i) prompt += ". " + own;
  return prompt;
}

std::string request_body(const LoadOptions& options, const std::string& prompt,
                         std::uint32_t max_tokens) {
  std::string body;
  JsonObjectWriter out(body);
  out.string("model", options.model);
  if (options.route == Route::chat) {
    std::string messages = R"([{"role":"user","content":)";
    append_json_string(messages, prompt);
    out.raw("messages", messages + "}]");
  } else {
    out.string("prompt", prompt);
  }
  out.unsigned_integer("max_tokens", max_tokens).unsigned_integer("seed", options.seed);
  out.raw("temperature", "0");
  if (options.route != Route::tasks) {
    out.boolean("stream", true).raw("stream_options", R"({"include_usage":true})");
  }
  if (options.ignore_eos) out.boolean("ignore_eos", true);
  out.end();
  return body;
}

}  // namespace llorch::bench
