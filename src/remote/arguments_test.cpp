#include "remote/arguments.h"

#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <optional>
#include <string>
#include <unistd.h>
#include <vector>

#include "fakes/temporary_folder.h"
#include "protocol/execute_request.h"
#include "protocol/json_parse.h"
#include "remote/completion.h"
#include "remote/infer_request.h"
#include "remote/infer_target.h"

namespace llorch {
namespace {

using Parsed = Result<std::variant<RemoteCommand, int>>;

Parsed parse(std::vector<const char*> words) {
  words.insert(words.begin(), "llorch");
  return parse_remote_command(static_cast<int>(words.size()), words.data());
}

InferOptions infer_of(const Parsed& parsed) {
  const auto* command = parsed ? std::get_if<RemoteCommand>(&*parsed) : nullptr;
  const auto* options = command ? std::get_if<InferOptions>(command) : nullptr;
  EXPECT_NE(options, nullptr) << (parsed ? "" : parsed.error().message);
  return options ? *options : InferOptions{};
}

// Stdin from a file of this text while it lives.
class Stdin {
 public:
  explicit Stdin(const std::string& text) : saved_(::dup(STDIN_FILENO)), file_(std::tmpfile()) {
    std::fwrite(text.data(), 1, text.size(), file_);
    std::fflush(file_);
    ::lseek(::fileno(file_), 0, SEEK_SET);
    ::dup2(::fileno(file_), STDIN_FILENO);
  }
  ~Stdin() {
    ::dup2(saved_, STDIN_FILENO);
    ::close(saved_);
    std::fclose(file_);
  }
  Stdin(const Stdin&) = delete;
  Stdin& operator=(const Stdin&) = delete;

