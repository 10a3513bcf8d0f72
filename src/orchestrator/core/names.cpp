#include "orchestrator/core/job.h"
#include "orchestrator/core/worker.h"

namespace llorch {

std::string_view wire_name(JobStatus status) {
  switch (status) {
    case JobStatus::queued:
      return "queued";
    case JobStatus::dispatched:
      return "dispatched";
    case JobStatus::running:
      return "running";
    case JobStatus::completed:
      return "completed";
    case JobStatus::failed:
      return "failed";
    case JobStatus::cancelled:
      return "cancelled";
  }
  return "failed";
}

std::string_view wire_name(WorkerStatus status) {
  switch (status) {
    case WorkerStatus::healthy:
      return "healthy";
    case WorkerStatus::unhealthy:
      return "unhealthy";
    case WorkerStatus::dead:
      return "dead";
  }
  return "dead";
}

std::string_view policy_kind(Failure failure) {
  switch (failure) {
    case Failure::unreachable:
      return "unreachable";
    case Failure::worker_lost:
      return "worker_lost";
    case Failure::stalled:
      return "timeout";
    case Failure::overloaded:
    case Failure::draining:
      return "overloaded";
    case Failure::backend:
      return "backend";
    case Failure::internal:
      return "internal";
  }
  return "internal";
}

}  // namespace llorch
