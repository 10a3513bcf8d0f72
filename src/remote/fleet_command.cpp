#include "remote/fleet_command.h"

#include <boost/json.hpp>
#include <chrono>
#include <csignal>
#include <fmt/format.h>
#include <functional>
#include <memory>
#include <optional>
#include <sys/ioctl.h>
#include <unistd.h>
#include <utility>

#include "base/random.h"
#include "console/json_output.h"
#include "console/report.h"
#include "console/terminal.h"
#include "console/waiting_line.h"
#include "net/event.h"
#include "net/run.h"
#include "net/task_group.h"
#include "remote/event_text.h"
#include "remote/fleet_client.h"
#include "remote/fleet_text.h"
#include "remote/infer_request.h"
#include "remote/infer_session.h"
#include "remote/key_text.h"
#include "remote/policy_trial.h"
#include "remote/reply_fields.h"
#include "remote/top_screen.h"
#include "sys/file_system.h"

namespace llorch {
namespace {

namespace json = boost::json;
using std::chrono::milliseconds;
using Kind = FleetCommand::Kind;
using Render = std::function<std::string(const json::object&)>;

constexpr const char* no_orchestrator =
    "start it: orchestratord (or say where it is: --orchestrator-url URL)";

bool is_about_keys(Kind kind) {
  return kind == Kind::keys_add || kind == Kind::keys_list || kind == Kind::keys_revoke ||
         kind == Kind::keys_rotate;
}

std::string next_step(const Error& error, const FleetCommand& command) {
  switch (error.code) {
    case Code::unreachable:
      return no_orchestrator;
    case Code::job_not_found:
      return "llorch jobs list";
    case Code::not_found:
      if (error.message.starts_with("no such route")) return no_orchestrator;
      if (command.kind == Kind::workers_drain) return "llorch workers list";
      if (is_about_keys(command.kind)) return "llorch keys list";
      return command.kind == Kind::policy_rollback ? "llorch policy show" : "llorch jobs list";
    case Code::model_not_found:
    case Code::no_worker:
      return "llorch workers list";
    case Code::conflict:
      if (is_about_keys(command.kind)) return "llorch keys list";
      return command.kind == Kind::jobs_submit ? "give another --idempotency-key" : "";
    default:
      return {};  // explain() knows the rest
  }
}

// What is printed by --json says which shape it has.
std::string versioned(json::object reply) {
  json::object out;
  out.emplace("version", "1.0");
  for (auto& [name, value] : reply) {
    if (name != "version") out.emplace(name, std::move(value));
  }
  return pretty_json(out) + "\n";
}

// Of the terminal that stdout is.
struct winsize terminal_size() {
  struct winsize size{};
  const bool known = ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0;
  if (!known || size.ws_row < 2) size.ws_row = 24;
  if (!known || size.ws_col < 2) size.ws_col = 80;
  return size;
}

}  // namespace

class FleetRun::Parts {
 public:
  Parts(asio::io_context& io, FleetCommand command, InferOutput output, const Clock& clock)
      : io_(io),
        command_(std::move(command)),
        output_(std::move(output)),
        clock_(clock),
        group_(io.get_executor()),
        ended_(io.get_executor()),
        waiting_(output_.note, output_.note_is_terminal) {}

  Task<Result<int>> run();
  void interrupt(int signal_number);

 private:
  Task<void> whole();
  Task<Result<int>> carry_out();
  Task<Result<int>> submit();
  // A read command: its reply as JSON, or rendered.
  Task<Result<int>> show(std::string path, Render render);
  std::string jobs_path() const;
  Task<Result<int>> print_events();
  Task<Result<int>> cancel_job();
  Task<Result<int>> drain_worker();
  // keys add and rotate: a secret on stdout, what it is for on stderr.
  Task<Result<int>> print_secret(std::string path, std::string body);
  Task<Result<int>> revoke_key();
  Task<Result<int>> send_script();
  Task<Result<int>> roll_back();
  int refuse_script(Error error);
  Task<Result<int>> replay_script();
  Task<Result<int>> top();
  Task<Result<TopFigures>> top_figures();
  Task<void> show_waiting();
  void print(std::string_view text);

