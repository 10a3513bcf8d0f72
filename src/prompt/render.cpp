#include "prompt/render.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <utility>

#include "base/limits.h"

namespace llorch::prompt {
namespace {

struct FamilyName {
  Family family;
  std::string_view name;
};
constexpr FamilyName names[] = {{Family::qwen, "qwen"},
                                {Family::chatml, "chatml"},
                                {Family::llama2, "llama2"},
                                {Family::llama3, "llama3"},
                                {Family::mistral_v2, "mistral-v0.2"},
                                {Family::mistral_v3, "mistral-v0.3"},
                                {Family::phi3, "phi3"},
                                {Family::zephyr, "zephyr"},
                                {Family::gemma, "gemma"},
                                {Family::raw, "raw"}};

constexpr std::string_view qwen_system =
    "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.";

// What Python's str.strip() takes away, and so Jinja's trim.
constexpr std::array spaces = std::to_array<std::string_view>(
    {"\t",     "\n",     "\v",     "\f",     "\r",     "\x1c",   "\x1d",   "\x1e",
     "\x1f",   " ",      "\u0085", "\u00a0", "\u1680", "\u2000", "\u2001", "\u2002",
     "\u2003", "\u2004", "\u2005", "\u2006", "\u2007", "\u2008", "\u2009", "\u200a",
     "\u2028", "\u2029", "\u202f", "\u205f", "\u3000"});

std::string_view trim(std::string_view text) {
  const auto at_front = [&](std::string_view space) { return text.starts_with(space); };
  const auto at_back = [&](std::string_view space) { return text.ends_with(space); };
  for (auto s = std::ranges::find_if(spaces, at_front); s != spaces.end();
       s = std::ranges::find_if(spaces, at_front)) {
    text.remove_prefix(s->size());
  }
  for (auto s = std::ranges::find_if(spaces, at_back); s != spaces.end();
       s = std::ranges::find_if(spaces, at_back)) {
    text.remove_suffix(s->size());
  }
  return text;
}

// Collects text, joining neighbours of one kind. Only control() makes text special.
class Segments {
 public:
  Segments& control(std::string_view text) { return add(text, true); }
  Segments& content(std::string_view text) { return add(text, false); }
  std::vector<Segment> take() { return std::move(segments_); }

 private:
  Segments& add(std::string_view text, bool special) {
    if (text.empty()) return *this;
    if (segments_.empty() || segments_.back().special != special) {
      segments_.push_back({{}, special});
    }
    segments_.back().text += text;
    return *this;
  }

