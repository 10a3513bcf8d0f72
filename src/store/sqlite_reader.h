// The reads of the store in SQL. Threads: one. Lifetime: outlives what is read through it.
#pragma once

#include "store/database.h"
#include "store/store.h"

namespace llorch {

class SqliteReader final : public StoreReader {
 public:
  explicit SqliteReader(Database database) : database_(std::move(database)) {}

  // Runs `task` on one consistent view and within limits::store_read_ms_max.
  void run(const Store::Read& task);

  Result<std::vector<StoredWorker>> workers() override;
  Result<std::vector<StoredKey>> keys() override;
  Result<std::optional<StoredJob>> job(const JobId& job_id) override;
  Result<std::optional<StoredJob>> job_of_key(std::string_view tenant,
                                              std::string_view idempotency_key) override;
  Result<std::vector<StoredJob>> jobs(const JobFilter& filter) override;
  Result<std::vector<StoredUsage>> usage(std::int64_t since_ms) override;
  Result<std::vector<StoredCharge>> charges(std::int64_t since_ms) override;
  Result<std::vector<StoredJob>> open_jobs() override;
  Result<std::vector<StoredDecision>> decisions(const JobId& job_id) override;
  Result<DecisionSpan> newest_decisions(std::int64_t since_ms, std::int64_t count_max) override;
  Result<std::vector<DecisionRow>> decisions_from(std::int64_t row,
                                                  std::int64_t count_max) override;
  Result<std::optional<std::string>> frames(const JobId& job_id) override;

 private:
  Result<std::vector<StoredJob>> jobs_of(std::string_view sql, Database::Values values);
  Result<std::optional<StoredJob>> one_job(std::string_view sql, Database::Values values);

  Database database_;
};

}  // namespace llorch
