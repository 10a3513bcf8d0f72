#include "load_options.h"

#include <cstdlib>
#include <map>
#include <utility>

#include "console/command_line.h"
#include "console/report.h"

namespace llorch::bench {
namespace {

// Bounds that keep a mistyped flag from eating the machine that measures.
constexpr std::uint32_t concurrency_max = 16'384;
constexpr std::uint32_t requests_max = 1'000'000;
constexpr std::uint32_t words_max = 100'000;

constexpr const char* examples =
    "  llorch-load --url http://127.0.0.1:8001 --concurrency 8 --requests 32 --ignore-eos\n"
    "  llorch-load --url http://127.0.0.1:8001 --background-streams 4 --inject-prompt-tokens 4000";

}  // namespace

std::variant<LoadOptions, int> parse_load_options(int argc, const char* const* argv) {
  LoadOptions options;
  std::string key_env;
  CLI::App app;
  dress(app, "llorch-load", "Puts load on an OpenAI-compatible server and measures it", examples);
  app.add_option("--url", options.url, "server, without /v1");
  app.add_option("--model", options.model, "model named in the requests");
  app.add_option("--key-env", key_env, "variable of the environment that has the API key");
  app.add_option("--route", options.route,
                 "chat, completions or tasks (POST /v2/tasks, and its events)")
      ->transform(CLI::Transformer(std::map<std::string, Route>{
          {"chat", Route::chat}, {"completions", Route::completions}, {"tasks", Route::tasks}}));
  app.add_option("--concurrency", options.concurrency, "requests in flight")
      ->check(CLI::Range(1u, concurrency_max));
  app.add_option("--requests", options.requests, "requests in all")
      ->check(CLI::Range(1u, requests_max));
  app.add_option("--max-tokens", options.max_tokens, "tokens of each answer")
      ->check(CLI::Range(1u, words_max));
  app.add_option("--prompt-words", options.prompt_words, "words of each request's own")
      ->check(CLI::Range(1u, words_max));
  app.add_option("--prompt-repeats", options.prompt_repeats,
                 "how often they are said: the answer goes on with them")
      ->check(CLI::Range(1u, 1'000u));
  app.add_option("--shared-prefix-words", options.shared_prefix_words, "words shared by requests")
      ->check(CLI::Range(0u, words_max));
  app.add_option("--prefixes", options.prefixes, "different shared prefixes")
      ->check(CLI::Range(1u, words_max));
  app.add_option("--seed", options.seed, "of prompts and sampling");
  app.add_flag("--fresh", options.fresh, "a connection per request");
  app.add_flag("--ignore-eos", options.ignore_eos, "always max-tokens tokens");
  app.add_option("--background-streams", options.background_streams, "streams that decode")
      ->check(CLI::Range(0u, concurrency_max));
  app.add_option("--inject-prompt-tokens", options.inject_prompt_tokens,
                 "a prompt of about this length arrives while they do")
      ->check(CLI::Range(0u, words_max));
  app.add_option("--limit-s", options.limit_s, "the whole run ends after this many seconds")
      ->check(CLI::Range(1u, 86'400u));
  app.add_option("--stall-s", options.stall_s, "a request without a byte for so long has failed")
      ->check(CLI::Range(1u, 3'600u));
  app.add_flag("--json", options.json, "one JSON object on stdout");
  if (const auto ended = parse_command_line(app, argc, argv)) return *ended;
  if (!key_env.empty()) {
    const char* const key = std::getenv(key_env.c_str());
    if (key == nullptr) {
      return report(Error{.code = Code::invalid_request,
                          .message = "--key-env: there is no variable " + key_env,
                          .next = "export " + key_env + "=KEY"},
                    exit_usage);
    }
    options.key = key;
  }
  if (options.background_streams > 0 && options.inject_prompt_tokens == 0) {
    return report(Error{.code = Code::invalid_request,
                        .message = "--background-streams: wants --inject-prompt-tokens",
                        .next = "see llorch-load --help"},
                  exit_usage);
  }
  return options;
}

}  // namespace llorch::bench
