// What the routes of a worker share: its phase, its engine, its jobs, its figures.
// Threads: the io thread; nothing here waits for the engine. Lifetime: outlives the sessions.
#pragma once

#include <boost/asio/thread_pool.hpp>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "base/clock.h"
#include "base/result.h"
#include "engine/engine.h"
#include "protocol/metrics_text.h"
#include "protocol/worker_api.h"
#include "worker/cache_record.h"
#include "worker/job_table.h"
#include "worker/options.h"

namespace llorch {

enum class JobOutcome { completed, cancelled, failed, rejected };

class Service {
 public:
  enum class Phase { loading, serving, draining };

  Service(const WorkerOptions& options, const Clock& clock);
  ~Service();  // ends the engine, and with it every job

  void loading(double progress) { progress_ = progress; }
  void loaded(std::unique_ptr<Engine> engine);
  void drain() { phase_ = Phase::draining; }
  Phase phase() const { return phase_; }
  // What POST /shutdown does.
  void on_shutdown(std::function<void()> shutdown) { shutdown_ = std::move(shutdown); }
  void request_shutdown() const { shutdown_(); }

  // The engine, for new work. Errors: draining (503) while loading or draining.
  Result<Engine*> accepting() const;
  // Once loaded, draining or not; null before.
  const ModelCard* card() const { return engine_ ? &engine_->card() : nullptr; }

  // Fresh figures of the engine: a snapshot under its lock, never a wait for a step.
  EngineLoad load() const;
  // The same, up to 100 ms old: for what is asked by every stream.
  const EngineLoad& recent_load();

  Health health() const;
  Readiness readiness() const;
  std::string metrics() const;
  void count(JobOutcome outcome, double duration_ms);
  // An engine that fails three jobs in a row is unhealthy until one succeeds. To be told of these
  // two ends only: a refusal or a cancel says nothing of the engine.
  void note_backend(bool failed) { backend_failures_ = failed ? backend_failures_ + 1 : 0; }

  const WorkerOptions& options() const { return options_; }
  const Clock& clock() const { return clock_; }
  WallTime started_wall() const { return started_wall_; }
  JobTable& jobs() { return jobs_; }
  CacheRecord& cache() { return cache_; }
  boost::asio::thread_pool& decoder() { return decoder_; }  // for large bodies

  // One of a bounded number of requests of a kind, for as long as it lives.
  class Place {
   public:
    explicit Place(std::size_t& count) : count_(&count) { ++count; }
    Place(Place&& other) noexcept : count_(std::exchange(other.count_, nullptr)) {}
    Place& operator=(Place&&) = delete;
    ~Place() {
      if (count_) --*count_;
    }

   private:
    std::size_t* count_;
  };
  // Requests that have no slot (embeddings, tokens), since each may hold a large body; and large
  // bodies that wait for the decoder. Errors: queue_full.
  Result<Place> admit_side();
  Result<Place> admit_decode();
  bool busy() const { return jobs_.live() + side_ > 0; }

 private:
  const WorkerOptions& options_;
  const Clock& clock_;
  SteadyTime started_;
  WallTime started_wall_;
  Phase phase_ = Phase::loading;
  double progress_ = 0;
  JobTable jobs_;
  CacheRecord cache_;
  std::size_t side_ = 0;
  std::size_t decoding_ = 0;
  std::map<JobOutcome, std::uint64_t> outcomes_;
  Histogram duration_ms_{duration_bounds_ms()};
  int backend_failures_ = 0;
  std::function<void()> shutdown_;
  EngineLoad recent_;
  SteadyTime recent_at_;
  boost::asio::thread_pool decoder_{1};
  std::unique_ptr<Engine> engine_;
};

std::string_view wire_name(JobOutcome outcome);

}  // namespace llorch
