// Keeps control tokens that a user typed from being read as control tokens: they are replaced by
// marks before a chat template sees the text, and put back, as plain text, after. Pure.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "prompt/render.h"

namespace llorch {

// Finds control tokens in a text. Made once a model: some have thousands of them.
class ControlTexts {
 public:
  explicit ControlTexts(std::vector<std::string> texts);
  // The length of the longest control token that `text` begins with; 0: none. Costs a search among
  // those that share each further byte, so a scan is linear in the text whatever the tokens are.
  std::size_t match(std::string_view text) const;

 private:
  std::vector<std::string> sorted_;
  std::array<std::uint32_t, 257> first_{};  // where the texts with a first byte begin
};

class ProtectedText {
 public:
  // `nonce`: letters and digits, unpredictable, so no user can type a mark. Lifetime: `controls`
  // outlives it.
  ProtectedText(const ControlTexts& controls, const std::string& nonce);

  // The text with every control token replaced by a mark. A mark is letters and digits only, which
  // a template may escape, quote or trim without changing them.
  std::string protect(std::string_view text);
  // The same for JSON, in its strings and names, where a control token may be written with escapes.
  // Text that is no JSON is protected as it is.
  std::string protect_json(std::string_view text);
  // How many control tokens have been replaced so far.
  std::size_t replaced() const { return replaced_.size(); }
  // The rendered prompt cut at the marks; what they stand for has special = false.
  std::vector<prompt::Segment> split(std::string_view rendered) const;

 private:
  const ControlTexts& controls_;
  std::string begin_;
  std::vector<std::string> replaced_;
};

}  // namespace llorch
