// The prompt constructor: messages in, the text of a model family out, split so that control
// tokens are recognised only where the template put them. Threads: pure.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace llorch::prompt {

// Families by their published chat templates. The two of Mistral differ in spaces.
enum class Family {
  qwen,    // ChatML with Qwen2.5's default system message
  chatml,  // the same without one: Qwen3, SmolLM2
  llama2,
  llama3,
  mistral_v2,  // "[INST] x [/INST]"
  mistral_v3,  // "[INST] x[/INST]"
  phi3,
  zephyr,  // TinyLlama-Chat, whose architecture says llama
  gemma,
  raw,  // the last message as it is
};

struct Message {
  std::string role;  // system, developer (= system), user or assistant
  std::string content;
};

// `special`: tokenise with control tokens recognised. Neighbours differ in `special`.
struct Segment {
  std::string text;
  bool special = false;
  bool operator==(const Segment&) const = default;
};

// The segments up to where the assistant's answer begins. The first beginning-of-sequence token
// is left out: the tokeniser adds it where the model wants one, so there are never two.
// Shape: 1..limits::messages_max messages, up to limits::prompt_bytes_max of content.
// Errors: invalid_request for no message, an unknown role, or an order the template refuses;
// too_large.
Result<std::vector<Segment>> render(Family family, std::span<const Message> messages);

// The family of a GGUF's chat template by the markers in it. Without a template: raw. The
// architecture never decides; it only rules out a stranger with the same markers. nullopt: a
// template of no family here.
std::optional<Family> family_from(std::string_view template_source, std::string_view architecture);

// "qwen", "mistral-v0.2".
std::string_view family_name(Family family);

// All segments as one text.
std::string joined(std::span<const Segment> segments);

}  // namespace llorch::prompt
