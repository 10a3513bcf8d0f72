// Keeps control tokens that a user typed from being read as control tokens: they are replaced by
// marks before a chat template sees the text, and put back, as plain text, after. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "prompt/render.h"

namespace llorch {

class ProtectedText {
 public:
  // Shape: control_texts longest first. `nonce`: unpredictable, so no user can type a mark.
  ProtectedText(const std::vector<std::string>& control_texts, std::string nonce);

  // The text with every control token replaced by a mark.
  std::string protect(std::string_view text);
  // The rendered prompt cut at the marks; what they stand for has special = false.
  std::vector<prompt::Segment> split(std::string_view rendered) const;

 private:
  const std::vector<std::string>& control_texts_;
  std::string begin_;
  std::vector<std::string> replaced_;
};

}  // namespace llorch