  asio::io_context& io_;
  FleetCommand command_;
  InferOutput output_;
  const Clock& clock_;
  std::unique_ptr<FleetClient> client_;  // once the address has been read
  net::TaskGroup group_;
  net::Event ended_;
  WaitingLine waiting_;
  std::optional<Result<int>> outcome_;  // absent: it was interrupted
  std::string script_;                  // of policy validate and deploy
  int signal_ = 0;
  bool wrote_ = false;        // then nobody needs to be told what is waited for
  bool reader_gone_ = false;  // stdout is closed
};

Task<Result<int>> FleetRun::Parts::run() {
  InferOptions peer;
  peer.orchestrator_url = command_.orchestrator_url;
  peer.api_token = command_.api_token;
  auto target = infer_target(peer);
  if (!target) co_return fail(target.error());
  if (command_.kind == Kind::policy_validate || command_.kind == Kind::policy_deploy ||
      command_.kind == Kind::policy_replay) {
    auto script = make_file_system()->read(command_.file, limits::policy_source_bytes_max);
    if (!script) co_return fail(script.error());
    script_ = std::move(*script);
  }
  client_ = std::make_unique<FleetClient>(io_, std::move(*target));
  group_.spawn(whole());
  if (output_.note_is_terminal) group_.spawn(show_waiting());
  co_await group_.join();
  waiting_.clear();
  if (reader_gone_) co_return int{exit_ok};
  if (signal_ != 0) co_return int{signal_ == SIGTERM ? exit_terminated : exit_interrupted};
  if (!outcome_) co_return fail(Code::internal, "the command ended without a result");
  if (*outcome_) co_return **outcome_;
  auto error = outcome_->error();
  if (error.next.empty()) error.next = next_step(error, command_);
  co_return fail(explain(std::move(error), client_->target()));
}

Task<void> FleetRun::Parts::whole() {
  auto done = co_await carry_out();
  outcome_ = std::move(done);
  ended_.ring();
}

// No coroutine: what it makes for one is copied into that one's frame.
Task<Result<int>> FleetRun::Parts::carry_out() {
  switch (command_.kind) {
    case Kind::jobs_submit:
      return submit();
    case Kind::jobs_list:
      return show(jobs_path(), [now = clock_.wall()](const json::object& reply) {
        return jobs_table(reply, now);
      });
    case Kind::jobs_show:
      return show(path_of("/v2/tasks/", command_.id), job_text);
    case Kind::jobs_events:
      return print_events();
    case Kind::jobs_cancel:
      return cancel_job();
    case Kind::workers_list:
      return show("/v2/workers", workers_table);
    case Kind::workers_drain:
      return drain_worker();
    case Kind::keys_add:
      return print_secret("/v2/keys", encode(command_.key));
    case Kind::keys_list:
      return show("/v2/keys", keys_table);
    case Kind::keys_revoke:
      return revoke_key();
    case Kind::keys_rotate:
      return print_secret(path_of("/v2/keys/", command_.id) + "/rotate", {});
    case Kind::explain:
      return show(path_of("/v2/explain/", command_.id), explain_text);
    case Kind::policy_show:
      return show("/v2/policy", policy_text);
    case Kind::policy_validate:
    case Kind::policy_deploy:
      return send_script();
    case Kind::policy_replay:
      return replay_script();
    case Kind::policy_rollback:
      return roll_back();
    case Kind::usage:
      return show("/v2/usage?" + query_of("since", command_.since), usage_table);
    case Kind::policy_test:
    case Kind::top:
      break;
  }
  return top();
}

Task<Result<int>> FleetRun::Parts::submit() {
  auto body = task_body(command_.task);
  auto key = command_.task.idempotency_key.empty() ? random_uuid() : command_.task.idempotency_key;
  auto reply = co_await client_->submit(std::move(body), std::move(key));
  if (!reply) co_return fail(reply.error());
  const auto id = text_field(*reply, "job_id");
  if (id.empty()) co_return fail(Code::internal, "the reply to POST /v2/tasks names no job_id");
  print(command_.json ? versioned(std::move(*reply)) : one_line(id) + "\n");
  co_return int{exit_ok};
}

std::string FleetRun::Parts::jobs_path() const {
  auto path = "/v2/tasks?limit=" + std::to_string(command_.limit);
  if (!command_.status.empty()) path += "&" + query_of("status", command_.status);
  if (!command_.model.empty()) path += "&" + query_of("model", command_.model);
  return path;
}

Task<Result<int>> FleetRun::Parts::show(std::string path, Render render) {
  auto reply = co_await client_->get(std::move(path));
  if (!reply) co_return fail(reply.error());
  print(command_.json ? versioned(std::move(*reply)) : render(*reply));
  co_return int{exit_ok};
}

Task<Result<int>> FleetRun::Parts::print_events() {
  EventText events(command_.json);
  Result<void> broken;
  char last = '\n';
  std::function<bool(const SseEvent&)> take = [&](const SseEvent& event) {
    const auto text = events.take(event);
    if (!text) {
      broken = fail(text.error());
      return false;
    }
    if (!text->empty()) last = text->back();
    print(*text);
    return !reader_gone_;
  };
  const auto followed = co_await client_->follow(command_.id, command_.after, std::move(take));
  if (last != '\n') print("\n");
  if (!broken) co_return fail(broken.error());
  if (!followed) co_return fail(followed.error());
  if (!command_.json && !events.summary().empty()) output_.note(events.summary() + "\n");
  if (const auto ended = events.verdict(command_.id); !ended) co_return fail(ended.error());
  co_return int{exit_ok};
}

Task<Result<int>> FleetRun::Parts::cancel_job() {
  auto reply = co_await client_->post(path_of("/v2/tasks/", command_.id) + "/cancel");
  if (!reply) co_return fail(reply.error());
  const auto status = text_field(*reply, "status");
  print(one_line(status == "cancelled" ? "Cancelled " + command_.id
                                       : command_.id + " had ended already: " + status) +
        "\n");
  co_return int{exit_ok};
}

Task<Result<int>> FleetRun::Parts::drain_worker() {
  auto reply = co_await client_->post(path_of("/v2/workers/", command_.id) + "/drain");
  if (!reply) co_return fail(reply.error());
  const auto jobs = integer_field(*reply, "jobs");
  print(
      one_line(fmt::format("Draining {}: {} job{} left", command_.id, jobs, jobs == 1 ? "" : "s")) +
      "\n");
  co_return int{exit_ok};
}

Task<Result<int>> FleetRun::Parts::print_secret(std::string path, std::string body) {
  auto reply = co_await client_->post(std::move(path), std::move(body));
  if (!reply) co_return fail(reply.error());
  const auto secret = text_field(*reply, "key");
  if (secret.empty()) co_return fail(Code::internal, "the reply holds no key");
  const auto note = key_note(*reply);
  print(command_.json ? versioned(std::move(*reply)) : one_line(secret) + "\n");
  if (!command_.json) output_.note(note);
  co_return int{exit_ok};
}

Task<Result<int>> FleetRun::Parts::revoke_key() {
  auto reply = co_await client_->remove(path_of("/v2/keys/", command_.id));
  if (!reply) co_return fail(reply.error());
  const auto said =
      one_line(fmt::format("Revoked {} ({})", command_.id, text_field(*reply, "name")));
  print(command_.json ? versioned(std::move(*reply)) : said + "\n");
  co_return int{exit_ok};
}

// validate and deploy: the script is the body.
Task<Result<int>> FleetRun::Parts::send_script() {
  const bool deploys = command_.kind == Kind::policy_deploy;
  std::string path = deploys ? "/v2/policy/deploy" : "/v2/policy/validate";
  auto reply = co_await client_->post(std::move(path), std::move(script_));
  if (!reply && reply.error().code == Code::invalid_request) co_return refuse_script(reply.error());
  if (!reply) co_return fail(reply.error());
  const auto hooks = hooks_text(*reply);
  print(command_.json ? versioned(std::move(*reply))
                      : one_line(fmt::format("{} {}: hooks {}", deploys ? "Deployed" : "Valid",
                                             command_.file, hooks)) +
                            "\n");
  co_return int{exit_ok};
}

// A script that does not hold is no slip of the command line: 1, not 2.
int FleetRun::Parts::refuse_script(Error error) {
  error.message = command_.file + ": " + error.message;
  error.next = "correct the script, then: llorch policy validate " + command_.file;
  waiting_.clear();
  return report(error, exit_failure);
}

Task<Result<int>> FleetRun::Parts::replay_script() {
  auto path = "/v2/policy/replay?" + query_of("since", command_.since);
  if (command_.replay_most) path += "&limit=" + std::to_string(*command_.replay_most);
  auto reply = co_await client_->post(std::move(path), std::move(script_));
  // --since is the command line's, all else that is refused is the script's.
  const auto refused = reply ? Code::internal : reply.error().code;
  const bool of_script = refused == Code::invalid_request && !reply.error().violations.empty() &&
                         reply.error().violations.front().field == "source";
  if (of_script) co_return refuse_script(reply.error());
  if (!reply) co_return fail(reply.error());
  print(command_.json ? versioned(std::move(*reply)) : replay_text(*reply, command_.file));
  co_return int{exit_ok};
}

Task<Result<int>> FleetRun::Parts::roll_back() {
  std::string path = "/v2/policy/rollback";
  auto reply = co_await client_->post(std::move(path));
  if (!reply) co_return fail(reply.error());
  const bool loaded = flag_field(*reply, "loaded");
  const auto now =
      loaded ? "hooks " + hooks_text(*reply) : "no script, the built-in policy decides";
  print(command_.json ? versioned(std::move(*reply)) : one_line("Rolled back: " + now) + "\n");
  co_return int{exit_ok};
}

Task<Result<int>> FleetRun::Parts::top() {
  const bool live = output_.out_is_terminal && !command_.once && !command_.json;
  for (bool first = true;; first = false) {
    auto figures = co_await top_figures();
    if (!figures && first) co_return fail(figures.error());
    const auto name = client_->target().name();
    auto text = figures ? top_text(name, *figures, clock_.wall())
                        : one_line(name + ": " + figures.error().message) + "\n";
    if (!live) {
      json::object all;
      if (command_.json) {
        all = {{"health", std::move(figures->health)},
               {"workers", std::move(figures->workers["workers"])},
               {"jobs", std::move(figures->jobs["jobs"])}};
      }
      print(command_.json ? versioned(std::move(all)) : text);
      co_return int{exit_ok};
    }
    waiting_.clear();
    wrote_ = true;
    const auto size = terminal_size();
    const auto screen = redraw(text, size.ws_row, size.ws_col);
    reader_gone_ = !output_.out(first ? "\x1b[2J" + screen : screen);
    if (reader_gone_) co_return int{exit_ok};
    co_await net::sleep_for(milliseconds{limits::top_period_ms});
  }
}

Task<Result<TopFigures>> FleetRun::Parts::top_figures() {
  TopFigures figures;
  std::string path = "/health";
  auto health = co_await client_->get(std::move(path));
  if (!health) co_return fail(health.error());
  figures.health = std::move(*health);
  path = "/v2/workers";
  auto workers = co_await client_->get(std::move(path));
  if (!workers) co_return fail(workers.error());
  figures.workers = std::move(*workers);
  json::array rows;
  for (const char* status : {"running", "dispatched"}) {
    path = "/v2/tasks?limit=1000&" + query_of("status", status);
    auto jobs = co_await client_->get(std::move(path));
    if (!jobs) co_return fail(jobs.error());
    for (const auto& job : list_field(*jobs, "jobs")) rows.push_back(job);
  }
  figures.jobs["jobs"] = std::move(rows);
  co_return figures;
}

Task<void> FleetRun::Parts::show_waiting() {
  for (milliseconds wait{limits::silent_wait_ms};; wait = WaitingLine::period) {
    const bool ended = co_await ended_.wait_for(wait);
    if (ended || outcome_ || wrote_) co_return;
    waiting_.show("waiting for " + client_->target().name());
  }
}

void FleetRun::Parts::print(std::string_view text) {
  if (text.empty() || reader_gone_) return;
  waiting_.clear();
  wrote_ = true;
  reader_gone_ = !output_.out(output_.out_is_terminal ? terminal_safe(text) : std::string(text));
}

void FleetRun::Parts::interrupt(int signal_number) {
  if (signal_ != 0) return;
  signal_ = signal_number;
  group_.cancel();
}

FleetRun::FleetRun(asio::io_context& io, FleetCommand command, InferOutput output,
                   const Clock& clock)
    : parts_(std::make_shared<Parts>(io, std::move(command), std::move(output), clock)) {}
FleetRun::~FleetRun() = default;

Task<Result<int>> FleetRun::run() {
  return parts_->run();
}
void FleetRun::interrupt(int signal_number) {
  parts_->interrupt(signal_number);
}

namespace {

// Runs the command over the process's own streams; `running` is it while it runs.
Task<Result<int>> run_shown(asio::io_context& io, const FleetCommand& command, const Clock& clock,
                            FleetRun*& running) {
  FleetRun fleet(io, command, standard_output(), clock);
  running = &fleet;
  auto ended = co_await fleet.run();
  running = nullptr;
  co_return ended;
}

Result<int> test_policy(const FleetCommand& command) {
  const auto files = make_file_system();
  const auto trials = try_policy(*files, command.file);
  if (!trials) return fail(trials.error());
  print_text(command.json ? versioned(trials_json(*trials)) : trials_text(*trials));
  return all_passed(*trials) ? exit_ok : exit_failure;
}

}  // namespace

Result<int> run_fleet_command(const FleetCommand& command) {
  if (command.kind == Kind::policy_test) return test_policy(command);
  const SystemClock clock;
  FleetRun* running = nullptr;
  const std::function<Task<Result<int>>(asio::io_context&)> body = [&](asio::io_context& io) {
    return run_shown(io, command, clock, running);
  };
  return net::run_blocking<int>(body, [&](int signal_number) {
    if (running != nullptr) running->interrupt(signal_number);
  });
}

}  // namespace llorch
