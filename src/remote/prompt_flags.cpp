#include "remote/prompt_flags.h"

#include <cerrno>
#include <cstring>
#include <string>
#include <unistd.h>
#include <utility>

#include "protocol/utf8.h"

namespace llorch {
namespace {

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

Result<void> check(const InferOptions& options, const char* help) {
  const auto refuse = [&](const char* why) { return fail(Code::invalid_request, why, help); };
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

}  // namespace

void declare_prompt_flags(CLI::App& command, InferOptions& to) {
  command.add_option("--prompt", to.prompt, "a user message, or - for stdin")->required();
  declare_answer_flags(command, to);
}

void declare_answer_flags(CLI::App& command, InferOptions& to) {
  command.add_option("--max-tokens", to.max_tokens, "longest answer (default 512)")
      ->check(CLI::PositiveNumber);
  command.add_option("--temperature", to.temperature, "0 = always the likeliest (default 1)")
      ->check(CLI::Range(0.0, 2.0));
  command.add_option("--seed", to.seed, "makes a random answer repeatable");
  command.add_option("--system", to.system, "a system message before the prompt");
  command.add_option("--stop", to.stop, "ends the answer; may be given up to 16 times")
      ->allow_extra_args(false);
  command.add_flag("--raw", to.raw, "the bare prompt, without the model's chat template");
  command.add_flag("--json", to.json, "one JSON object at the end in place of the text");
}

Result<void> finish_prompt(InferOptions& options, const char* help) {
  if (options.prompt == "-") {
    auto text = read_stdin();
    if (!text) return fail(text.error());
    options.prompt = std::move(*text);
  }
  return check(options, help);
}

}  // namespace llorch
