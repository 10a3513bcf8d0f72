#include "remote/local_daemon.h"

#include <algorithm>
#include <boost/json.hpp>
#include <chrono>
#include <fmt/format.h>
#include <functional>
#include <signal.h>
#include <thread>
#include <utility>

#include "base/clock.h"
#include "base/limits.h"
#include "console/json_output.h"
#include "console/waiting_line.h"
#include "net/run.h"
#include "protocol/json_parse.h"
#include "remote/infer_job.h"

namespace llorch {
namespace {

namespace json = boost::json;
using std::chrono::milliseconds;

constexpr milliseconds poll{50};

std::filesystem::path daemon_file(const DaemonPlace& place) {
  return place.runtime / "orchestratord.json";
}

Task<Result<net::HttpResponse>> health_of(asio::io_context& io, net::Url url) {
  net::HttpClient client(io);
  url.target = "/health";
  const net::HttpRequest request;
  co_return co_await client.fetch(std::move(url), request, milliseconds(limits::daemon_answer_ms));
}

// Until `over`, at most `limit_ms`; what it waits for is shown after a moment.
bool wait_until(const std::function<bool()>& over, std::int64_t limit_ms, const char* what) {
  const auto output = standard_output();
  WaitingLine line(output.note, output.note_is_terminal);
  const SystemClock clock;
  const auto begun = clock.now();
  while (!over()) {
    const auto waited_ms = elapsed_ms(begun, clock.now());
    if (waited_ms >= static_cast<double>(limit_ms)) {
      line.clear();
      return false;
    }
    if (waited_ms >= limits::silent_wait_ms) line.show(what);
    std::this_thread::sleep_for(poll);
  }
  line.clear();
  return true;
}

// Its "error:" and "next:" lines, and what stands between them: the last it wrote.
Error words_of(FileSystem& files, const DaemonRecord& record) {
  Error error{.code = Code::internal,
              .message = "orchestratord: ended before it was ready",
              .next = "read " + record.log};
  const auto text = files.read(record.log, limits::daemon_log_bytes_max).value_or("");
  for (std::size_t at = 0; at < text.size();) {
    const auto end = std::min(text.find('\n', at), text.size());
    const std::string_view row(text.data() + at, end - at);
    if (row.starts_with("error: ")) error.message = row.substr(7);
    const auto colon = row.find(": ");
    if (row.starts_with("  ") && colon != row.npos) {  // a wrong value, as report() prints it
      error.violations.push_back({.field = std::string(row.substr(2, colon - 2)),
                                  .constraint = {},
                                  .message = std::string(row.substr(colon + 2))});
    }
    if (row.starts_with("next: ")) error.next = row.substr(6);
    at = end + 1;
  }
  return error;
}

std::string encode(const DaemonRecord& record) {
  return pretty_json(json::object{{"pid", record.pid},
                                  {"pid_start_time", record.pid_start_time},
                                  {"url", record.url},
                                  {"started_at", record.started_at},
                                  {"log", record.log}}) +
         "\n";
}

Result<DaemonRecord> decode(std::string_view text, const std::string& file) {
  const auto parsed = parse_json_object(text);
  const auto* const pid = parsed ? parsed->if_contains("pid") : nullptr;
  const auto* const start = parsed ? parsed->if_contains("pid_start_time") : nullptr;
  if (pid == nullptr || start == nullptr || !pid->is_int64() || !start->is_int64() ||
      pid->get_int64() <= 1 || pid->get_int64() > INT32_MAX) {
    return fail(Code::internal, file + ": is no file of llorch up", "delete it");
  }
  const auto text_of = [&](const char* name) {
    const auto* const value = parsed->if_contains(name);
    return value != nullptr && value->is_string() ? std::string(value->get_string()) : "";
  };
  return DaemonRecord{.pid = static_cast<Pid>(pid->get_int64()),
                      .pid_start_time = static_cast<std::uint64_t>(start->get_int64()),
                      .url = text_of("url"),
                      .started_at = text_of("started_at"),
                      .log = text_of("log")};
}

}  // namespace

Result<std::optional<DaemonRecord>> read_daemon(const DaemonPlace& place) {
  const auto file = daemon_file(place);
  const auto text = place.files.read(file, limits::worker_file_bytes_max);
  if (!text && text.error().code == Code::not_found) return std::nullopt;
  if (!text) return fail(text.error());
  auto record = decode(*text, file.string());
  if (!record) return fail(record.error());
  return std::move(*record);
}

bool lives(ProcessRunner& processes, const DaemonRecord& record) {
  const auto facts = processes.inspect(record.pid);
  if (!facts) return true;  // what the system hides counts as alive
  const auto now = facts->value_or(ProcessFacts{.name = {}, .zombie = true});
  return !now.zombie && now.start_time == record.pid_start_time;
}

Answer ask_health(const std::string& url) {
  const auto parsed = net::parse_url(url);
  if (!parsed) return Answer::nobody;
  const std::function<Task<Result<net::HttpResponse>>(asio::io_context&)> body =
      [&](asio::io_context& io) { return health_of(io, *parsed); };
  const auto reply = net::run_blocking<net::HttpResponse>(body);
  if (!reply) return Answer::nobody;
  const auto said = parse_json_object(reply->body);
  // A worker's /health has slots where ours has workers.
  const bool ours = reply->status == 200 && said && said->contains("workers");
  return ours ? Answer::orchestrator : Answer::something_else;
}

Result<net::Url> local_url(const std::string& url) {
  auto parsed = net::parse_url(url);
  if (!parsed) return fail(parsed.error());
  const auto& host = parsed->host;
  const bool here = host == "127.0.0.1" || host == "localhost" || host == "::1";
  if (!here || parsed->scheme != "http" || parsed->target != "/") {
    return fail(Code::invalid_request, url + ": is no address of this machine's loopback",
                "run llorch up there, or give --orchestrator-url http://127.0.0.1:PORT");
  }
  return parsed;
}

Result<DaemonRecord> start_daemon(const DaemonPlace& place, const net::Url& url,
                                  const std::string& url_text) {
  if (const auto made = place.files.make_directories(place.runtime); !made) {
    return fail(made.error());
  }
  DaemonRecord record{.url = url_text,
                      .started_at = rfc3339(SystemClock().wall()),
                      .log = (place.runtime / "orchestratord.log").string()};
  // Only the words of this start are looked at; the ones before are of no use any more.
  if (const auto cleared = place.files.remove(record.log); !cleared) return fail(cleared.error());
  const auto root = place.runtime.parent_path().string();
  const auto pid = place.processes.spawn_detached(
      {.argv = {place.program.string(), "--host", url.host, "--port", std::to_string(url.port)},
       .environment = {{"LLORCH_ROOT", root}},
       .log = record.log});
  if (!pid) {
    auto error = pid.error();
    error.next = "install orchestratord beside llorch";
    return fail(std::move(error));
  }
  record.pid = *pid;
  if (const auto facts = place.processes.inspect(*pid)) {
    record.pid_start_time = facts->value_or(ProcessFacts{}).start_time;
  }
  if (const auto kept = place.files.write_atomic(daemon_file(place), encode(record)); !kept) {
    // Without its file nobody would ever stop it.
    (void)place.processes.signal(*pid, SIGKILL);
    return fail(kept.error());
  }
  bool gone = false;
  const auto ready = [&] {
    gone = !lives(place.processes, record);
    return gone || ask_health(url_text) == Answer::orchestrator;
  };
  const bool in_time = wait_until(ready, limits::daemon_ready_ms, "waiting for orchestratord");
  if (gone) {
    (void)place.files.remove(daemon_file(place));
    return fail(words_of(place.files, record));
  }
  if (in_time) return record;
  return fail(Code::timeout, "orchestratord: does not answer at " + url_text,
              "read " + record.log + "; stop it: llorch down");
}

Result<void> stop_daemon(const DaemonPlace& place, const DaemonRecord& record) {
  const auto gone = [&] { return !lives(place.processes, record); };
  if (!gone()) {
    const auto asked = place.processes.signal(record.pid, SIGTERM);
    if (!asked && asked.error().code != Code::not_found) return asked;
    if (!wait_until(gone, limits::daemon_stop_ms, "waiting for orchestratord to finish replies")) {
      (void)place.processes.signal(record.pid, SIGKILL);
      if (!wait_until(gone, limits::worker_kill_wait_ms, "waiting for orchestratord")) {
        return fail(Code::timeout,
                    fmt::format("orchestratord: process {} survives SIGKILL", record.pid),
                    "look at it with ps");
      }
    }
  }
  return place.files.remove(daemon_file(place));
}

}  // namespace llorch