  std::vector<Segment> segments_;
};

bool is_system(const Message& message) {
  return message.role == "system" || message.role == "developer";
}

std::string_view template_role(const Message& message) {
  return is_system(message) ? std::string_view("system") : std::string_view(message.role);
}

using Messages = std::span<const Message>;

void render_chatml(Messages messages, std::string_view default_system, Segments& out) {
  if (!default_system.empty() && !is_system(messages.front())) {
    out.control("<|im_start|>system\n").control(default_system).control("<|im_end|>\n");
  }
  for (const Message& message : messages) {
    out.control("<|im_start|>").control(template_role(message)).control("\n");
    out.content(message.content).control("<|im_end|>\n");
  }
  out.control("<|im_start|>assistant\n");
}

void render_llama3(Messages messages, Segments& out) {
  for (const Message& message : messages) {
    out.control("<|start_header_id|>").control(template_role(message));
    out.control("<|end_header_id|>\n\n").content(trim(message.content)).control("<|eot_id|>");
  }
  out.control("<|start_header_id|>assistant<|end_header_id|>\n\n");
}

void render_phi3(Messages messages, Segments& out) {
  for (const Message& message : messages) {
    if (is_system(message) && message.content.empty()) continue;
    out.control("<|").control(template_role(message)).control("|>\n");
    out.content(message.content).control("<|end|>\n");
  }
  out.control("<|assistant|>\n");
}

void render_zephyr(Messages messages, Segments& out) {
  for (const Message& message : messages) {
    out.control("<|").control(template_role(message)).control("|>\n");
    out.content(message.content).control("</s>\n");
  }
  out.control("<|assistant|>\n");
}

// The families below want an optional system message, then user and assistant in turn; `turns`
// is what follows the system message.
void render_llama2(const Message* system, Messages turns, Segments& out) {
  for (std::size_t i = 0; i < turns.size(); ++i) {
    if (i % 2 == 1) {
      out.control(" ").content(trim(turns[i].content)).control(" </s>");
      continue;
    }
    out.control(i == 0 ? "[INST] " : "<s>[INST] ");  // the first <s> is the tokeniser's
    if (i == 0 && system) {
      // The template trims the two as one text, so the question keeps its leading spaces.
      const std::string_view trimmed = trim(turns[i].content);
      const auto end = turns[i].content.find(trimmed) + trimmed.size();
      out.control("<<SYS>>\n").content(system->content).control("\n<</SYS>>");
      if (!trimmed.empty()) {
        out.control("\n\n").content(std::string_view(turns[i].content).substr(0, end));
      }
      out.control(" [/INST]");
      continue;
    }
    out.content(trim(turns[i].content)).control(" [/INST]");
  }
}

void render_mistral_v2(const Message* system, Messages turns, Segments& out) {
  for (std::size_t i = 0; i < turns.size(); ++i) {
    if (i % 2 == 1) {
      out.content(turns[i].content).control("</s>");
      continue;
    }
    out.control("[INST] ");
    if (i == 0 && system) out.content(system->content).content("\n\n");
    out.content(turns[i].content).control(" [/INST]");
  }
}

void render_mistral_v3(const Message* system, Messages turns, Segments& out) {
  for (std::size_t i = 0; i < turns.size(); ++i) {
    if (i % 2 == 1) {
      out.control(" ").content(trim(turns[i].content)).control("</s>");
      continue;
    }
    out.control("[INST] ");
    if (i + 1 == turns.size() && system) out.content(system->content).content("\n\n");
    out.content(turns[i].content).control("[/INST]");
  }
}

void render_gemma(const Message* system, Messages turns, Segments& out) {
  for (std::size_t i = 0; i < turns.size(); ++i) {
    out.control(i % 2 == 1 ? "<start_of_turn>model\n" : "<start_of_turn>user\n");
    if (i == 0 && system) out.content(system->content).content("\n\n");
    out.content(trim(turns[i].content)).control("<end_of_turn>\n");
  }
  out.control("<start_of_turn>model\n");
}

bool wants_turns(Family family) {
  return family == Family::llama2 || family == Family::mistral_v2 || family == Family::mistral_v3 ||
         family == Family::gemma;
}

Result<void> check(Family family, Messages messages) {
  const auto refuse = [](std::string why) {
    return fail(Code::invalid_request, "messages: " + std::move(why));
  };
  if (messages.empty()) return refuse("want at least one");
  if (messages.size() > limits::messages_max) {
    return refuse(fmt::format("{}, at most {}", messages.size(), limits::messages_max));
  }
  std::size_t bytes = 0;
  for (const Message& message : messages) {
    const bool known = is_system(message) || message.role == "user" || message.role == "assistant";
    if (!known) return refuse("a role is not system, developer, user or assistant");
    bytes += message.content.size();
    if (bytes > limits::prompt_bytes_max) {
      return fail(Code::too_large,
                  fmt::format("messages: more than {} bytes of content", limits::prompt_bytes_max));
    }
  }
  if (!wants_turns(family)) return {};
  const Messages turns = is_system(messages.front()) ? messages.subspan(1) : messages;
  if (turns.empty()) return refuse("this model's template wants a user message");
  for (std::size_t i = 0; i < turns.size(); ++i) {
    if (turns[i].role != (i % 2 == 0 ? "user" : "assistant")) {
      return refuse(
          fmt::format("this model's template wants user and assistant in turn after an "
                      "optional system message; turn {} is out of order",
                      i));
    }
  }
  return {};
}

}  // namespace

Result<std::vector<Segment>> render(Family family, std::span<const Message> messages) {
  if (const auto ok = check(family, messages); !ok) return fail(ok.error());
  const Message* const system = is_system(messages.front()) ? &messages.front() : nullptr;
  const Messages turns = system ? messages.subspan(1) : messages;
  Segments out;
  switch (family) {
    case Family::qwen:
      render_chatml(messages, qwen_system, out);
      break;
    case Family::chatml:
      render_chatml(messages, {}, out);
      break;
    case Family::llama2:
      render_llama2(system, turns, out);
      break;
    case Family::llama3:
      render_llama3(messages, out);
      break;
    case Family::mistral_v2:
      render_mistral_v2(system, turns, out);
      break;
    case Family::mistral_v3:
      render_mistral_v3(system, turns, out);
      break;
    case Family::phi3:
      render_phi3(messages, out);
      break;
    case Family::zephyr:
      render_zephyr(messages, out);
      break;
    case Family::gemma:
      render_gemma(system, turns, out);
      break;
    case Family::raw:
      out.content(messages.back().content);
      break;
  }
  return out.take();
}

std::optional<Family> family_from(std::string_view source, std::string_view architecture) {
  if (source.empty()) return Family::raw;
  const auto has = [&](std::string_view mark) { return source.contains(mark); };
  if (has("<|im_start|>")) {
    // Phi-4 and SmolVLM use the mark for other shapes.
    if (has("<|im_sep|>") || has("<end_of_utterance>")) return std::nullopt;
    return has("You are Qwen") ? Family::qwen : Family::chatml;
  }
  if (has("<|start_header_id|>")) return Family::llama3;
  if (has("<start_of_turn>")) return Family::gemma;
  if (has("[INST]")) {
    if (has("[SYSTEM_PROMPT]")) return std::nullopt;  // later Mistral models
    if (has("<<SYS>>")) return Family::llama2;
    if (has(" [/INST]")) return Family::mistral_v2;
    // The tekken variant has no space after the mark either.
    return has("[INST] ") ? std::optional(Family::mistral_v3) : std::nullopt;
  }
  if (has("<|user|>") && has("<|assistant|>")) {
    if (has("<|end|>")) return Family::phi3;
    if (architecture == "chatglm") return std::nullopt;  // the same marks, no end of turn
    if (has("eos_token") || has("</s>")) return Family::zephyr;
  }
  return std::nullopt;
}

std::string_view family_name(Family family) {
  return std::ranges::find(names, family, &FamilyName::family)->name;
}

std::string joined(std::span<const Segment> segments) {
  std::string text;
  for (const Segment& segment : segments) text += segment.text;
  return text;
}

}  // namespace llorch::prompt
