#include "remote/arguments.h"

#include <cerrno>
#include <cstring>
#include <optional>
#include <unistd.h>
#include <utility>
#include <vector>

#include "base/settings.h"
#include "console/command_line.h"
#include "console/json_output.h"
#include "pool/root.h"
#include "protocol/utf8.h"
#include "remote/completion.h"

namespace llorch {
namespace {

constexpr const char* examples =
    "  llorch infer --worker localhost:8080 --prompt \"Why is the sky blue?\" --max-tokens 100\n"
    "  git log -5 | llorch infer --worker localhost:8080 --system \"Summarise\" --prompt -\n"
    "  llorch infer --worker localhost:8080 --prompt \"2 + 2 =\" --raw --temperature 0 --json\n"
    "  llorch host add gpu-1 --user me\n"
    "  llorch pool worker spawn --gpu 0 --model qwen --host gpu-1\n"
    "  source <(llorch completion bash)\n";

struct Flags {
  InferOptions infer;
  std::optional<std::string> orchestrator_url;
  std::string shell;
  HostCommand host;
};

CLI::App* declare_infer(CLI::App& app, Flags& flags) {
  auto* infer = app.add_subcommand("infer", "Send a prompt and print the answer as it comes");
  auto& to = flags.infer;
  infer->add_option("--worker", to.worker, "HOST:PORT of a worker; without it: orchestratord");
  infer->add_option("--orchestrator-url", flags.orchestrator_url,
                    "orchestratord to ask (default " + to.orchestrator_url + ")");
  infer->add_option("--model", to.model, "model to ask for, through orchestratord");
  infer->add_option("--prompt", to.prompt, "a user message, or - for stdin")->required();
  infer->add_option("--max-tokens", to.max_tokens, "longest answer (default 512)")
      ->check(CLI::PositiveNumber);
  infer->add_option("--temperature", to.temperature, "0 = always the likeliest (default 1)")
      ->check(CLI::Range(0.0, 2.0));
  infer->add_option("--seed", to.seed, "makes a random answer repeatable");
  infer->add_option("--system", to.system, "a system message before the prompt");
  infer->add_option("--stop", to.stop, "ends the answer; may be given up to 16 times")
      ->allow_extra_args(false);
  infer->add_flag("--raw", to.raw, "the bare prompt, without the model's chat template");
  infer->add_flag("--json", to.json, "one JSON object at the end in place of the text");
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
    for (const auto& name : option->get_lnames()) words.push_back("--" + name);
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

Result<std::string> read_stdin() {
  std::string text;
  char chunk[16 * limits::kib];
  for (;;) {
    const ssize_t got = ::read(STDIN_FILENO, chunk, sizeof chunk);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      return fail(Code::internal, std::string("stdin: ") + std::strerror(errno),
                  "give stdin a file or a pipe, or the prompt itself to --prompt");
    }
    if (got == 0) return text;
    text.append(chunk, static_cast<std::size_t>(got));
    if (text.size() > limits::prompt_bytes_max) {
      return fail(Code::too_large, "stdin: a prompt of more than 1 MiB", "shorten the prompt");
    }
  }
}

Result<void> check_text(const char* flag, std::string_view text) {
  if (text.size() > limits::prompt_bytes_max) {
    return fail(Code::too_large, std::string(flag) + ": more than 1 MiB", "shorten the text");
  }
  if (is_utf8(text)) return {};
  return fail(Code::invalid_request, std::string(flag) + ": not UTF-8 text",
              "convert it: iconv -t UTF-8");
}

Result<void> check(const InferOptions& options) {
  const auto refuse = [](const char* why) {
    return fail(Code::invalid_request, why, "llorch infer --help");
  };
  if (options.prompt.empty()) return refuse("--prompt: is empty");
  if (const auto ok = check_text("--prompt", options.prompt); !ok) return ok;
  if (const auto ok = check_text("--system", options.system); !ok) return ok;
  if (options.stop.size() > limits::stop_strings_max) {
    return refuse("--stop: given more than 16 times");
  }
  for (const auto& stop : options.stop) {
    if (stop.empty() || stop.size() > limits::stop_bytes_max || !is_utf8(stop)) {
      return refuse("--stop: want 1 to 256 bytes of UTF-8 text");
    }
  }
  if (options.raw && !options.system.empty()) {
    return refuse("--system: a --raw prompt has no messages");
  }
  return {};
}

Result<InferOptions> infer_options(Flags flags) {
  auto options = std::move(flags.infer);
  const auto files = make_file_system();
  const auto settings = load_settings(default_settings_sources(find_root(*files).path));
  if (!settings) return fail(settings.error());
  const auto url =
      flags.orchestrator_url ? flags.orchestrator_url : settings->text("orchestrator_url");
  options.orchestrator_url = url.value_or(options.orchestrator_url);
  options.worker_token = settings->text("worker.token").value_or("");
  options.api_token = settings->text("api_token").value_or("");
  if (options.prompt == "-") {
    auto text = read_stdin();
    if (!text) return fail(text.error());
    options.prompt = std::move(*text);
  }
  if (const auto ok = check(options); !ok) return fail(ok.error());
  return options;
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
  declare_completion(app, flags);
  if (const auto ended = parse_command_line(app, argc, argv)) return *ended;
  if (infer->parsed()) {
    auto options = infer_options(std::move(flags));
    if (!options) return fail(options.error());
    return RemoteCommand{std::move(*options)};
  }
  if (host->parsed()) return RemoteCommand{std::move(flags.host)};
  auto script = completion(app, flags.shell);
  if (!script) return fail(script.error());
  return RemoteCommand{std::move(*script)};
}

}  // namespace llorch
