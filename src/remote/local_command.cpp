#include "remote/local_command.h"

#include <algorithm>
#include <boost/json.hpp>
#include <csignal>
#include <unistd.h>
#include <utility>

#include "console/json_output.h"
#include "console/report.h"
#include "console/table.h"
#include "pool/root.h"
#include "protocol/json_parse.h"
#include "remote/infer_job.h"
#include "remote/local_daemon.h"
#include "remote/reply_fields.h"
#include "sys/file_system.h"

namespace llorch {
namespace {

namespace json = boost::json;
// One run of a command: the programs and files it uses.
class Local {
 public:
  Local(const PoolDriver& driver, const LocalCommand& command)
      : driver_(driver),
        command_(command),
        files_(make_file_system()),
        root_(find_root(*files_)),
        place_{.files = *files_,
               .processes = driver.processes,
               .runtime = root_.runtime(),
               .program = daemon_program()} {}

  Result<int> up();
  Result<int> down();
  Result<int> ps();
  Result<int> run();

 private:
  std::filesystem::path daemon_program() const {
    const auto beside = driver_.program_folder / "orchestratord";
    return ::access(beside.c_str(), X_OK) == 0 ? beside : "orchestratord";
  }
  Result<std::string> ask_pool(std::vector<std::string> words);
  Result<int> drive_pool(const std::vector<std::string>& words);
  Result<std::vector<LocalWorker>> workers();
  Result<LocalWorker> start_worker(const std::string& model);
  Result<int> load(LocalWorker& into);

