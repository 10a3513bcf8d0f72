#include "remote/fleet_text.h"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

#include "console/table.h"
#include "console/terminal.h"
#include "remote/reply_fields.h"

namespace llorch {
namespace {

namespace json = boost::json;

std::string age_of(const json::object& job, WallTime now) {
  const auto accepted = parse_rfc3339(text_field(job, "accepted_at"));
  if (!accepted) return {};
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(now - *accepted).count();
  constexpr std::int64_t day = 24 * 60 * 60;
  if (seconds >= day) return fmt::format("{}d", seconds / day);
  return human_duration(std::max<std::int64_t>(0, seconds));  // clocks differ
}

// "Model:       qwen", a line each; what is not known has none.
class Facts {
 public:
  void add(std::string_view label, std::string_view value) {
    if (!value.empty()) text_ += fmt::format("{:<13}{}\n", label, one_line(value));
  }
  std::string take() { return std::move(text_); }

 private:
  std::string text_;
};

std::string prompt_of(const json::object& job) {
  const auto tokens = integer_field(job, "prompt_tokens");
  if (tokens == 0) return {};
  return fmt::format("{} tokens, {} of them cached", tokens, integer_field(job, "cached_tokens"));
}

std::string queue_of(const json::object& job) {
  if (!job.contains("queue_position")) return {};
  return fmt::format("position {}, starts in about {} ms", integer_field(job, "queue_position"),
                     integer_field(job, "predicted_start_ms"));
}

std::string error_of(const json::object& job) {
  const auto& error = object_field(job, "error");
  if (error.empty()) return {};
  return text_field(error, "code") + ": " + text_field(error, "message");
}

std::string ms_text(const json::object& row, std::string_view name) {
  const auto ms = number_field(row, name);
  if (!ms) return {};
  return *ms < 100 ? fmt::format("{:.1f}", *ms) : fmt::format("{:.0f}", *ms);
}

std::string candidates_table(const json::object& decision) {
  Table table({{""},
               {"WORKER"},
               {"BACKEND", false, true},
               {"FREE", true},
               {"CACHED", true},
               {"WAIT", true},
               {"PREFILL", true},
               {"DECODE", true},
               {"COST", true}});
  const auto chosen = text_field(decision, "worker_id");
  for (const auto& entry : list_field(decision, "candidates")) {
    const auto& row = as_object(entry);
    const auto id = text_field(row, "worker_id");
    table.add({!id.empty() && id == chosen ? "*" : " ", id, text_field(row, "backend"),
               std::to_string(integer_field(row, "slots_free")),
               std::to_string(integer_field(row, "cached_tokens")), ms_text(row, "wait_ms"),
               ms_text(row, "prefill_ms"), ms_text(row, "decode_ms"), ms_text(row, "cost_ms")});
  }
  return table.render();
}

// A try that failed, and whether there was another.
std::string failed_text(const json::object& decision, const json::object& error) {
  return "\n" +
         one_line(fmt::format("Try {} failed at {} after {} ms: {} ({}): {}",
                              integer_field(decision, "tries"), text_field(decision, "worker_id"),
                              integer_field(decision, "waited_ms"), text_field(error, "message"),
                              text_field(error, "code"),
                              flag_field(decision, "retry") ? "tried again" : "given up")) +
         "\n";
}

std::string decision_text(const json::object& decision) {
  if (const auto& error = object_field(decision, "error"); !error.empty()) {
    return failed_text(decision, error);
  }
  const auto worker = text_field(decision, "worker_id");
  auto line =
      fmt::format("Attempt {}, after {} ms: {}", integer_field(decision, "attempt"),
                  integer_field(decision, "waited_ms"), worker.empty() ? "no worker" : worker);
  if (const auto by = text_field(decision, "decided_by"); !by.empty()) {
    line += ", decided by " + by;
  }
  if (const auto reason = text_field(decision, "reason"); !reason.empty()) line += ": " + reason;
  std::string external;
  for (const auto& entry : list_field(decision, "candidates")) {
    const auto& row = as_object(entry);
    if (number_field(row, "external_ms").value_or(0) <= 0) continue;
    external += one_line(text_field(row, "worker_id") + " is an external server: " +
                         ms_text(row, "external_ms") + " ms are added to its cost") +
                "\n";
  }
  return "\n" + one_line(line) + "\n" +
         (list_field(decision, "candidates").empty() ? "No candidates\n"
                                                     : candidates_table(decision)) +
         external;
}

std::string times_line(const json::object& times) {
  constexpr std::pair<std::string_view, std::string_view> spans[] = {
      {"waited", "waited"},
      {"to_first_token", "to the first token"},
      {"decode", "decode"},
      {"client_stalled", "client stalled"}};
  std::string line = "\nTime in ms:";
  for (const auto& [name, words] : spans) {
    if (!times.contains(name)) continue;
    line += fmt::format("{} {} {}", line.back() == ':' ? "" : ",", words, ms_text(times, name));
  }
  return line + "\n";
}

}  // namespace

std::string jobs_table(const json::object& reply, WallTime now) {
  const auto& jobs = list_field(reply, "jobs");
  if (jobs.empty()) return "No jobs\n";
  Table table(
      {{"JOB"}, {"STATUS", false, true}, {"MODEL", false, true}, {"TOKENS", true}, {"AGE", true}});
  for (const auto& entry : jobs) {
    const auto& job = as_object(entry);
    table.add({text_field(job, "job_id"), text_field(job, "status"), text_field(job, "model"),
               std::to_string(integer_field(job, "tokens_out")), age_of(job, now)});
  }
  return table.render();
}

std::string job_text(const json::object& job) {
  Facts facts;
  const auto stop = text_field(job, "stop_reason");
  facts.add("Job:", text_field(job, "job_id"));
  facts.add("Status:", text_field(job, "status") + (stop.empty() ? "" : " (" + stop + ")"));
  facts.add("Kind:", text_field(job, "kind"));
  facts.add("Model:", text_field(job, "model"));
  facts.add("Worker:", text_field(job, "worker_id"));
  facts.add("Priority:", text_field(job, "priority"));
  facts.add("Tenant:", text_field(job, "tenant"));
  facts.add("Queue:", queue_of(job));
  if (const auto attempt = integer_field(job, "attempt"); attempt > 0) {
    facts.add("Attempt:", std::to_string(attempt));
  }
  facts.add("Prompt:", prompt_of(job));
  facts.add("Tokens:", std::to_string(integer_field(job, "tokens_out")));
  facts.add("Accepted:", text_field(job, "accepted_at"));
  facts.add("Dispatched:", text_field(job, "dispatched_at"));
  facts.add("First token:", text_field(job, "first_token_at"));
  facts.add("Ended:", text_field(job, "ended_at"));
  facts.add("Error:", error_of(job));
  return facts.take();
}

std::string workers_table(const json::object& reply) {
  const auto& workers = list_field(reply, "workers");
  if (workers.empty()) return "No workers\n";
  Table table({{"WORKER"},
               {"STATUS", false, true},
               {"MODEL", false, true},
               {"BACKEND", false, true},
               {"ADDRESS", false, true},
               {"SLOTS", true},
               {"QUEUE", true}});
  for (const auto& entry : workers) {
    const auto& worker = as_object(entry);
    const bool draining = flag_field(worker, "draining");
    table.add({text_field(worker, "worker_id"),
               draining ? "draining" : text_field(worker, "status"), text_field(worker, "model"),
               text_field(worker, "backend"),
               fmt::format("{}:{}", text_field(worker, "host"), integer_field(worker, "port")),
               fmt::format("{}/{}", integer_field(worker, "slots_busy"),
                           integer_field(worker, "slots_total")),
               std::to_string(integer_field(worker, "queue_depth"))});
  }
  return table.render();
}

std::string hooks_text(const json::object& reply) {
  const auto& hooks = object_field(reply, "hooks");
  std::string names;
  for (const char* name : {"schedule_job", "should_admit", "should_retry"}) {
    if (flag_field(hooks, name)) names += (names.empty() ? "" : ", ") + std::string(name);
  }
  return names.empty() ? "none" : names;
}

std::string usage_table(const json::object& reply) {
  Table table({{"TENANT", false, true},
               {"MODEL", false, true},
               {"JOBS", true},
               {"FAILED", true},
               {"PROMPT", true},
               {"CACHED", true},
               {"OUT", true}});
  const auto add = [&](std::string_view tenant, std::string_view model, const json::object& row) {
    std::vector<std::string> cells = {one_line(tenant), one_line(model)};
    for (const char* name : {"jobs", "failed", "prompt_tokens", "cached_tokens", "tokens_out"}) {
      cells.push_back(std::to_string(integer_field(row, name)));
    }
    table.add(std::move(cells));
  };
  const auto& rows = list_field(reply, "usage");
  for (const auto& row : rows) {
    const auto& usage = as_object(row);
    add(text_field(usage, "tenant"), text_field(usage, "model"), usage);
  }
  if (rows.size() > 1) add("total", "", object_field(reply, "total"));
  return "Tokens since " + one_line(text_field(reply, "since")) + "\n" +
         (rows.empty() ? "none\n" : table.render());
}

std::string policy_text(const json::object& policy) {
  const bool loaded = flag_field(policy, "loaded");
  Facts facts;
  facts.add("File:", text_field(policy, "path"));
  facts.add("Script:", loaded ? "loaded" : "none: the built-in policy decides");
  if (loaded) facts.add("Hooks:", hooks_text(policy));
  facts.add("Built-in:", text_field(policy, "placement"));
  if (flag_field(policy, "resting")) facts.add("Resting:", "yes, after too many limit hits");
  facts.add("Previous:", flag_field(policy, "has_previous") ? "llorch policy rollback" : "");
  facts.add("Load error:", text_field(policy, "load_error"));
  facts.add("Last fault:", text_field(policy, "last_fault"));
  auto text = facts.take();
  if (auto source = text_field(policy, "source"); loaded && !source.empty()) {
    if (!source.ends_with('\n')) source += '\n';
    text += "\n" + source;
  }
  return text;
}

std::string replay_text(const json::object& reply, const std::string& script) {
  constexpr std::size_t shown_max = 10;
  auto text = one_line(fmt::format("{}: {} decisions since {}", script,
                                   integer_field(reply, "decisions"), text_field(reply, "since"))) +
              "\n";
  text += fmt::format("the same {}, another worker {}, decided otherwise {}\n",
                      integer_field(reply, "same"), integer_field(reply, "other_worker"),
                      integer_field(reply, "other_kind"));
  const auto replayed = integer_field(reply, "decisions") + integer_field(reply, "unreadable");
  if (const auto recorded = integer_field(reply, "recorded"); recorded > replayed) {
    text += fmt::format("{} were recorded in that time; {}\n", recorded,
                        flag_field(reply, "complete") ? "--limit N replays more" : "time ran out");
  }
  if (const auto errors = integer_field(reply, "script_errors"); errors > 0) {
    text += fmt::format("The script failed {} times: the built-in policy decided\n", errors);
  }
  if (const auto& workers = list_field(reply, "workers"); !workers.empty()) {
    Table table({{"WORKER"}, {"BEFORE", true}, {"AFTER", true}, {"CHANGE", true}});
    for (const auto& entry : workers) {
      const auto& worker = as_object(entry);
      const auto before = integer_field(worker, "before");
      const auto after = integer_field(worker, "after");
      table.add({text_field(worker, "worker_id"), std::to_string(before), std::to_string(after),
                 fmt::format("{:+}", after - before)});
    }
    text += "\n" + table.render();
  }
  const auto& examples = list_field(reply, "examples");
  if (!examples.empty()) text += "\n";
  for (std::size_t at = 0; at < std::min(examples.size(), shown_max); ++at) {
    const auto& example = as_object(examples[at]);
    text += one_line(fmt::format("{}: {} -> {} ({})", text_field(example, "job_id"),
                                 text_field(example, "before"), text_field(example, "after"),
                                 text_field(example, "decided_by"))) +
            "\n";
  }
  if (examples.size() > shown_max) text += "More of them: --json\n";
  return text;
}

std::string explain_text(const json::object& reply) {
  const auto& job = object_field(reply, "job");
  std::string text =
      one_line("Job " + text_field(job, "job_id") + ": " + text_field(job, "status")) + "\n";
  if (const auto error = error_of(job); !error.empty()) text += one_line("Error: " + error) + "\n";
  const auto& decisions = list_field(reply, "decisions");
  if (decisions.empty()) text += "No decision is kept for it\n";
  for (const auto& entry : decisions) text += decision_text(as_object(entry));
  if (!decisions.empty()) text += "(costs in ms, * = chosen)\n";
  const auto& times = object_field(reply, "times_ms");
  text += times_line(times);
  text += fmt::format("Prompt: {} tokens from the cache, {} computed\n",
                      integer_field(times, "prefill_tokens_cached"),
                      integer_field(times, "prefill_tokens_computed"));
  return text;
}

}  // namespace llorch
