// What can go wrong outside the program, as values: Code, Error and Result<T>.
// Program errors are assertions instead. Threads: any. One table maps a Code to its wire name,
// HTTP status and exit code, so that no two places can disagree.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace llorch {

// Error codes. On the wire they are upper case (wire_name). The last three never leave a process:
// the edge that talks to a client turns them into one of the others.
enum class Code {
  invalid_request,
  unauthorized,
  forbidden,
  not_found,
  job_not_found,
  model_not_found,
  conflict,
  too_large,
  context_length_exceeded,
  queue_full,
  quota_exceeded,
  policy_rejected,
  no_worker,
  worker_lost,
  worker_timeout,
  queue_timeout,
  deadline_unmet,
  draining,
  model_load_failed,
  insufficient_memory,
  backend_error,
  cancelled,
  internal,
  unreachable,           // a peer refused, reset or could not be resolved
  timeout,               // a deadline of ours passed
  insufficient_storage,  // the disk is full
};

// One broken rule of a request; a 400 lists all of them. `value` never holds prompt text.
struct Violation {
  std::string field;
  std::string constraint;
  std::string message;
  std::optional<std::string> value = std::nullopt;
  bool operator==(const Violation&) const = default;
};

struct Error {
  Code code = Code::internal;
  std::string message;
  std::optional<std::int64_t> retry_after_ms = std::nullopt;
  std::vector<Violation> violations = {};
  std::string next = {};  // what a person can do next: a command or an action, may be empty
};

template <class T>
using Result = std::expected<T, Error>;

inline std::unexpected<Error> fail(Code code, std::string message, std::string next = {}) {
  return std::unexpected(
      Error{.code = code, .message = std::move(message), .next = std::move(next)});
}
inline std::unexpected<Error> fail(Error error) {
  return std::unexpected(std::move(error));
}
// A refusal of one field of a request; its violation says the same.
inline std::unexpected<Error> fail_field(Violation violation, std::string next = {}) {
  std::string message = violation.message;
  return std::unexpected(Error{.code = Code::invalid_request,
                               .message = std::move(message),
                               .violations = {std::move(violation)},
                               .next = std::move(next)});
}

// "JOB_NOT_FOUND" for Code::job_not_found.
std::string_view wire_name(Code code);
// The code of a wire name; nullopt for a name this version does not know.
std::optional<Code> code_from_wire(std::string_view name);
// 400, 401, 403, 404, 409, 413, 429, 499, 500, 503, 504 or 507.
unsigned http_status(Code code);
// Whether the same request may succeed later without being changed.
bool is_retriable(Code code);

// Exit codes of every program.
enum ExitCode : int {
  exit_ok = 0,
  exit_failure = 1,
  exit_usage = 2,
  exit_not_found = 3,
  exit_denied = 4,
  exit_conflict = 5,
  exit_unreachable = 6,
  exit_timeout = 7,
  exit_partly_done = 8,
  exit_no_room = 9,
  exit_interrupted = 130,
  exit_terminated = 143,
};
ExitCode exit_code(Code code);

}  // namespace llorch
