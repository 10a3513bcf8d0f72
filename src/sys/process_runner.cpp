#include "sys/process_runner.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sstream>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

#ifdef __APPLE__
#include <libproc.h>
#include <sys/sysctl.h>
#endif

#include "base/limits.h"
#include "sys/interrupt.h"

extern char** environ;

namespace llorch {
namespace {

using std::chrono::steady_clock;

// The same file as a descriptor of 3 or more: one that became 0, 1 or 2, since ours were closed,
// would be overwritten where the child's streams are put in place. Closed by exec.
int above_streams(int descriptor) {
  if (descriptor < 0 || descriptor > 2) return descriptor;
  const int lifted = ::fcntl(descriptor, F_DUPFD_CLOEXEC, 3);
  const int reason = errno;
  ::close(descriptor);
  errno = reason;
  return lifted;
}

struct Pipe {
  std::array<int, 2> ends = {-1, -1};
  Pipe() {
    if (::pipe(ends.data()) != 0) return;
    for (int& end : ends) {
      ::fcntl(end, F_SETFD, FD_CLOEXEC);
      end = above_streams(end);
    }
  }
  ~Pipe() {
    close_end(0);
    close_end(1);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  bool open() const { return ends[0] >= 0 && ends[1] >= 0; }
  void close_end(int which) {
    if (ends.at(which) >= 0) ::close(std::exchange(ends.at(which), -1));
  }
};

// The absolute path of a program, found before fork: execvp's own search may allocate.
std::string find_program(const std::string& name) {
  if (name.find('/') != std::string::npos) return name;
  const char* const path = std::getenv("PATH");
  std::istringstream folders(path != nullptr ? path : "/usr/local/bin:/usr/bin:/bin");
  for (std::string folder; std::getline(folders, folder, ':');) {
    const std::string candidate = (folder.empty() ? "." : folder) + "/" + name;
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return {};
}

struct Child {
  std::string program;
  std::vector<char*> argv;
  std::vector<std::string> variables;
  std::vector<char*> environment;
  int in = -1;
  int out = -1;
  int err = -1;
  // A group of its own is ended with all its children; ours gets the terminal's signals.
  enum class Place { own_group, own_session, our_group };
  Place place = Place::own_group;

  Child(const std::vector<std::string>& words, const std::map<std::string, std::string>& extra) {
    program = find_program(words.front());
    for (const auto& word : words) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    for (char** at = environ; *at != nullptr; ++at) {
      const std::string variable = *at;
      if (!extra.contains(variable.substr(0, variable.find('=')))) variables.push_back(variable);
    }
    for (const auto& [name, value] : extra) variables.push_back(name + "=" + value);
    for (auto& variable : variables) environment.push_back(variable.data());
    environment.push_back(nullptr);
  }
};

// Marks what we ourselves inherited (a jobserver's pipe, a test's log) to be closed by exec, so
// that a detached child holds nothing open.
void drop_inherited_files() {
#ifdef CLOSE_RANGE_CLOEXEC
  if (::close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) == 0) return;
#endif
  for (int descriptor = 3; descriptor < 1024; ++descriptor) {
    ::fcntl(descriptor, F_SETFD, FD_CLOEXEC);
  }
}

// Runs between fork and exec: only async-signal-safe calls. Reports errno through `report`.
[[noreturn]] void become(const Child& child, int report) {
  if (child.place == Child::Place::own_session) {
    ::setsid();
    drop_inherited_files();
  } else if (child.place == Child::Place::own_group) {
    ::setpgid(0, 0);
  }
  ::dup2(child.in, 0);
  ::dup2(child.out, 1);
  ::dup2(child.err, 2);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  for (const int number : {SIGINT, SIGTERM, SIGPIPE, SIGHUP}) ::signal(number, SIG_DFL);
  ::execve(child.program.c_str(), child.argv.data(), child.environment.data());
  const int number = errno;
  [[maybe_unused]] const auto written = ::write(report, &number, sizeof(number));
  ::_exit(127);
}

// Forks and waits until the program runs or could not be started.
Result<Pid> start(const Child& child) {
  const std::string name = child.argv.front();
  if (child.program.empty()) return fail(Code::not_found, name + ": no such program in PATH");
  Pipe report;
  if (!report.open()) return fail(Code::internal, std::string("pipe: ") + std::strerror(errno));
  const Pid pid = ::fork();
  if (pid < 0) return fail(Code::internal, std::string("fork: ") + std::strerror(errno));
  if (pid == 0) become(child, report.ends[1]);
  report.close_end(1);
  int number = 0;
  ssize_t count = 0;
  do {
    count = ::read(report.ends[0], &number, sizeof(number));
  } while (count < 0 && errno == EINTR);
  if (count != sizeof(number)) return pid;  // closed by a successful exec
  ::waitpid(pid, nullptr, 0);
  const Code code = number == ENOENT   ? Code::not_found
                    : number == EACCES ? Code::forbidden
                                       : Code::internal;
  return fail(code, name + ": " + std::strerror(number));
}

std::int64_t left_ms(steady_clock::time_point deadline) {
  const auto left = deadline - steady_clock::now();
  return std::max<std::int64_t>(
      0, std::chrono::duration_cast<std::chrono::milliseconds>(left).count());
}

// Whether a run is given up: we were told to end, or whoever asked for it wants it no more.
bool is_given_up(const RunRequest& request) {
  return (request.obey_signals && interrupt_number() != 0) || (request.stop && request.stop());
}

// Reads both pipes until the child closed them, the deadline passed or the run was given up.
bool collect(Pipe& out, Pipe& err, const RunRequest& request, RunOutcome& outcome,
             steady_clock::time_point deadline) {
  std::array<pollfd, 2> watched = {pollfd{out.ends[0], POLLIN, 0}, pollfd{err.ends[0], POLLIN, 0}};
  std::array<std::string*, 2> into = {&outcome.out, &outcome.err};
  std::array<char, 16384> piece{};
  while (watched[0].fd >= 0 || watched[1].fd >= 0) {
    const auto wait_ms = left_ms(deadline);
    if (wait_ms == 0 || is_given_up(request)) return false;
    // Also the longest that a signal right before poll() waits to be seen.
    constexpr std::int64_t tick_ms = 200;
    const auto poll_ms = std::min(wait_ms, tick_ms);
    const int ready = ::poll(watched.data(), watched.size(), static_cast<int>(poll_ms));
    const bool broken = ready < 0 && errno != EINTR;  // before tick() changes errno
    if (request.tick) request.tick();
    if (broken) return false;
    for (std::size_t i = 0; ready > 0 && i < watched.size(); ++i) {
      if (watched.at(i).revents == 0) continue;
      const auto count = ::read(watched.at(i).fd, piece.data(), piece.size());
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) {
        watched.at(i).fd = -1;
        continue;
      }
      const std::size_t room = request.output_bytes_max - into.at(i)->size();
      into.at(i)->append(piece.data(), std::min(room, static_cast<std::size_t>(count)));
    }
  }
  return true;
}

// Waits for a child until it ended, the deadline passed or `given_up` says so.
bool wait_until(Pid pid, int& status, steady_clock::time_point deadline,
                const std::function<bool()>& given_up) {
  constexpr useconds_t pause_us_max = 20'000;  // nobody feels it, and a long wait costs nothing
  for (useconds_t pause_us = 1'000;; pause_us = std::min(2 * pause_us, pause_us_max)) {
    const Pid ended = ::waitpid(pid, &status, WNOHANG);
    if (ended == pid) return true;
    if (ended < 0 && errno != EINTR) return true;
    if (left_ms(deadline) == 0 || given_up()) return false;
    ::usleep(pause_us);
  }
}

// What a child reads: nothing, a file, or a pipe whose other end we hold.
Result<int> open_input(const RunRequest& request, Pipe& held) {
  if (request.hold_stdin) {
    if (held.open()) return std::exchange(held.ends[0], -1);
    return fail(Code::internal, std::string("pipe: ") + std::strerror(errno));
  }
  const std::string path = request.input.empty() ? "/dev/null" : request.input.string();
  const int file = above_streams(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file >= 0) return file;
  const Code code = errno == ENOENT ? Code::not_found : Code::forbidden;
  return fail(code, "open " + path + ": " + std::strerror(errno));
}

// Asks the whole group to end, makes it after a while, and follows it.
[[noreturn]] void end_with_child(Pid pid) {
  ::kill(-pid, SIGTERM);
  const auto deadline = steady_clock::now() + std::chrono::milliseconds(limits::child_stop_ms);
  // Group and not child: what pip started may outlive pip.
  while (::kill(-pid, 0) == 0 && left_ms(deadline) > 0) {
    ::waitpid(pid, nullptr, WNOHANG);
    ::usleep(10'000);
  }
  ::kill(-pid, SIGKILL);
  die_of(interrupt_number());
}

#ifdef __APPLE__
Result<std::optional<ProcessFacts>> look_at(Pid pid) {
  std::array<int, 4> name = {CTL_KERN, KERN_PROC, KERN_PROC_PID, pid};
  struct kinfo_proc info{};
  std::size_t size = sizeof(info);
  if (::sysctl(name.data(), name.size(), &info, &size, nullptr, 0) != 0) {
    return fail(Code::internal, "sysctl of process " + std::to_string(pid));
  }
  if (size == 0) return std::optional<ProcessFacts>{};
  ProcessFacts facts;
  facts.name = info.kp_proc.p_comm;
  facts.zombie = info.kp_proc.p_stat == SZOMB;
  const auto& started = info.kp_proc.p_starttime;
  facts.start_time = std::uint64_t(started.tv_sec) * 1'000'000 + std::uint64_t(started.tv_usec);
  return facts;
}
#else
// Empty when it cannot be read: reading fails with ESRCH when the process is reaped meanwhile,
// which a stream's iterator would throw.
std::string text_of_proc_file(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return {};
  std::array<char, 4096> text{};  // a stat line is shorter
  ssize_t size = 0;
  do {
    size = ::read(file, text.data(), text.size());
  } while (size < 0 && errno == EINTR);
  ::close(file);
  return {text.data(), static_cast<std::size_t>(std::max<ssize_t>(size, 0))};
}

// Source: proc(5). The name is in brackets and may itself hold brackets and spaces.
Result<std::optional<ProcessFacts>> look_at(Pid pid) {
  const std::string line = text_of_proc_file("/proc/" + std::to_string(pid) + "/stat");
  const auto open = line.find('(');
  const auto close = line.rfind(')');
  if (open == line.npos || close == line.npos) {
    if (::kill(pid, 0) != 0 && errno == ESRCH) return std::optional<ProcessFacts>{};
    return fail(Code::internal, "process " + std::to_string(pid) + ": /proc does not show it");
  }
  ProcessFacts facts;
  facts.name = line.substr(open + 1, close - open - 1);
  std::istringstream rest(line.substr(close + 1));
  std::string field;
  for (int number = 3; number <= 22 && rest >> field; ++number) {
    if (number == 3) facts.zombie = field == "Z" || field == "X";
    if (number == 22) {
      std::from_chars(field.data(), field.data() + field.size(), facts.start_time);
    }
  }
  return facts;
}
#endif

// Reads what a run prints and waits for its end.
Result<RunOutcome> finish(Pid pid, Pipe& out, Pipe& err, const RunRequest& request,
                          steady_clock::time_point deadline) {
  const auto given_up = [&] { return is_given_up(request); };
  RunOutcome outcome;
  int status = 0;
  const bool in_time =
      collect(out, err, request, outcome, deadline) && wait_until(pid, status, deadline, given_up);
  if (request.obey_signals && interrupt_number() != 0) end_with_child(pid);
  if (!in_time) {
    outcome.timed_out = true;
    ::kill(-pid, SIGKILL);
    // A process that is stuck in a driver or a dead network disk does not even end by SIGKILL.
    const auto give_up = steady_clock::now() + std::chrono::milliseconds(limits::run_kill_wait_ms);
    if (!wait_until(pid, status, give_up, [] { return false; })) return outcome;
  }
  if (WIFEXITED(status)) outcome.exit_status = WEXITSTATUS(status);
  return outcome;
}

// Gives a child that was asked to end its time, then makes it.
void end_within(Pid pid, int& status, const AttachRequest& request) {
  const Pid target = request.share_terminal ? pid : -pid;
  for (const int number : {0, SIGTERM, SIGKILL}) {
    if (number != 0) ::kill(target, number);
    const auto wait_ms = number == 0 ? request.stop_ms : limits::run_kill_wait_ms;
    const auto deadline = steady_clock::now() + std::chrono::milliseconds(wait_ms);
    if (wait_until(pid, status, deadline, [] { return false; })) return;
  }
}

class PosixProcessRunner final : public ProcessRunner {
 public:
  Result<RunOutcome> run(const RunRequest& request) override {
    assert(!request.argv.empty() && request.limit_ms > 0);
    std::optional<InterruptGuard> guard;
    if (request.obey_signals) guard.emplace();
    Pipe out;
    Pipe err;
    Pipe held;
    if (!out.open() || !err.open()) {
      return fail(Code::internal, std::string("pipe: ") + std::strerror(errno));
    }
    const auto input = open_input(request, held);
    if (!input) return fail(input.error());
    Child child(request.argv, request.environment);
    child.in = *input;
    child.out = out.ends[1];
    child.err = err.ends[1];
    if (request.own_session) child.place = Child::Place::own_session;
    const auto deadline = steady_clock::now() + std::chrono::milliseconds(request.limit_ms);
    const auto pid = start(child);
    ::close(*input);
    out.close_end(1);
    err.close_end(1);
    if (!pid) return fail(pid.error());
    return finish(*pid, out, err, request, deadline);
  }

  Result<AttachOutcome> run_attached(const AttachRequest& request) override {
    assert(!request.argv.empty() && request.stop_ms > 0);
    const InterruptGuard guard;
    Pipe held;
    if (!held.open()) return fail(Code::internal, std::string("pipe: ") + std::strerror(errno));
    Child child(request.argv, request.environment);
    child.in = request.share_terminal ? 0 : held.ends[0];
    child.out = 1;
    child.err = 2;
    child.place = request.share_terminal ? Child::Place::our_group : Child::Place::own_session;
    const auto pid = start(child);
    held.close_end(0);
    if (!pid) return fail(pid.error());

    const auto interrupted = [] { return interrupt_number() != 0; };
    int status = 0;
    if (!wait_until(*pid, status, steady_clock::time_point::max(), interrupted)) {
      held.close_end(1);
      // Over a terminal, Ctrl-C has reached it already; SIGTERM was for us alone.
      if (request.share_terminal && interrupt_number() == SIGTERM) ::kill(*pid, SIGTERM);
      end_within(*pid, status, request);
    }
    AttachOutcome outcome{.interrupted = interrupt_number()};
    if (WIFEXITED(status)) outcome.exit_status = WEXITSTATUS(status);
    return outcome;
  }

  Result<Pid> spawn_detached(const SpawnRequest& request) override {
    assert(!request.argv.empty());
    const int nothing = above_streams(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    const int log =
        above_streams(::open(request.log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640));
    if (nothing < 0 || log < 0) {
      const int number = errno;
      if (nothing >= 0) ::close(nothing);
      return fail(number == ENOSPC ? Code::insufficient_storage : Code::forbidden,
                  "open " + request.log.string() + ": " + std::strerror(number));
    }
    Child child(request.argv, request.environment);
    child.in = nothing;
    child.out = log;
    child.err = log;
    child.place = Child::Place::own_session;
    const auto pid = start(child);
    ::close(nothing);
    ::close(log);
    return pid;
  }

  Result<std::optional<ProcessFacts>> inspect(Pid pid) override {
    if (pid <= 0) return std::optional<ProcessFacts>{};
    return look_at(pid);
  }

  Result<void> signal(Pid pid, int number) override {
    assert(pid > 0);  // 0 and below name groups
    if (::kill(pid, number) == 0) return {};
    const int reason = errno;
    const std::string message =
        "signal process " + std::to_string(pid) + ": " + std::strerror(reason);
    if (reason == ESRCH) return fail(Code::not_found, message);
    return fail(Code::forbidden, message,
                "it is another user's: run this as that user, or as root");
  }
};

}  // namespace

Result<AttachOutcome> ProcessRunner::run_attached(const AttachRequest& request) {
  return fail(Code::internal, request.argv.front() + ": this runner attaches no process");
}

std::unique_ptr<ProcessRunner> make_process_runner() {
  return std::make_unique<PosixProcessRunner>();
}

}  // namespace llorch
