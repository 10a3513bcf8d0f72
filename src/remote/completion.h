// Completion scripts for shells, made from the words a program takes.
// Pure. Threads: any.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace llorch {

// One subcommand and what may follow it.
struct CommandWords {
  std::string name;
  std::string description;
  std::vector<std::string> words;  // flags, and the values of a fixed choice
};

// A script to be sourced by `shell`: bash, zsh or fish. Errors: invalid_request (another shell).
Result<std::string> completion_script(std::string_view shell, std::string_view program,
                                      std::span<const CommandWords> commands);

}  // namespace llorch
