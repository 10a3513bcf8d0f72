#include "base/result.h"

#include <array>
#include <cassert>

namespace llorch {
namespace {

struct Row {
  Code code;
  std::string_view wire;
  unsigned http;
  bool retriable;
  ExitCode exit;
};

constexpr std::array code_table = {
    Row{Code::invalid_request, "INVALID_REQUEST", 400, false, exit_usage},
    Row{Code::unauthorized, "UNAUTHORIZED", 401, false, exit_denied},
    Row{Code::forbidden, "FORBIDDEN", 403, false, exit_denied},
    Row{Code::not_found, "NOT_FOUND", 404, false, exit_not_found},
    Row{Code::job_not_found, "JOB_NOT_FOUND", 404, false, exit_not_found},
    Row{Code::model_not_found, "MODEL_NOT_FOUND", 404, false, exit_not_found},
    Row{Code::conflict, "CONFLICT", 409, false, exit_conflict},
    Row{Code::too_large, "TOO_LARGE", 413, false, exit_failure},
    Row{Code::context_length_exceeded, "CONTEXT_LENGTH_EXCEEDED", 400, false, exit_failure},
    Row{Code::queue_full, "QUEUE_FULL", 429, true, exit_failure},
    Row{Code::quota_exceeded, "QUOTA_EXCEEDED", 429, true, exit_failure},
    Row{Code::policy_rejected, "POLICY_REJECTED", 403, false, exit_denied},
    Row{Code::no_worker, "NO_WORKER", 503, true, exit_unreachable},
    Row{Code::worker_lost, "WORKER_LOST", 503, true, exit_unreachable},
    Row{Code::worker_timeout, "WORKER_TIMEOUT", 504, true, exit_timeout},
    Row{Code::queue_timeout, "QUEUE_TIMEOUT", 504, true, exit_timeout},
    Row{Code::deadline_unmet, "DEADLINE_UNMET", 504, true, exit_timeout},
    Row{Code::draining, "DRAINING", 503, true, exit_unreachable},
    Row{Code::model_load_failed, "MODEL_LOAD_FAILED", 500, false, exit_failure},
    Row{Code::insufficient_memory, "INSUFFICIENT_MEMORY", 507, false, exit_no_room},
    Row{Code::backend_error, "BACKEND_ERROR", 500, true, exit_failure},
    Row{Code::cancelled, "CANCELLED", 499, false, exit_interrupted},
    Row{Code::internal, "INTERNAL", 500, true, exit_failure},
    Row{Code::unreachable, "UNREACHABLE", 503, true, exit_unreachable},
    Row{Code::timeout, "TIMEOUT", 504, true, exit_timeout},
    Row{Code::insufficient_storage, "INSUFFICIENT_STORAGE", 507, false, exit_no_room},
};

const Row& row(Code code) {
  const auto& found = code_table.at(static_cast<std::size_t>(code));
  assert(found.code == code);
  return found;
}

}  // namespace

std::string_view wire_name(Code code) {
  return row(code).wire;
}
unsigned http_status(Code code) {
  return row(code).http;
}
bool is_retriable(Code code) {
  return row(code).retriable;
}
ExitCode exit_code(Code code) {
  return row(code).exit;
}

std::optional<Code> code_from_wire(std::string_view name) {
  for (const auto& entry : code_table) {
    if (entry.wire == name) return entry.code;
  }
  return std::nullopt;
}

}  // namespace llorch
