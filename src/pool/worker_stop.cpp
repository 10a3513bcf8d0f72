#include "pool/worker_stop.h"

#include <algorithm>
#include <fmt/format.h>
#include <optional>
#include <signal.h>

#include "base/limits.h"
#include "console/waiting_line.h"

namespace llorch {
namespace {

// Workers on their way out, and what became of each.
class Stopping {
 public:
  Stopping(const PoolContext& context, const std::vector<WorkerRecord>& records)
      : context_(context),
        records_(records),
        outcomes_(records.size()),
        begun_(context.clock.now()),
        line_([&](std::string_view text) { context.draw(std::string(text)); },
              context.messages.interactive) {}

  void ask() {
    for (std::size_t i = 0; i < records_.size(); ++i) {
      if (is_gone(context_.processes, records_[i])) {
        forget(i, StopOutcome::was_gone);
        continue;
      }
      const auto asked = context_.processes.signal(records_[i].pid, SIGTERM);
      if (asked || asked.error().code == Code::not_found) continue;
      Error error = asked.error();
      error.message = records_[i].worker_id + ": " + error.message;
      outcomes_[i] = fail(std::move(error));
    }
  }

  // Until all have ended or `limit_ms` has passed.
  void wait(std::int64_t limit_ms, StopOutcome outcome) {
    const auto start = context_.clock.now();
    for (;;) {
      for (std::size_t i = 0; i < records_.size(); ++i) {
        if (!outcomes_[i] && is_gone(context_.processes, records_[i])) forget(i, outcome);
      }
      if (left() == 0) break;
      if (elapsed_ms(start, context_.clock.now()) >= static_cast<double>(limit_ms)) break;
      show();
      context_.wait(process_poll_ms);
    }
    line_.clear();
  }

  void kill() {
    for (std::size_t i = 0; i < records_.size(); ++i) {
      if (!outcomes_[i]) (void)context_.processes.signal(records_[i].pid, SIGKILL);
    }
  }

  std::vector<Result<StopOutcome>> finish() {
    std::vector<Result<StopOutcome>> all;
    for (std::size_t i = 0; i < records_.size(); ++i) {
      const auto& record = records_[i];
      all.push_back(outcomes_[i].value_or(
          fail(Code::timeout,
               fmt::format("{}: process {} survives SIGKILL", record.worker_id, record.pid),
               "look at it with ps; a driver may hold it")));
    }
    return all;
  }

 private:
  std::size_t left() const {
    return static_cast<std::size_t>(
        std::ranges::count_if(outcomes_, [](const auto& outcome) { return !outcome; }));
  }

  void forget(std::size_t i, StopOutcome outcome) {
    const auto removed = context_.files.remove(worker_file(context_.root, records_[i].worker_id));
    outcomes_[i] = removed ? Result<StopOutcome>(outcome) : fail(removed.error());
  }

  void show() {
    if (elapsed_ms(begun_, context_.clock.now()) < limits::silent_wait_ms) return;
    const std::string text =
        fmt::format("waiting for {} worker{} to finish", left(), left() == 1 ? "" : "s");
    line_.show(text);
    if (!context_.messages.interactive && !std::exchange(said_, true)) context_.say(text);
  }

  const PoolContext& context_;
  const std::vector<WorkerRecord>& records_;
  std::vector<std::optional<Result<StopOutcome>>> outcomes_;
  SteadyTime begun_;
  WaitingLine line_;
  bool said_ = false;
};

}  // namespace

std::vector<Result<StopOutcome>> stop_workers(const PoolContext& context,
                                              const std::vector<WorkerRecord>& records) {
  Stopping stopping(context, records);
  stopping.ask();
  // A worker's own drain limit passes first, when it keeps it.
  const auto drain_ms = context.settings.integer("worker.drain_ms").value_or(30'000);
  stopping.wait(drain_ms + limits::worker_kill_wait_ms, StopOutcome::drained);
  stopping.kill();
  stopping.wait(limits::worker_kill_wait_ms, StopOutcome::killed);
  return stopping.finish();
}

Result<StopOutcome> stop_worker(const PoolContext& context, const WorkerRecord& record) {
  return stop_workers(context, {record}).front();
}

}  // namespace llorch
