// CLI11 with the manners of our programs: usage errors exit 2 as "error: …" and "next: …", an
// unknown subcommand names the nearest one, --version, examples at the end of --help.
// Threads: one. Include only from the file that declares a program's flags: CLI11 is heavy.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>

namespace llorch {

// Sets name, description, --version and the examples shown under --help.
void dress(CLI::App& app, const std::string& program, const std::string& description,
           const std::string& examples);

// Parses; nullopt = go on, else the exit code to end with, everything already printed.
std::optional<int> parse_command_line(CLI::App& app, int argc, const char* const* argv);

}  // namespace llorch
