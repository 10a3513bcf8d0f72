#include "remote/completion.h"

#include <fmt/format.h>

namespace llorch {
namespace {

std::string joined(const std::vector<std::string>& words) {
  std::string line;
  for (const auto& word : words) line += (line.empty() ? "" : " ") + word;
  return line;
}

std::string names(std::span<const CommandWords> commands) {
  std::vector<std::string> all;
  for (const auto& command : commands) all.push_back(command.name);
  return joined(all);
}

std::string bash(std::string_view program, std::span<const CommandWords> commands) {
  std::string cases;
  for (const auto& command : commands) {
    cases += fmt::format("    {}) words=\"{}\" ;;\n", command.name, joined(command.words));
  }
  return fmt::format(
      "_{0}() {{\n"
      "  local words=\"{1} --help --version\"\n"
      "  ((COMP_CWORD > 1)) && case \"${{COMP_WORDS[1]}}\" in\n"
      "{2}"
      "  esac\n"
      "  COMPREPLY=($(compgen -W \"$words\" -- \"${{COMP_WORDS[COMP_CWORD]}}\"))\n"
      "}}\n"
      "complete -o default -F _{0} {0}\n",
      program, names(commands), cases);
}

std::string zsh(std::string_view program, std::span<const CommandWords> commands) {
  std::string cases;
  for (const auto& command : commands) {
    cases += fmt::format("    {}) compadd -- {} ;;\n", command.name, joined(command.words));
  }
  return fmt::format(
      "#compdef {0}\n"
      "_{0}() {{\n"
      "  if ((CURRENT == 2)); then\n"
      "    compadd -- {1} --help --version\n"
      "    return\n"
      "  fi\n"
      "  case \"$words[2]\" in\n"
      "{2}"
      "  esac\n"
      "}}\n"
      "compdef _{0} {0}\n",
      program, names(commands), cases);
}

std::string fish(std::string_view program, std::span<const CommandWords> commands) {
  std::string script = fmt::format("complete -c {} -f\n", program);
  for (const auto& command : commands) {
    script += fmt::format("complete -c {} -n __fish_use_subcommand -a {} -d '{}'\n", program,
                          command.name, command.description);
    for (const auto& word : command.words) {
      const bool flag = word.starts_with("--");
      script += fmt::format("complete -c {} -n '__fish_seen_subcommand_from {}' {} {}\n", program,
                            command.name, flag ? "-l" : "-a", flag ? word.substr(2) : word);
    }
  }
  return script;
}

}  // namespace

Result<std::string> completion_script(std::string_view shell, std::string_view program,
                                      std::span<const CommandWords> commands) {
  if (shell == "bash") return bash(program, commands);
  if (shell == "zsh") return zsh(program, commands);
  if (shell == "fish") return fish(program, commands);
  return fail(Code::invalid_request, fmt::format("shell '{}': want bash, zsh or fish", shell),
              "llorch completion bash");
}

}  // namespace llorch
