// The orchestratord that `llorch up` has started on this machine: its file
// `.runtime/orchestratord.json`, its process, whether it answers.
// {"pid":4711,"pid_start_time":123456,"url":"http://127.0.0.1:8080","started_at":…,"log":…}
// Threads: one.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "base/result.h"
#include "net/client.h"
#include "sys/file_system.h"
#include "sys/process_runner.h"

namespace llorch {

struct DaemonRecord {
  Pid pid = 0;
  std::uint64_t pid_start_time = 0;
  std::string url;
  std::string started_at;
  std::string log;
};

// What the daemon's start and end need of the outside.
struct DaemonPlace {
  FileSystem& files;
  ProcessRunner& processes;
  std::filesystem::path runtime;  // the folder .runtime of the root
  std::filesystem::path program;  // orchestratord, or its bare name
};

// nullopt: none was started here. Errors: internal (a file that is not ours).
Result<std::optional<DaemonRecord>> read_daemon(const DaemonPlace& place);
// False: no such pid, a zombie, or another process that got its number.
bool lives(ProcessRunner& processes, const DaemonRecord& record);

enum class Answer { orchestrator, nobody, something_else };
// Whether an orchestratord listens there.
Answer ask_health(const std::string& url);

// Where `llorch up` may start one. Errors: invalid_request (no URL of this machine).
Result<net::Url> local_url(const std::string& url);

// Starts it and waits until it answers. Errors: conflict (something else has the port), not_found
// (no orchestratord program), internal (it ended; its own words), timeout.
Result<DaemonRecord> start_daemon(const DaemonPlace& place, const net::Url& url,
                                  const std::string& url_text);
// SIGTERM, its time to finish replies, then SIGKILL; the file is deleted.
// Errors: forbidden, timeout (it survives SIGKILL).
Result<void> stop_daemon(const DaemonPlace& place, const DaemonRecord& record);

}  // namespace llorch
