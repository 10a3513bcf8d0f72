// Lists of tokens to look prefixes up with. Threads: any.
#pragma once

#include <numeric>
#include <vector>

#include "protocol/job.h"

namespace llorch {

// `count` tokens from `first` on, each one more than the last.
inline std::vector<Token> tokens_from(Token first, int count) {
  std::vector<Token> made(static_cast<std::size_t>(count));
  std::iota(made.begin(), made.end(), first);
  return made;
}

inline std::vector<Token> joined(std::vector<Token> a, const std::vector<Token>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

}  // namespace llorch
