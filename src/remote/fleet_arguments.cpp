#include "remote/fleet_arguments.h"

#include <functional>

#include "net/http_types.h"
#include "remote/key_arguments.h"
#include "remote/prompt_flags.h"

namespace llorch {

using Kind = FleetCommand::Kind;

CLI::App* leaf(CLI::App& group, FleetFlags& flags, Kind kind, const std::string& name,
               const std::string& description, const std::string& examples) {
  auto* const command = group.add_subcommand(name, description);
  command->add_option("--orchestrator-url", flags.orchestrator_url,
                      "orchestratord to ask (default " + flags.command.orchestrator_url + ")");
  command->callback([&flags, kind] {
    flags.command.kind = kind;
    flags.given = true;
  });
  command->footer("Examples:\n" + examples);
  return command;
}

namespace {

void json_flag(CLI::App* command, FleetFlags& flags, const char* what = "Print one JSON document") {
  command->add_flag("--json", flags.command.json, what);
}

void id_of(CLI::App* command, FleetFlags& flags, const char* what) {
  command->add_option("id", flags.command.id, what)->required();
}

void declare_submit(CLI::App& jobs, FleetFlags& flags) {
  auto* const submit =
      leaf(jobs, flags, Kind::jobs_submit, "submit", "Queue a job and print its id",
           "  llorch jobs submit --model qwen --prompt \"Tell me a joke\"\n"
           "  llorch jobs submit --model qwen --priority batch --prompt - < report.txt\n"
           "  llorch jobs submit --model qwen --prompt \"Hello\" --follow\n");
  auto& task = flags.command.task;
  submit->add_option("--model", task.model, "the model to ask")->required();
  declare_prompt_flags(*submit, task);
  submit->add_option("--priority", flags.priority, "interactive or batch (default interactive)")
      ->check(CLI::IsMember({"interactive", "batch"}));
  submit->add_option("--tenant", task.tenant, "on whose behalf");
  submit->add_option("--deadline-ms", task.deadline_ms, "end it this long after its acceptance")
      ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{limits::job_timeout_ms_max}));
  submit->add_option("--idempotency-key", task.idempotency_key,
                     "the same key again gives the job it began");
  submit->add_flag("--follow", flags.follow,
                   "print the answer as it comes; Ctrl-C cancels the job");
}

void declare_jobs(CLI::App& app, FleetFlags& flags) {
  auto* const jobs = app.add_subcommand("jobs", "Jobs of orchestratord");
  jobs->require_subcommand(1);
  jobs->footer(
      "Examples:\n  llorch jobs submit --model qwen --prompt \"Hello\"\n  llorch jobs list\n"
      "  llorch jobs events ID\n");
  declare_submit(*jobs, flags);
  auto* const list = leaf(*jobs, flags, Kind::jobs_list, "list", "List the newest jobs",
                          "  llorch jobs list --status running\n"
                          "  llorch jobs list --limit 1000 --json | jq -r '.jobs[].job_id'\n");
  list->add_option("--status", flags.command.status, "only jobs of this status")
      ->check(
          CLI::IsMember({"queued", "dispatched", "running", "completed", "failed", "cancelled"}));
  list->add_option("--model", flags.command.model, "only jobs of this model");
  list->add_option("--limit", flags.command.limit, "at most so many (default 20)")
      ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{limits::jobs_listed_max}));
  json_flag(list, flags);
  auto* const show = leaf(*jobs, flags, Kind::jobs_show, "show", "Show one job",
                          "  llorch jobs show 5f0c2a0e-7d1b-4b7e-9f57-0d6c8a1e2b3c\n");
  id_of(show, flags, "Its id");
  json_flag(show, flags);
  auto* const events =
      leaf(*jobs, flags, Kind::jobs_events, "events", "Print a job's answer, live or ended",
           "  llorch jobs events ID\n  llorch jobs events ID --after 120 --json\n");
  id_of(events, flags, "Its id");
  events->add_option("--after", flags.command.after, "only events past this number")
      ->check(CLI::NonNegativeNumber);
  json_flag(events, flags, "Print one event a line: {\"id\",\"event\",\"data\"}");
  id_of(leaf(*jobs, flags, Kind::jobs_cancel, "cancel", "Cancel a job",
             "  llorch jobs cancel 5f0c2a0e-7d1b-4b7e-9f57-0d6c8a1e2b3c\n"),
        flags, "Its id");
}

void declare_workers(CLI::App& app, FleetFlags& flags) {
  auto* const workers = app.add_subcommand("workers", "Workers of orchestratord");
  workers->require_subcommand(1);
  workers->footer("Examples:\n  llorch workers list\n  llorch workers drain worker-cpu-a1b2c3\n");
  json_flag(leaf(*workers, flags, Kind::workers_list, "list", "List the workers",
                 "  llorch workers list\n  llorch workers list --json | jq '.workers[].model'\n"),
            flags);
  id_of(leaf(*workers, flags, Kind::workers_drain, "drain", "Give a worker no new job",
             "  llorch workers drain worker-cpu-a1b2c3\n"),
        flags, "Its id");
}

