#include "console/confirm.h"

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <fmt/core.h>
#include <iostream>
#include <string>
#include <unistd.h>

namespace llorch {

bool can_ask() {
  return ::isatty(STDIN_FILENO) == 1 && ::isatty(STDERR_FILENO) == 1;
}

bool is_consent(std::string_view answer) {
  std::string word;
  for (const unsigned char c : answer) {
    if (!std::isspace(c)) word += static_cast<char>(std::tolower(c));
  }
  return word == "y" || word == "yes";
}

bool confirm(std::string_view question) {
  fmt::print(stderr, "{} [y/N] ", question);
  std::fflush(stderr);
  std::string answer;
  if (!std::getline(std::cin, answer)) fmt::print(stderr, "\n");
  return is_consent(answer);
}

}  // namespace llorch
