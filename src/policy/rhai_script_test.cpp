// What a script can ask of jobs and workers, one by one.
#include "policy/rhai_script.h"

#include <gtest/gtest.h>

#include "policy/testing.h"

namespace llorch {
namespace {

// What `expression` over job and workers gives, as text: the script refuses with it as the reason.
std::string value_of(const std::string& expression, const std::string& before = "") {
  FakeClock clock;
  const auto policy =
      loaded(before + schedules("let value = " + expression + "; reject(\"\" + value)"), clock);
  if (!policy) return "";
  const auto job = test_job();
  const auto fleet = test_fleet();
  const auto placement = policy->schedule_job(view_of(job), views_of(fleet));
  if (const auto& fault = policy->last_fault()) return "failed: " + fault->fault.message;
  return placement.reason;
}

struct Expression {
  const char* text;
  const char* want;
};

void expect_values(std::span<const Expression> cases) {
  for (const auto& [text, want] : cases) {
    SCOPED_TRACE(text);
    EXPECT_EQ(value_of(text), want);
  }
}

TEST(ScriptJob, HasEveryField) {
  const Expression cases[] = {
      {"job.id", "job-7"},      {"job.model", "qwen"},      {"job.priority", "batch"},
      {"job.tenant", "acme"},   {"job.session_id", "s-1"},  {"job.prompt_tokens_estimate", "120"},
      {"job.max_tokens", "64"}, {"job.temperature", "0.5"}, {"job.age_ms", "1500"},
      {"job.attempt", "2"},     {"type_of(job)", "Job"},    {"job.to_string()", "job job-7"},
  };
  expect_values(cases);
}

TEST(ScriptWorker, HasEveryFieldAndMethod) {
  const Expression cases[] = {
      {"workers[1].id", "b"},
      {"workers[1].host", "host-2"},
      {"workers[1].model", "qwen"},
      {"workers[1].backend", "cuda"},
      {"workers[1].status", "healthy"},
      {"workers[1].slots_total", "4"},
      {"workers[1].slots_free", "1"},
      {"workers[0].queue_depth", "3"},
      {"workers[1].cached_tokens(job)", "40"},
      {"workers[1].cost_ms(job)", "100.0"},
      {"workers[1].prefill_tokens_per_second", "500.0"},
      {"workers[1].decode_tokens_per_second", "20.0"},
      {"workers[1].memory_free_bytes", "1000000"},
      {"workers[1] == workers[1]", "true"},
      {"workers[1] != workers[1]", "false"},
      {"workers[1] == workers[2]", "false"},
      {"workers[1].to_string()", "worker b"},
      {"type_of(workers[1])", "Worker"},
  };
  expect_values(cases);
}

TEST(ScriptWorkerList, ChoosesOne) {
  const Expression cases[] = {
      {"workers.least_loaded().id", "c"},
      {"workers.best(job).id", "b"},
      {"workers.most_memory_free().id", "a"},
      {"workers.round_robin().id", "a"},
      {"workers.first().id", "a"},
      {"workers.min_by(|w| w.queue_depth - w.slots_free).id", "c"},
      {"workers.max_by(|w| w.queue_depth).id", "a"},
      {"workers.min_by(|w| w.cost_ms(job)).id", "b"},
      {"workers.max_by(|w| if w.host == \"host-3\" { 2.5 } else { 1 }).id", "c"},
      {"workers[-1].id", "c"},
  };
  expect_values(cases);
}

TEST(ScriptWorkerList, NarrowsDown) {
  const Expression cases[] = {
      {"workers", "workers [a, b, c]"},
      {"workers.filter(|w| w.slots_free > 0)", "workers [b, c]"},
      {"workers.filter(|w| w.model == job.model)", "workers [a, b]"},
      {"{ let n = workers.len(); workers.filter(|w| w.queue_depth < n) }", "workers [b, c]"},
      {"workers.idle()", "workers [b, c]"},
      {"workers.with_model(\"phi3\")", "workers [c]"},
      {"workers.with_model(job.model).idle()", "workers [b]"},
      {"workers.on_backend(\"CUDA\")", "workers [b]"},
      {"workers.on_backend(\"metal\")", "workers []"},
  };
  expect_values(cases);
}

TEST(ScriptWorkerList, WorksLikeAnArray) {
  const Expression cases[] = {
      {"workers.len()", "3"},
      {"workers.len", "3"},
      {"workers.is_empty()", "false"},
      {"workers.filter(|w| false).is_empty()", "true"},
      {"workers.some(|w| w.backend == \"cuda\")", "true"},
      {"workers.all(|w| w.backend == \"cuda\")", "false"},
      {"workers.map(|w| w.slots_free).len()", "3"},
      {"workers.map(|w| w.slots_free)[2]", "4"},
      {"workers[0] in workers", "true"},
      {"workers[0] in workers.idle()", "false"},
      {"{ let ids = \"\"; for w in workers { ids += w.id; } ids }", "abc"},
      {"{ let n = 0; for (w, i) in workers { n += i; } n }", "3"},
  };
  expect_values(cases);
}

TEST(ScriptWorkerList, GivesNothingWhenItIsEmpty) {
  for (const auto* const method : {"least_loaded()", "best(job)", "most_memory_free()", "first()",
                                   "round_robin()", "min_by(|w| 1)", "max_by(|w| 1)"}) {
    SCOPED_TRACE(method);
    EXPECT_EQ(value_of("workers.filter(|w| false)." + std::string(method) + " == ()"), "true");
  }
}

TEST(ScriptWorkerList, SaysWhatAClosureDidWrong) {
  EXPECT_EQ(value_of("workers.filter(|w| w.id)"),
            "failed: filter() wants true or false, got string");
  EXPECT_EQ(value_of("workers.min_by(|w| w.id)"), "failed: min_by() wants a number, got string");
  EXPECT_EQ(value_of("workers[3]"), "failed: there is no worker 3: the list has 3");
}

TEST(ScriptConstants, AreSeenByFunctionsAndClosures) {
  const std::string before =
      "const LIMIT = 1; let hosts = [\"host-2\"]; let caps = #{qwen: 5}; "
      "fn limit() { LIMIT + 1 } ";
  EXPECT_EQ(value_of("limit()", before), "2");
  EXPECT_EQ(value_of("workers.filter(|w| w.slots_free > LIMIT)", before), "workers [c]");
  EXPECT_EQ(value_of("workers.filter(|w| w.host in hosts)", before), "workers [b]");
  EXPECT_EQ(value_of("{ let LIMIT = 7; LIMIT }", before), "7");
  EXPECT_EQ(value_of("caps[job.model]", before), "5");
  EXPECT_EQ(value_of("job.tenant in caps", before), "false");
}

TEST(ScriptConstants, CannotBeChanged) {
  const std::string before = "let hosts = [1]; fn hooked() { hosts.push(2); hosts.len() } ";
  EXPECT_TRUE(value_of("hooked()", before).starts_with("failed: ")) << value_of("hooked()", before);
  EXPECT_EQ(value_of("{ let mine = hosts; mine.push(2); mine.len() + hosts.len() }", before), "3");
}

// Ours stand before Rhai's own, which would make gigabytes of a few kilobytes.
TEST(ScriptStrings, SplitAndReplaceAsRhaiDoes) {
  const Expression cases[] = {
      {"\"a/b/c\".split(\"/\")", "[\"a\", \"b\", \"c\"]"},
      {"\"a/b/c\".split('/', 2)", "[\"a\", \"b/c\"]"},
      {"\"a/b/c\".split(\"/\", 0)", "[\"a/b/c\"]"},
      {"\"a/b/c\".split_rev(\"/\")", "[\"c\", \"b\", \"a\"]"},
      {"\"a/b/c\".split_rev(\"/\", 2)", "[\"c\", \"a/b\"]"},
      {"\" a  b \".split()", "[\"a\", \"b\"]"},
      {"\"abc\".split(1)", "[\"a\", \"bc\"]"},
      {"\"\".split(\"/\")", "[\"\"]"},
      {"\"ab\".to_chars()", "[a, b]"},
      {"{ let s = \"a/b/c\"; s.replace(\"/\", \"--\"); s }", "a--b--c"},
      {"{ let s = \"a/b/c\"; s.replace('/', '-'); s }", "a-b-c"},
      {"{ let s = \"ab\"; s.replace(\"\", \"-\"); s }", "-a-b-"},
  };
  expect_values(cases);
}

TEST(ScriptHost, TellsTheTimeItIsGiven) {
  EXPECT_EQ(value_of("now_ms()"), std::to_string(1'000'000));
}

TEST(RhaiScript, NamesTheHooksItHas) {
  const auto outcome = RhaiScript::compile("fn should_admit(job, queue_depth) { true }", {}, 0);
  ASSERT_TRUE(outcome.value.has_value());
  EXPECT_FALSE(outcome.value->hooks().schedule_job);
  EXPECT_TRUE(outcome.value->hooks().should_admit);
  EXPECT_FALSE(outcome.value->hooks().should_retry);
}

TEST(RhaiScript, CollectsWhatTheScriptLogs) {
  auto outcome = RhaiScript::compile(
      "log_info(\"loaded\");" +
          schedules("log_info(1); log_warn(workers[0]); log_error(\"x\"); print(2); debug(3);"),
      {}, 0);
  ASSERT_TRUE(outcome.value.has_value());
  ASSERT_EQ(outcome.log.size(), 1U);
  EXPECT_EQ(outcome.log[0].text, "loaded");
  const auto fleet = test_fleet();
  const auto answer = outcome.value->schedule_job({}, views_of(fleet), {}, 0);
  ASSERT_TRUE(answer.value.has_value());
  std::string told;
  for (const auto& line : answer.log) told += std::to_string(line.level) + line.text + " ";
  EXPECT_EQ(told, "11 2a 3x 12 13 ");
}

TEST(RhaiScript, CutsWhatIsLogged) {
  auto outcome = RhaiScript::compile(schedules("let s = \"\xC3\xA4\"; while s.len() < 2000 { s += "
                                               "s; } for i in 0..100 { log_info(s); }"),
                                     {.time_ms = 50}, 0);
  ASSERT_TRUE(outcome.value.has_value());
  const auto answer = outcome.value->schedule_job({}, {}, {}, 0);
  ASSERT_TRUE(answer.value.has_value()) << answer.value.error().message;
  ASSERT_EQ(answer.log.size(), limits::policy_log_lines_max);
  EXPECT_EQ(answer.log[0].text.size(), limits::policy_log_line_bytes_max);
}

}  // namespace
}  // namespace llorch
