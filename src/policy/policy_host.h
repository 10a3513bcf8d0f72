// What a daemon holds: the script of one file in front of the built-in policy. The file is reloaded
// when it changes; a script that does not load changes nothing, whoever brought it.
// Threads: one owner. Lifetime: files and clock outlive it.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"
#include "policy/rhai_policy.h"
#include "sys/file_system.h"

namespace llorch {

struct PolicyHostOptions {
  std::filesystem::path path;  // <root>/orchestration.rhai; the previous one lies beside it
  ScriptLimits limits = {};
  PlacementMode placement = PlacementMode::cost;
};

// What GET /v2/policy tells. Views live until the next call that is not const.
struct PolicyView {
  std::string path;
  bool loaded = false;  // a script is in front of the built-in policy
  std::string_view source;
  HookSet hooks;
  WallTime loaded_at{};
  bool is_resting = false;
  bool has_previous = false;              // rollback() has something to go back to
  std::string_view placement;             // of the built-in policy
  std::optional<Error> load_error;        // of the file as it is now
  std::optional<PolicyFault> last_fault;  // of a call
};

class PolicyHost final : public Policy {
 public:
  PolicyHost(FileSystem& files, const Clock& clock, PolicyHostOptions options);

  // Loads the file. Without one, or with one that does not load, the built-in policy decides.
  void start();
  // Call often: every limits::policy_poll_ms it looks whether the file has changed. A change counts
  // when two looks in a row have seen the same bytes, so never half of a file being written.
  void tick();

  // Whether a script would be taken. Errors: those of RhaiPolicy::load().
  Result<HookSet> validate(std::string_view source) const;
  // Takes a script and writes it to the file; the one it replaces is kept as the previous one.
  // Errors: those of validate(), and of the disk. Then nothing has changed.
  Result<void> deploy(std::string_view source);
  // Back to the previous script; the current one is then the previous. Errors: not_found without
  // one, those of deploy().
  Result<void> rollback();
  PolicyView show() const;
  const PolicyErrorCounts& counts() const { return *counts_; }

  // Never Kind::built_in, and never nullopt.
  Placement schedule_job(const PolicyJob& job, std::span<const PolicyWorker> workers) override;
  Admission should_admit(const PolicyJob& job, std::int64_t queue_depth) override;
  std::optional<bool> should_retry(const PolicyJob& job, std::uint32_t attempt,
                                   const PolicyError& error) override;

 private:
  using File = std::optional<std::string>;  // its bytes; nullopt: there is none

  Result<File> read_file(const std::filesystem::path& path) const;
  Result<File> what_was_before() const;
  Result<std::unique_ptr<RhaiPolicy>> load(std::string_view source) const;
  void take(std::unique_ptr<RhaiPolicy> script, File file);
  void adopt(File file);
  void note_load_error(Error error);
  std::filesystem::path previous_path() const;

  FileSystem& files_;
  const Clock& clock_;
  PolicyHostOptions options_;
  std::shared_ptr<PlacementTurns> turns_ = std::make_shared<PlacementTurns>();
  std::shared_ptr<PolicyErrorCounts> counts_ = std::make_shared<PolicyErrorCounts>();
  BuiltInPolicy built_in_;
  std::unique_ptr<RhaiPolicy> script_;  // null: the built-in policy alone
  std::string source_;                  // of script_
  WallTime loaded_at_{};
  File adopted_;              // the file as it was last acted upon, also when it did not load
  std::optional<File> seen_;  // at the last look, when it differed from adopted_
  std::optional<Error> load_error_;
  SteadyTime next_look_ = SteadyTime::min();
};

}  // namespace llorch
