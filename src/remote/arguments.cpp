#include "remote/arguments.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "base/settings.h"
#include "console/command_line.h"
#include "console/json_output.h"
#include "pool/root.h"
#include "remote/completion.h"
#include "remote/fleet_arguments.h"
#include "remote/local_arguments.h"
#include "remote/prompt_flags.h"
#include "sys/file_system.h"

namespace llorch {
namespace {

constexpr const char* examples =
    "  llorch run smollm2 \"Why is the sky blue?\"\n"
    "  llorch infer --worker localhost:8080 --prompt \"Why is the sky blue?\" --max-tokens 100\n"
    "  git log -5 | llorch infer --worker localhost:8080 --system \"Summarise\" --prompt -\n"
    "  llorch infer --worker localhost:8080 --prompt \"2 + 2 =\" --raw --temperature 0 --json\n"
    "  llorch jobs submit --model qwen --prompt \"Hello\" --follow\n"
    "  llorch workers list\n"
    "  llorch keys add ci --tenant acme\n"
    "  llorch host add gpu-1 --user me\n"
    "  llorch pool worker spawn --gpu 0 --model qwen --host gpu-1\n"
    "  source <(llorch completion bash)\n";

struct Flags {
  InferOptions infer;
  std::optional<std::string> orchestrator_url;
  std::string shell;
  HostCommand host;
  FleetFlags fleet;
  LocalFlags local;
};

CLI::App* declare_infer(CLI::App& app, Flags& flags) {
  auto* infer = app.add_subcommand("infer", "Send a prompt and print the answer as it comes");
  auto& to = flags.infer;
  infer->add_option("--worker", to.worker, "HOST:PORT of a worker; without it: orchestratord");
  infer->add_option("--orchestrator-url", flags.orchestrator_url,
                    "orchestratord to ask (default " + to.orchestrator_url + ")");
  infer->add_option("--model", to.model, "model to ask for, through orchestratord");
  declare_prompt_flags(*infer, to);
  infer->footer(std::string("Examples:\n") + examples);
  return infer;
}

CLI::App* declare_completion(CLI::App& app, Flags& flags) {
  auto* completion = app.add_subcommand("completion", "Print a completion script for a shell");
  completion->add_option("shell", flags.shell, "bash, zsh or fish")->required();
  completion->footer(
      "Examples:\n  source <(llorch completion bash)\n"
      "  llorch completion fish > ~/.config/fish/completions/llorch.fish\n");
  return completion;
}

// For --help and completion only: parse_pool_words() reads what follows it.
void declare_pool(CLI::App& app) {
  app.add_subcommand("pool", "Models and workers of this machine, or of another one over ssh");
}

CLI::App* declare_host(CLI::App& app, Flags& flags) {
  auto* const group = app.add_subcommand("host", "Other machines, by name");
  group->require_subcommand(1);
  auto& to = flags.host;
  group->footer(
      "Examples:\n  llorch host add gpu-1\n"
      "  llorch host add attic --host 192.168.1.20 --user me --command '~/llorch/llorch-pool'\n"
      "  llorch host list\n");
  auto* const add = group->add_subcommand("add", "Name a machine in the user's llorch.toml");
  add->add_option("name", to.name, "What --host and pool names say")->required();
  add->add_option("--host", to.pool.host, "Its name, address or ssh alias (default: NAME)");
  add->add_option("--user", to.pool.user, "Who logs in (default: what ssh says)");
  add->add_option("--root", to.pool.root, "LLORCH_ROOT there");
  add->add_option("--command", to.pool.command, "llorch-pool there (default: the usual places)");
  add->callback([&to] { to.kind = HostCommand::Kind::add; });
  add->footer("Examples:\n  llorch host add attic --host 192.168.1.20 --user me\n");
  auto* const list = group->add_subcommand("list", "List them");
  list->add_flag("--json", to.json, "Print one JSON document");
  list->callback([&to] { to.kind = HostCommand::Kind::list; });
  list->footer("Examples:\n  llorch host list --json\n");
  auto* const remove = group->add_subcommand("remove", "Forget one");
  remove->add_option("name", to.name, "Its name")->required();
  remove->callback([&to] { to.kind = HostCommand::Kind::remove; });
  remove->footer("Examples:\n  llorch host remove attic\n");
  return group;
}

void add_flags(std::vector<std::string>& words, const CLI::App& command) {
  for (const auto* option : command.get_options()) {
    for (const auto& name : option->get_lnames()) {
      const auto word = "--" + name;
      if (std::ranges::find(words, word) == words.end()) words.push_back(word);
    }
  }
}

Result<PrintText> completion(const CLI::App& app, const std::string& shell) {
  std::vector<CommandWords> commands;
  for (const auto* command : app.get_subcommands({})) {
    CommandWords words{command->get_name(), command->get_description(), {}};
    for (const auto* inner : command->get_subcommands({})) {
      words.words.push_back(inner->get_name());
      add_flags(words.words, *inner);
    }
    if (words.name == "pool") {
      words.words = pool_words();
    } else {
      add_flags(words.words, *command);
    }
    if (words.name == "completion") words.words.insert(words.words.end(), {"bash", "zsh", "fish"});
    commands.push_back(std::move(words));
  }
  auto script = completion_script(shell, "llorch", commands);
  if (!script) return fail(script.error());
  return PrintText{std::move(*script)};
}

// What `llorch pool` is asked for; help is printed.
Result<std::variant<RemoteCommand, int>> parse_pool(int argc, const char* const* argv) {
  auto request = parse_pool_words({argv, argv + argc});
  if (!request) return fail(request.error());
  if (std::holds_alternative<PoolHelp>(*request)) {
    print_text(pool_help());
    return exit_with_output(exit_ok);
  }
  if (auto* pool = std::get_if<PoolCommand>(&*request)) return RemoteCommand{std::move(*pool)};
  if (auto* put = std::get_if<InstallCommand>(&*request)) return RemoteCommand{std::move(*put)};
  return RemoteCommand{std::move(std::get<CopyCommand>(*request))};
}

Result<Settings> settings_now() {
  const auto files = make_file_system();
  return load_settings(default_settings_sources(find_root(*files).path));
}

// Flag over environment and files over the default, which `url` holds.
void take_orchestrator(const Settings& settings, const std::optional<std::string>& flag,
                       std::string& url, std::string& token) {
  url = (flag ? flag : settings.text("orchestrator_url")).value_or(url);
  token = settings.text("api_token").value_or("");
}

Result<InferOptions> infer_options(Flags flags) {
  auto options = std::move(flags.infer);
  const auto settings = settings_now();
  if (!settings) return fail(settings.error());
  take_orchestrator(*settings, flags.orchestrator_url, options.orchestrator_url, options.api_token);
  options.worker_token = settings->text("worker.token").value_or("");
  if (const auto ok = finish_prompt(options, "llorch infer --help"); !ok) return fail(ok.error());
  return options;
}

Result<RemoteCommand> local_command(LocalFlags flags) {
  if (const auto ok = finish_local(flags); !ok) return fail(ok.error());
  auto command = std::move(flags.command);
  const auto settings = settings_now();
  if (!settings) return fail(settings.error());
  std::string token;  // llorch-pool and orchestratord read their own
  take_orchestrator(*settings, flags.orchestrator_url, command.orchestrator_url, token);
  command.infer.worker_token = settings->text("worker.token").value_or("");
  return command;
}

Result<RemoteCommand> fleet_command(FleetFlags flags) {
  auto command = std::move(flags.command);
  if (command.kind == FleetCommand::Kind::policy_test) return command;
  const auto settings = settings_now();
  if (!settings) return fail(settings.error());
  take_orchestrator(*settings, flags.orchestrator_url, command.orchestrator_url, command.api_token);
  if (command.kind != FleetCommand::Kind::jobs_submit || !flags.follow) return command;
  command.task.orchestrator_url = std::move(command.orchestrator_url);
  command.task.api_token = std::move(command.api_token);
  return std::move(command.task);
}

}  // namespace

Result<std::variant<RemoteCommand, int>> parse_remote_command(int argc, const char* const* argv) {
  if (argc > 1 && std::string_view(argv[1]) == "pool") return parse_pool(argc - 2, argv + 2);
  CLI::App app;
  Flags flags;
  dress(app, "llorch", "Sends jobs to language models, and drives the machines that serve them",
        examples);
  app.require_subcommand(1);
  const auto* infer = declare_infer(app, flags);
  declare_pool(app);
  const auto* host = declare_host(app, flags);
  declare_fleet(app, flags.fleet);
  declare_local(app, flags.local);
  declare_completion(app, flags);
  if (const auto ended = parse_command_line(app, argc, argv)) return *ended;
  if (infer->parsed()) {
    auto options = infer_options(std::move(flags));
    if (!options) return fail(options.error());
    return RemoteCommand{std::move(*options)};
  }
  if (flags.fleet.given) {
    if (const auto ok = finish_fleet(flags.fleet); !ok) return fail(ok.error());
    auto command = fleet_command(std::move(flags.fleet));
    if (!command) return fail(command.error());
    return std::move(*command);
  }
  if (flags.local.given) {
    auto command = local_command(std::move(flags.local));
    if (!command) return fail(command.error());
    return std::move(*command);
  }
  if (host->parsed()) return RemoteCommand{std::move(flags.host)};
  auto script = completion(app, flags.shell);
  if (!script) return fail(script.error());
  return RemoteCommand{std::move(*script)};
}

}  // namespace llorch