 private:
  int saved_;
  std::FILE* file_;
};

// clause: C-4
TEST(Arguments, TakeEveryFlagOfInfer) {
  const auto options =
      infer_of(parse({"infer", "--worker", "localhost:8080", "--prompt", "Hi", "--max-tokens", "20",
                      "--temperature", "0.5", "--seed", "7", "--system", "Be brief", "--stop", "a",
                      "--stop", "b,c", "--json"}));
  EXPECT_EQ(options.worker, "localhost:8080");
  EXPECT_EQ(options.prompt, "Hi");
  EXPECT_EQ(options.max_tokens, 20U);
  EXPECT_EQ(options.temperature, 0.5);
  EXPECT_EQ(options.seed, 7U);
  EXPECT_EQ(options.system, "Be brief");
  EXPECT_EQ(options.stop, (std::vector<std::string>{"a", "b,c"}));
  EXPECT_TRUE(options.json);
  EXPECT_FALSE(options.raw);
}

TEST(Arguments, RefuseWhatNoWorkerWouldTake) {
  const std::string long_stop(257, 'x');
  struct Case {
    const char* name;
    std::vector<const char*> words;
  };
  const Case cases[] = {
      {"no prompt", {"infer", "--worker", "h:1"}},
      {"empty prompt", {"infer", "--worker", "h:1", "--prompt", ""}},
      {"prompt that is not UTF-8", {"infer", "--worker", "h:1", "--prompt", "\xFF"}},
      {"no tokens", {"infer", "--worker", "h:1", "--prompt", "x", "--max-tokens", "0"}},
      {"negative tokens", {"infer", "--worker", "h:1", "--prompt", "x", "--max-tokens", "-1"}},
      {"too hot", {"infer", "--worker", "h:1", "--prompt", "x", "--temperature", "2.1"}},
      {"long stop", {"infer", "--worker", "h:1", "--prompt", "x", "--stop", long_stop.c_str()}},
      {"system with raw", {"infer", "--worker", "h:1", "--prompt", "x", "--raw", "--system", "s"}},
      {"unknown flag", {"infer", "--worker", "h:1", "--prompt", "x", "--promt", "x"}},
      {"unknown command", {"infr"}},
      {"unknown shell", {"completion", "tcsh"}},
      {"nothing", {}}};
  for (const auto& [name, words] : cases) {
    SCOPED_TRACE(name);
    testing::internal::CaptureStderr();
    const auto parsed = parse(words);
    const auto said = testing::internal::GetCapturedStderr();
    if (parsed) {
      ASSERT_TRUE(std::holds_alternative<int>(*parsed));
      EXPECT_EQ(std::get<int>(*parsed), exit_usage);
      EXPECT_TRUE(said.starts_with("error: ")) << said;
    } else {
      EXPECT_EQ(exit_code(parsed.error().code), exit_usage);
      EXPECT_FALSE(parsed.error().next.empty());
    }
  }
}

// clause: C-5
TEST(Arguments, ReadAPromptOfAtMostOneMebibyteFromStdin) {
  const std::vector<const char*> words{"infer", "--worker", "h:1", "--prompt", "-"};
  {
    const Stdin typed("line 1\nline 2\n");
    EXPECT_EQ(infer_of(parse(words)).prompt, "line 1\nline 2\n");
  }
  {
    const Stdin typed(std::string(limits::prompt_bytes_max, 'x'));
    EXPECT_EQ(infer_of(parse(words)).prompt.size(), limits::prompt_bytes_max);
  }
  {
    const Stdin typed(std::string(limits::prompt_bytes_max + 1, 'x'));
    const auto parsed = parse(words);
    ASSERT_FALSE(parsed);
    EXPECT_EQ(parsed.error().code, Code::too_large);
  }
}

// clause: C-9
TEST(Arguments, TakeTokensAndTheOrchestratorFromTheEnvironment) {
  ::setenv("LLORCH_WORKER_TOKEN", "worker-secret", 1);
  ::setenv("LLORCH_API_TOKEN", "api-secret", 1);
  ::setenv("LLORCH_ORCHESTRATOR_URL", "http://10.0.0.1:9000", 1);
  const auto options = infer_of(parse({"infer", "--prompt", "x"}));
  const auto flagged =
      infer_of(parse({"infer", "--prompt", "x", "--orchestrator-url", "http://h:1"}));
  ::unsetenv("LLORCH_WORKER_TOKEN");
  ::unsetenv("LLORCH_API_TOKEN");
  ::unsetenv("LLORCH_ORCHESTRATOR_URL");
  EXPECT_EQ(options.worker_token, "worker-secret");
  EXPECT_EQ(options.api_token, "api-secret");
  EXPECT_EQ(options.orchestrator_url, "http://10.0.0.1:9000");
  EXPECT_EQ(flagged.orchestrator_url, "http://h:1");
}

// clause: C-9
TEST(Arguments, TakeTokensFromTheSettingsFileWhereTheEnvironmentHasNone) {
  // Only the environment was asked.
  TemporaryFolder folder;
  const auto file =
      folder.write("llorch.toml", "api_token = \"file-api\"\n[worker]\ntoken = \"file-worker\"\n");
  ::setenv("LLORCH_CONFIG", file.c_str(), 1);
  ::setenv("LLORCH_API_TOKEN", "environment-api", 1);
  const auto options = infer_of(parse({"infer", "--worker", "h:1", "--prompt", "x"}));
  ::unsetenv("LLORCH_API_TOKEN");
  ::unsetenv("LLORCH_CONFIG");
  EXPECT_EQ(options.worker_token, "file-worker");
  EXPECT_EQ(options.api_token, "environment-api");
}

// clause: C-1
TEST(Arguments, ShowHelpWithExamples) {
  for (const std::vector<const char*>& words : {std::vector<const char*>{"--help"},
                                                {"infer", "--help"},
                                                {"completion", "--help"},
                                                {"jobs", "--help"},
                                                {"jobs", "submit", "--help"},
                                                {"workers", "drain", "--help"},
                                                {"explain", "--help"},
                                                {"policy", "test", "--help"},
                                                {"top", "--help"}}) {
    testing::internal::CaptureStdout();
    const auto parsed = parse(words);
    const auto said = testing::internal::GetCapturedStdout();
    ASSERT_TRUE(parsed);
    EXPECT_EQ(std::get<int>(*parsed), exit_ok);
    EXPECT_NE(said.find("Examples:"), said.npos) << said;
  }
}

FleetCommand fleet_of(const Parsed& parsed) {
  const auto* command = parsed ? std::get_if<RemoteCommand>(&*parsed) : nullptr;
  const auto* fleet = command ? std::get_if<FleetCommand>(command) : nullptr;
  EXPECT_NE(fleet, nullptr) << (parsed ? "" : parsed.error().message);
  return fleet ? *fleet : FleetCommand{};
}

// clause: C-23
TEST(Arguments, TakeTheCommandsOfAFleet) {
  using Kind = FleetCommand::Kind;
  struct Case {
    Kind kind;
    std::vector<const char*> words;
  };
  const Case cases[] = {{Kind::jobs_list, {"jobs", "list"}},
                        {Kind::jobs_show, {"jobs", "show", "x"}},
                        {Kind::jobs_events, {"jobs", "events", "x", "--after", "0", "--json"}},
                        {Kind::jobs_cancel, {"jobs", "cancel", "x"}},
                        {Kind::workers_list, {"workers", "list", "--json"}},
                        {Kind::workers_drain, {"workers", "drain", "x"}},
                        {Kind::explain, {"explain", "x"}},
                        {Kind::policy_show, {"policy", "show"}},
                        {Kind::policy_validate, {"policy", "validate", "x"}},
                        {Kind::policy_deploy, {"policy", "deploy", "x"}},
                        {Kind::policy_rollback, {"policy", "rollback"}},
                        {Kind::policy_replay, {"policy", "replay", "--script", "x"}},
                        {Kind::policy_test, {"policy", "test", "x"}},
                        {Kind::top, {"top", "--once"}}};
  for (const auto& [kind, words] : cases) {
    SCOPED_TRACE(words.back());
    const auto command = fleet_of(parse(words));
    EXPECT_EQ(command.kind, kind);
    const bool takes = words.back() == std::string("x");
    if (takes) {
      EXPECT_EQ(command.id + command.file, "x");
    }
  }
  const auto listed = fleet_of(parse({"jobs", "list", "--status", "failed", "--model", "m",
                                      "--limit", "7", "--orchestrator-url", "http://h:1"}));
  EXPECT_EQ(listed.status + listed.model, "failedm");
  EXPECT_EQ(listed.limit, 7U);
  EXPECT_EQ(listed.orchestrator_url, "http://h:1");
}

// clause: C-24
TEST(Arguments, SubmitIsATaskOrFollowsOne) {
  const auto command = fleet_of(
      parse({"jobs", "submit", "--model", "m", "--prompt", "Hi", "--max-tokens", "9", "--priority",
             "batch", "--tenant", "t", "--deadline-ms", "5", "--idempotency-key", "k"}));
  EXPECT_EQ(command.kind, FleetCommand::Kind::jobs_submit);
  EXPECT_TRUE(command.task.batch);
  EXPECT_EQ(command.task.tenant + command.task.idempotency_key, "tk");
  EXPECT_EQ(command.task.deadline_ms, 5U);
  const auto followed = infer_of(parse({"jobs", "submit", "--model", "m", "--prompt", "Hi",
                                        "--follow", "--orchestrator-url", "http://h:1"}));
  EXPECT_EQ(followed.model, "m");
  EXPECT_EQ(followed.orchestrator_url, "http://h:1");
  EXPECT_TRUE(followed.worker.empty());
}

// clause: C-23, C-24
TEST(Arguments, RefuseWhatNoOrchestratorWouldTake) {
  const std::string long_key(257, 'k');
  const std::vector<const char*> cases[] = {
      {"jobs"},
      {"jobs", "lst"},
      {"jobs", "show"},
      {"jobs", "show", ""},
      {"jobs", "list", "--limit", "0"},
      {"jobs", "list", "--limit", "1001"},
      {"jobs", "list", "--status", "done"},
      {"jobs", "events", "x", "--after", "-1"},
      {"jobs", "submit", "--prompt", "x"},
      {"jobs", "submit", "--model", "m", "--prompt", ""},
      {"jobs", "submit", "--model", "m", "--prompt", "x", "--priority", "urgent"},
      {"jobs", "submit", "--model", "m", "--prompt", "x", "--deadline-ms", "0"},
      {"jobs", "submit", "--model", "m", "--prompt", "x", "--idempotency-key", "a\nb"},
      {"jobs", "submit", "--model", "m", "--prompt", "x", "--idempotency-key", long_key.c_str()},
      {"workers", "drain"},
      {"policy", "deploy"},
      {"policy", "replay"},
      {"policy", "replay", "--script", "x", "--limit", "0"},
      {"explain"}};
  for (const auto& words : cases) {
    SCOPED_TRACE(words.back());
    testing::internal::CaptureStderr();
    const auto parsed = parse(words);
    testing::internal::GetCapturedStderr();
    if (parsed) {
      ASSERT_TRUE(std::holds_alternative<int>(*parsed));
      EXPECT_EQ(std::get<int>(*parsed), exit_usage);
    } else {
      EXPECT_EQ(exit_code(parsed.error().code), exit_usage);
    }
  }
}

// clause: C-5
TEST(InferRequest, SendsAUserMessageOrTheBarePrompt) {
  InferOptions options{.prompt = "Hi", .system = "Be brief", .max_tokens = 9};
  options.seed = 18446744073709551615U;
  options.stop = {"END"};
  const auto chat = parse_json_object(worker_job_body(options, "j1"));
  ASSERT_TRUE(chat);
  EXPECT_EQ(chat->at("job_id"), "j1");
  EXPECT_FALSE(chat->contains("prompt"));
  EXPECT_EQ(chat->at("messages").at(0).at("role"), "system");
  EXPECT_EQ(chat->at("messages").at(1).at("role"), "user");
  EXPECT_EQ(chat->at("messages").at(1).at("content"), "Hi");
  EXPECT_EQ(chat->at("seed").as_uint64(), 18446744073709551615U);
  EXPECT_EQ(chat->at("stop").at(0), "END");

  options.raw = true;
  options.system.clear();
  const auto raw = parse_json_object(worker_job_body(options, "j1"));
  ASSERT_TRUE(raw);
  EXPECT_EQ(raw->at("prompt"), "Hi");
  EXPECT_FALSE(raw->contains("messages"));
  EXPECT_TRUE(decode_execute(worker_job_body(options, "j1")));
}

// contract: §5 POST /v2/tasks takes the fields of /execute but job_id, and model
TEST(InferRequest, ATaskNamesAModelAndNoJob) {
  const auto task = parse_json_object(task_body({.model = "qwen", .prompt = "Hi"}));
  ASSERT_TRUE(task);
  EXPECT_EQ(task->at("model"), "qwen");
  EXPECT_FALSE(task->contains("job_id"));
  EXPECT_EQ(task->at("messages").at(0).at("content"), "Hi");
}

TEST(InferRequest, TakesTheOnlyModelAndAsksWhichOfSeveral) {
  struct Case {
    const char* name;
    std::string_view body;
    std::optional<std::string> want;
    Code code = Code::internal;
  };
  const Case cases[] = {
      {"one", R"({"data":[{"id":"a"}]})", "a"},
      {"none", R"({"data":[]})", std::nullopt, Code::no_worker},
      {"two", R"({"data":[{"id":"a"},{"id":"b"}]})", std::nullopt, Code::invalid_request},
      {"no list", R"({"data":{}})", std::nullopt, Code::internal},
      {"no JSON", "<html>", std::nullopt, Code::internal}};
  for (const auto& [name, body, want, code] : cases) {
    SCOPED_TRACE(name);
    const auto got = only_model(body);
    ASSERT_EQ(got.has_value(), want.has_value());
    if (want) {
      EXPECT_EQ(*got, *want);
    } else {
      EXPECT_EQ(got.error().code, code);
    }
  }
}

TEST(InferTarget, IsAWorkersHostAndPortOrAUrl) {
  struct Case {
    const char* name;
    std::string_view worker;
    std::optional<std::string> want;  // as a URL
  };
  const Case cases[] = {{"host and port", "localhost:8080", "http://localhost:8080"},
                        {"IPv6", "[::1]:8080", "http://[::1]:8080"},
                        {"URL", "https://gpu-1:8443", "https://gpu-1:8443"},
                        {"URL with a slash", "http://gpu-1:81/", "http://gpu-1:81"},
                        {"no port", "localhost", std::nullopt},
                        {"IPv6 without port", "[::1]", std::nullopt},
                        {"port past the end", "h:65536", std::nullopt},
                        {"path", "http://h:1/v1", std::nullopt}};
  for (const auto& [name, worker, want] : cases) {
    SCOPED_TRACE(name);
    const auto target = infer_target({.worker = std::string(worker)});
    ASSERT_EQ(target.has_value(), want.has_value());
    if (want) {
      EXPECT_EQ(target->base.scheme + "://" + net::authority_of(target->base), *want);
    } else {
      EXPECT_EQ(target.error().code, Code::invalid_request);
    }
  }
}

TEST(InferTarget, RefusesATokenThatWouldBreakTheHead) {
  const auto target = infer_target({.worker = "h:1", .worker_token = "a\r\nX-Evil: 1"});
  ASSERT_FALSE(target);
  EXPECT_EQ(target.error().message.find("Evil"), std::string::npos) << "the token is shown";
}

// clause: C-10
TEST(Completion, NamesEveryCommandAndItsFlags) {
  for (const char* shell : {"bash", "zsh", "fish"}) {
    SCOPED_TRACE(shell);
    const auto parsed = parse({"completion", shell});
    ASSERT_TRUE(parsed);
    const auto& script = std::get<PrintText>(std::get<RemoteCommand>(*parsed)).text;
    for (const char* word :
         {"infer", "completion", "max-tokens", "orchestrator-url", "fish", "jobs", "submit",
          "events", "idempotency-key", "drain", "explain", "rollback", "top", "once"}) {
      EXPECT_NE(script.find(word), script.npos) << word;
    }
  }
}

}  // namespace
}  // namespace llorch
