// Other processes behind an interface: run to the end, start detached, look at, signal.
// Threads: any. Lifetime: a detached process outlives it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace llorch {

struct RunRequest {
  std::vector<std::string> argv;           // argv[0] is looked up in PATH unless it holds a slash
  std::int64_t limit_ms = 0;               // killed, with its whole process group, when it passes
  std::size_t output_bytes_max = 1 << 20;  // per stream; what comes after is read and dropped
  std::map<std::string, std::string> environment = {};  // added to ours
  std::function<void()> tick = {};  // called about five times a second while it runs
  std::function<bool()> stop = {};  // asked as often; true ends it as a limit does
  // Else stdin is empty. Held: it stays open and silent until the run is over, so that the other
  // end of a connection sees when we are gone, by SIGKILL too.
  bool hold_stdin = false;
  bool own_session = false;          // it has no terminal to ask at
  bool obey_signals = true;          // false: a daemon sees to SIGINT and SIGTERM itself
  std::filesystem::path input = {};  // stdin from this file
};

struct RunOutcome {
  int exit_status = -1;  // -1 when a signal ended it, or it could not be waited for
  bool timed_out = false;
  std::string out;
  std::string err;
};

struct AttachRequest {
  std::vector<std::string> argv;
  std::map<std::string, std::string> environment = {};  // added to ours
  // True: our stdin and our terminal, whose Ctrl-C reaches it by itself. False: a session of its
  // own and a stdin that stays open and silent; SIGINT or SIGTERM to us closes it.
  bool share_terminal = false;
  std::int64_t stop_ms = 0;  // from a signal to us until it is ended by force
};

struct AttachOutcome {
  int exit_status = -1;  // -1 when a signal ended it
  int interrupted = 0;   // the signal that we got meanwhile
};

struct SpawnRequest {
  std::vector<std::string> argv;
  std::map<std::string, std::string> environment;  // added to ours
  std::filesystem::path log;                       // stdout and stderr, appended
};

using Pid = std::int32_t;

// What tells a process from another one that got its number later.
struct ProcessFacts {
  std::string name;              // as the kernel shows it: at most 15 bytes on Linux
  bool zombie = false;           // ended, only its exit status is left
  std::uint64_t start_time = 0;  // field 22 of /proc/PID/stat; macOS: microseconds since 1970
};

class ProcessRunner {
 public:
  virtual ~ProcessRunner() = default;
  // SIGINT and SIGTERM end the child with its whole process group, then this process.
  // Errors: not_found (no such program), forbidden (input), internal. A limit that passes is an
  // outcome.
  virtual Result<RunOutcome> run(const RunRequest& request) = 0;
  // Runs over our own stdout and stderr. The first SIGINT or SIGTERM asks the child to end, a
  // second one ends this process at once. Errors: not_found (no such program), internal.
  virtual Result<AttachOutcome> run_attached(const AttachRequest& request);
  // Own session, stdin /dev/null, no file of ours inherited. Errors: not_found, forbidden.
  virtual Result<Pid> spawn_detached(const SpawnRequest& request) = 0;
  // nullopt: no such process. Errors: internal when the system hides what it is.
  virtual Result<std::optional<ProcessFacts>> inspect(Pid pid) = 0;
  // Errors: not_found (no such process), forbidden.
  virtual Result<void> signal(Pid pid, int number) = 0;
};

std::unique_ptr<ProcessRunner> make_process_runner();

}  // namespace llorch
