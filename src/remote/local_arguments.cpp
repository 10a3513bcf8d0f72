#include "remote/local_arguments.h"

#include <unistd.h>

#include "console/report.h"
#include "remote/prompt_flags.h"

namespace llorch {
namespace {

CLI::App* command_of(CLI::App& app, LocalFlags& flags, LocalCommand::Kind kind,
                     const std::string& name, const std::string& description,
                     const std::string& examples) {
  auto* const command = app.add_subcommand(name, description);
  command->add_option("--orchestrator-url", flags.orchestrator_url,
                      "where orchestratord is (default " + flags.command.orchestrator_url + ")");
  command->callback([&flags, kind] {
    flags.command.kind = kind;
    flags.given = true;
  });
  command->footer("Examples:\n" + examples);
  return command;
}

}  // namespace

void declare_local(CLI::App& app, LocalFlags& flags) {
  auto& to = flags.command;
  auto* const up =
      command_of(app, flags, LocalCommand::Kind::up, "up", "Start orchestratord on this machine",
                 "  llorch up\n  llorch up --model smollm2\n");
  up->add_option("--model", to.model, "and a worker of this model, downloaded where needed");
  command_of(app, flags, LocalCommand::Kind::down, "down",
             "Stop orchestratord and the workers of this machine", "  llorch down\n");
  auto* const ps = command_of(app, flags, LocalCommand::Kind::ps, "ps", "What runs on this machine",
                              "  llorch ps\n  llorch ps --json | jq '.processes[].name'\n");
  ps->add_flag("--json", to.json, "Print one JSON document");
  auto* const run = command_of(
      app, flags, LocalCommand::Kind::run, "run",
      "Ask a model on this machine: downloads, loads, answers",
      "  llorch run smollm2 \"Why is the sky blue?\"\n"
      "  git log -5 | llorch run qwen --system \"Summarise\"\n"
      "  llorch run hf:Qwen/Qwen2.5-0.5B-Instruct-GGUF:Q4_K_M \"Hello\" --temperature 0\n");
  run->add_option("model", to.model, "a catalog id, hf:ORG/REPO[:QUANT] or file:/PATH")->required();
  run->add_option("prompt", to.infer.prompt, "a user message; without it: stdin");
  declare_answer_flags(*run, to.infer);
}

Result<void> finish_local(LocalFlags& flags) {
  auto& command = flags.command;
  if (command.kind != LocalCommand::Kind::run) return {};
  if (command.infer.prompt.empty()) {
    if (::isatty(STDIN_FILENO) == 1) print_next("type the prompt, then Ctrl-D");
    command.infer.prompt = "-";
  }
  return finish_prompt(command.infer, "llorch run --help");
}

}  // namespace llorch