void declare_policy(CLI::App& app, FleetFlags& flags) {
  auto* const policy = app.add_subcommand("policy", "The script that chooses workers");
  policy->require_subcommand(1);
  policy->footer(
      "Examples:\n  llorch policy show\n  llorch policy test prefer-gpu.rhai\n"
      "  llorch policy deploy prefer-gpu.rhai\n");
  struct Row {
    const char* name;
    const char* description;
    Kind kind;
    bool takes_file;
  };
  constexpr Row rows[] = {
      {"show", "Show the script in use", Kind::policy_show, false},
      {"validate", "Ask whether a script would be taken", Kind::policy_validate, true},
      {"deploy", "Put a script to use; the previous one is kept", Kind::policy_deploy, true},
      {"rollback", "Go back to the previous script", Kind::policy_rollback, false},
      {"test", "Try a script on the cases of tests/NAME/*.json beside it", Kind::policy_test,
       true}};
  for (const auto& row : rows) {
    const std::string example = std::string("  llorch policy ") + row.name;
    auto* const command = leaf(*policy, flags, row.kind, row.name, row.description,
                               example + (row.takes_file ? " prefer-gpu.rhai\n" : " --json\n"));
    if (row.takes_file) command->add_option("file", flags.command.file, "The script")->required();
    json_flag(command, flags);
  }
  auto* const replay =
      leaf(*policy, flags, Kind::policy_replay, "replay",
           "Ask a script again what was decided: it changes nothing",
           "  llorch policy replay --script prefer-gpu.rhai --since 24h\n"
           "  llorch policy replay --script prefer-gpu.rhai --json | jq .workers\n");
  replay->add_option("--script", flags.command.file, "the script")->required();
  replay->add_option("--since", flags.command.since,
                     "24h, 7d or 2026-01-05T09:30:00Z (default 24h)");
  replay
      ->add_option("--limit", flags.command.replay_most,
                   "at most so many of the newest decisions (default 10000)")
      ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{limits::replay_decisions_max}));
  json_flag(replay, flags);
}

// The command that lists what this one wants an id of.
const char* listing(Kind kind) {
  if (kind == Kind::workers_drain) return "llorch workers list";
  if (kind == Kind::keys_revoke || kind == Kind::keys_rotate) return "llorch keys list";
  return "llorch jobs list";
}

}  // namespace

void declare_fleet(CLI::App& app, FleetFlags& flags) {
  declare_jobs(app, flags);
  declare_workers(app, flags);
  declare_keys(app, flags);
  auto* const explain = leaf(app, flags, Kind::explain, "explain",
                             "Why a job ran where it ran, and where its time went",
                             "  llorch explain 5f0c2a0e-7d1b-4b7e-9f57-0d6c8a1e2b3c\n");
  id_of(explain, flags, "The job's id");
  json_flag(explain, flags);
  declare_policy(app, flags);
  auto* const top = leaf(app, flags, Kind::top, "top", "Workers, queue and running jobs, live",
                         "  llorch top\n  llorch top --once\n");
  top->add_flag("--once", flags.command.once, "print it once; so without a terminal");
  json_flag(top, flags, "Print one JSON document, once");
  auto* const usage = leaf(app, flags, Kind::usage, "usage", "Tokens by tenant and model",
                           "  llorch usage --since 7d\n"
                           "  llorch usage --json | jq '.total.tokens_out'\n");
  usage->add_option("--since", flags.command.since, "so far back: 90m, 24h, 7d (default 24h)");
  json_flag(usage, flags);
}

Result<void> finish_fleet(FleetFlags& flags) {
  auto& command = flags.command;
  const bool wants_id = command.kind == Kind::jobs_show || command.kind == Kind::jobs_events ||
                        command.kind == Kind::jobs_cancel || command.kind == Kind::explain ||
                        command.kind == Kind::workers_drain || command.kind == Kind::keys_revoke ||
                        command.kind == Kind::keys_rotate;
  if (wants_id && command.id.empty()) {
    return fail(Code::invalid_request, "id: is empty", listing(command.kind));
  }
  if (const auto ok = finish_keys(flags); !ok) return ok;
  if (command.kind != Kind::jobs_submit) return {};
  constexpr const char* help = "llorch jobs submit --help";
  auto& task = command.task;
  task.batch = flags.priority == "batch";
  command.json = task.json;
  if (task.idempotency_key.size() > limits::idempotency_key_bytes_max ||
      !net::is_header_value(task.idempotency_key)) {
    return fail(Code::invalid_request, "--idempotency-key: want 1 to 256 bytes on one line", help);
  }
  return finish_prompt(task, help);
}

}  // namespace llorch