  const PoolDriver& driver_;
  const LocalCommand& command_;
  std::unique_ptr<FileSystem> files_;
  Root root_;
  DaemonPlace place_;
};

// What llorch-pool prints on stdout; what it says on stderr is its error.
Result<std::string> Local::ask_pool(std::vector<std::string> words) {
  RunRequest request{.argv = {local_pool(driver_)}, .limit_ms = limits::pool_answer_ms};
  request.argv.insert(request.argv.end(), words.begin(), words.end());
  auto answer = driver_.processes.run(request);
  if (!answer) return fail(answer.error());
  if (answer->exit_status == 0) return std::move(answer->out);
  return fail(
      Code::internal,
      "llorch-pool " + words.front() + ": " + (answer->timed_out ? "took too long" : answer->err),
      "llorch-pool doctor");
}

// Over our stderr: stdout is the answer's. Gives the exit code, 130 or 143 after a signal.
Result<int> Local::drive_pool(const std::vector<std::string>& words) {
  AttachRequest request{.argv = {"/bin/sh", "-c", "exec \"$@\" 1>&2", "sh", local_pool(driver_)},
                        .share_terminal = true,
                        .stop_ms = limits::daemon_stop_ms};
  request.argv.insert(request.argv.end(), words.begin(), words.end());
  const auto ended = driver_.processes.run_attached(request);
  if (!ended) return fail(ended.error());
  if (ended->interrupted != 0) {
    return ended->interrupted == SIGTERM ? exit_terminated : exit_interrupted;
  }
  return ended->exit_status < 0 ? exit_failure : ended->exit_status;
}

Result<std::vector<LocalWorker>> Local::workers() {
  const auto listed = ask_pool({"worker", "list", "--json"});
  if (!listed) return fail(listed.error());
  return read_worker_list(*listed);
}

// Downloads the model where needed and loads it; it registers with the orchestratord that answers.
Result<int> Local::load(LocalWorker& into) {
  const auto before = workers();
  if (!before) return fail(before.error());
  const auto id = driver_.settings.resolve_alias(command_.model);
  if (const auto* const there = worker_of(*before, id)) {
    into = *there;
    return exit_ok;
  }
  const auto got = drive_pool({"models", "download", id});
  if (!got || *got != exit_ok) return got;
  const auto backends = ask_pool({"backends", "list", "--json"});
  if (!backends) return fail(backends.error());
  const auto backend = choose_backend(*backends, "this machine");
  if (!backend) return fail(backend.error());
  std::vector<std::string> words = {"worker", "spawn", *backend, "--model", id};
  if (ask_health(command_.orchestrator_url) == Answer::orchestrator) {
    words.insert(words.end(), {"--orchestrator-url", command_.orchestrator_url});
  }
  const auto spawned = drive_pool(words);
  if (!spawned || *spawned != exit_ok) return spawned;
  const auto after = workers();
  if (!after) return fail(after.error());
  const auto* const made = newcomer(*before, *after);
  if (made == nullptr) {
    return fail(Code::internal, "the worker of " + id + " is not in the list of workers",
                "llorch-pool worker list");
  }
  into = *made;
  return exit_ok;
}

Result<int> Local::up() {
  const auto url = local_url(command_.orchestrator_url);
  if (!url) return fail(url.error());
  switch (ask_health(command_.orchestrator_url)) {
    case Answer::orchestrator:
      print_text("orchestratord runs already at " + command_.orchestrator_url + "\n");
      break;
    case Answer::something_else:
      return fail(Code::conflict, command_.orchestrator_url + ": another program answers there",
                  "give another one: --orchestrator-url http://127.0.0.1:PORT");
    case Answer::nobody: {
      const auto started = start_daemon(place_, *url, command_.orchestrator_url);
      if (!started) return fail(started.error());
      print_text("orchestratord is ready at " + started->url + "\n");
    }
  }
  if (command_.model.empty()) {
    print_next("llorch up --model smollm2");
    return exit_ok;
  }
  LocalWorker worker;
  const auto loaded = load(worker);
  if (!loaded || *loaded != exit_ok) return loaded;
  print_text(worker.id + " serves " + worker.model + "\n");
  print_next("llorch infer --model " + worker.model + " --prompt \"Hello\"");
  return exit_ok;
}

// orchestratord first: it finishes running replies, for which it needs the workers.
Result<int> Local::down() {
  const auto record = read_daemon(place_);
  if (!record) return fail(record.error());
  if (*record) {
    if (const auto stopped = stop_daemon(place_, **record); !stopped) return fail(stopped.error());
    print_text("orchestratord stopped\n");
  } else if (ask_health(command_.orchestrator_url) == Answer::orchestrator) {
    print_warning("orchestratord at " + command_.orchestrator_url +
                  " was not started by llorch up, and goes on");
  }
  const auto there = workers();
  if (!there) return fail(there.error());
  if (!there->empty()) return drive_pool({"worker", "stop-all"});
  if (!*record) print_text("Nothing to stop in " + root_.path.string() + "\n");
  return exit_ok;
}

Result<int> Local::ps() {
  const auto record = read_daemon(place_);
  if (!record) return fail(record.error());
  const auto there = workers();
  if (!there) return fail(there.error());
  json::array rows;
  Table table({{"NAME", false, true},
               {"PID", true},
               {"STATUS"},
               {"ADDRESS", false, true},
               {"MODEL", false, true}});
  const auto add = [&](const std::string& name, std::int64_t pid, const std::string& status,
                       const std::string& address, const std::string& model,
                       const std::string& started_at) {
    rows.push_back({{"name", name},
                    {"pid", pid},
                    {"status", status},
                    {"address", address},
                    {"model", model},
                    {"started_at", started_at}});
    table.add({name, std::to_string(pid), status, address, model});
  };
  bool orphans = false;
  if (*record) {
    const auto& daemon = **record;
    const bool alive = lives(place_.processes, daemon);
    const auto status = !alive                                           ? "ended"
                        : ask_health(daemon.url) == Answer::orchestrator ? "ready"
                                                                         : "unreachable";
    add("orchestratord", daemon.pid, status, daemon.url, "", daemon.started_at);
  }
  for (const auto& worker : *there) {
    orphans = orphans || !worker.alive;
    add(worker.id, worker.pid, worker.status, worker.address(), worker.model, worker.started_at);
  }
  if (command_.json) {
    print_json({{"version", "1.0"}, {"root", root_.path.string()}, {"processes", std::move(rows)}});
    return exit_ok;
  }
  print_text("Processes in " + root_.path.string() + "\n" +
             (rows.empty() ? "none\n" : table.render()));
  if (orphans) print_next("llorch-pool worker cleanup");
  if (rows.empty()) print_next("llorch up --model smollm2");
  return exit_ok;
}

Result<int> Local::run() {
  LocalWorker worker;
  const auto loaded = load(worker);
  if (!loaded || *loaded != exit_ok) return loaded;
  auto options = command_.infer;
  options.worker = worker.address();
  return infer(options);
}

}  // namespace

std::string LocalWorker::address() const {
  auto name = host;
  if (name.empty() || name == "0.0.0.0") name = "127.0.0.1";
  if (name == "::") name = "::1";
  if (name.contains(':')) name = "[" + name + "]";
  return name + ":" + std::to_string(port);
}

Result<std::vector<LocalWorker>> read_worker_list(std::string_view text) {
  const auto parsed = parse_json_object(text);
  const auto* const list = parsed ? parsed->if_contains("workers") : nullptr;
  if (list == nullptr || !list->is_array()) {
    return fail(Code::internal, "llorch-pool: lists no workers", "llorch-pool --version");
  }
  std::vector<LocalWorker> workers;
  for (const auto& entry : list->get_array()) {
    if (!entry.is_object()) continue;
    const auto& row = entry.get_object();
    workers.push_back({.id = text_field(row, "worker_id"),
                       .model = text_field(row, "model"),
                       .host = text_field(row, "host"),
                       .status = text_field(row, "status"),
                       .started_at = text_field(row, "spawned_at"),
                       .pid = integer_field(row, "pid"),
                       .port = static_cast<std::uint16_t>(integer_field(row, "port")),
                       .alive = flag_field(row, "alive")});
  }
  return workers;
}

const LocalWorker* worker_of(const std::vector<LocalWorker>& workers, std::string_view model) {
  const auto found = std::ranges::find_if(workers, [&](const LocalWorker& worker) {
    return worker.alive && worker.model == model &&
           (worker.status == "idle" || worker.status == "busy");
  });
  return found == workers.end() ? nullptr : &*found;
}

const LocalWorker* newcomer(const std::vector<LocalWorker>& before,
                            const std::vector<LocalWorker>& after) {
  const auto found = std::ranges::find_if(after, [&](const LocalWorker& worker) {
    return worker.alive && std::ranges::find(before, worker.id, &LocalWorker::id) == before.end();
  });
  return found == after.end() ? nullptr : &*found;
}

Result<int> run_local_command(const PoolDriver& driver, const LocalCommand& command) {
  Local local(driver, command);
  switch (command.kind) {
    case LocalCommand::Kind::up:
      return local.up();
    case LocalCommand::Kind::down:
      return local.down();
    case LocalCommand::Kind::ps:
      return local.ps();
    case LocalCommand::Kind::run:
      break;
  }
  return local.run();
}

}  // namespace llorch
