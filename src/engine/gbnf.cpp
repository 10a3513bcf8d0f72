#include "engine/gbnf.h"

#include <algorithm>
#include <exception>
#include <fmt/format.h>
#include <llama-grammar.h>
#include <optional>
#include <stdexcept>

namespace llorch {
namespace {

bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
}

// Where the literal, character class or comment that begins at `at` ends; `at` for anything else.
std::size_t end_of_opaque(std::string_view text, std::size_t at) {
  if (text[at] == '#') return std::min(text.find_first_of("\r\n", at), text.size());
  if (text[at] != '"' && text[at] != '[') return at;
  const char close = text[at] == '"' ? '"' : ']';
  for (++at; at < text.size() && text[at] != close; ++at) {
    if (text[at] == '\\') ++at;
  }
  return std::min(at + 1, text.size());
}

struct Fault {
  std::size_t at;
  std::string what;
};

// llama.cpp says "expecting ')' at" and then all the text from there on: that is how long the rest
// is. Anything else it says may quote the text, so only its beginning is kept.
Fault fault_of(const std::exception& thrown, std::string_view source, std::size_t rule_at) {
  if (dynamic_cast<const std::logic_error*>(&thrown)) return {rule_at, "a number is too large"};
  const std::string_view said = thrown.what();
  if (said.starts_with("invalid token")) return {rule_at, "a <token> is none of this model's"};
  const auto at = said.find(" at ");
  if (at == said.npos) return {rule_at, std::string(said)};
  const auto rest = said.substr(at + 4);
  if (!source.ends_with(rest)) return {rule_at, std::string(said.substr(0, at))};
  return {source.size() - rest.size(), std::string(said.substr(0, at))};
}

std::size_t skip_space(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size()) {
    if (text[at] == '#') {
      at = end_of_opaque(text, at);
    } else if (std::string_view(" \t\r\n").contains(text[at])) {
      ++at;
    } else {
      break;
    }
  }
  return at;
}

std::optional<std::string> undefined_rule(const llama_grammar_parser& parser) {
  for (const auto& [name, id] : parser.symbol_ids) {
    if (id >= parser.rules.size() || parser.rules[id].empty()) return name;
  }
  return std::nullopt;
}

}  // namespace

Result<void> check_gbnf(const std::string& source, std::string_view field,
                        const llama_vocab* vocab) {
  const auto refuse = [&](const std::string& why) {
    return fail_field({.field = std::string(field),
                       .constraint = "GBNF",
                       .message = fmt::format("{}: the grammar does not parse: {}", field, why)});
  };
  const auto refuse_at = [&](const Fault& fault) {
    const auto line =
        std::count(source.begin(), source.begin() + static_cast<std::ptrdiff_t>(fault.at), '\n');
    return refuse(fmt::format("line {}: {}", line + 1, fault.what));
  };
  if (const auto nul = source.find('\0'); nul != source.npos) {
    return refuse_at({nul, "a zero byte"});
  }
  llama_grammar_parser parser(vocab);
  const char* const begin = source.c_str();
  const char* at = begin + skip_space(source);
  try {
    while (*at != '\0') at = parser.parse_rule(at);
  } catch (const std::exception& thrown) {
    return refuse_at(fault_of(thrown, source, static_cast<std::size_t>(at - begin)));
  }
  if (const auto name = undefined_rule(parser)) {
    return refuse("the rule `" + *name + "` is used, but not defined");
  }
  if (!parser.symbol_ids.contains("root")) return refuse("it has no rule `root`");
  return {};
}

std::string with_rule_prefix(std::string_view gbnf, std::string_view prefix) {
  std::string out;
  for (std::size_t at = 0; at < gbnf.size();) {
    auto end = end_of_opaque(gbnf, at);
    if (end == at && gbnf[at] == '{') end = std::min(gbnf.find('}', at), gbnf.size() - 1) + 1;
    if (end == at && is_word(gbnf[at])) {
      out += prefix;
      while (end < gbnf.size() && is_word(gbnf[end])) ++end;
    }
    if (end == at) ++end;
    out += gbnf.substr(at, end - at);
    at = end;
  }
  return out;
}

}  // namespace llorch
