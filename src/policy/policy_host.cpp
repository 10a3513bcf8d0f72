#include "policy/policy_host.h"

#include <utility>

#include "base/log.h"

namespace llorch {

PolicyHost::PolicyHost(FileSystem& files, const Clock& clock, PolicyHostOptions options)
    : files_(files),
      clock_(clock),
      options_(std::move(options)),
      built_in_(options_.placement, turns_) {}

void PolicyHost::start() {
  next_look_ = clock_.now() + std::chrono::milliseconds(limits::policy_poll_ms);
  auto file = read_file(options_.path);
  if (!file) return note_load_error(std::move(file.error()));
  adopt(std::move(*file));
}

void PolicyHost::tick() {
  if (clock_.now() < next_look_) return;
  next_look_ = clock_.now() + std::chrono::milliseconds(limits::policy_poll_ms);
  auto file = read_file(options_.path);
  if (!file) {
    seen_.reset();
    // Told once, not at every look.
    if (!load_error_ || load_error_->message != file.error().message) {
      note_load_error(std::move(file.error()));
    }
    return;
  }
  if (*file == adopted_) {
    seen_.reset();
    return;
  }
  if (seen_ && *seen_ == *file) {
    seen_.reset();
    return adopt(std::move(*file));
  }
  seen_ = std::move(*file);
}

Result<HookSet> PolicyHost::validate(std::string_view source) const {
  const auto script = load(source);
  if (!script) return fail(script.error());
  return (*script)->hooks();
}

Result<void> PolicyHost::deploy(std::string_view source) {
  auto script = load(source);
  if (!script) return fail(script.error());
  const auto before = what_was_before();
  if (!before) return fail(before.error());
  if (options_.path.has_parent_path()) {
    if (auto made = files_.make_directories(options_.path.parent_path()); !made) return made;
  }
  if (const File& kept = *before; kept && *kept != source) {
    if (auto written = files_.write_atomic(previous_path(), *kept); !written) return written;
  }
  if (auto written = files_.write_atomic(options_.path, source); !written) return written;
  take(std::move(*script), std::string(source));
  return {};
}

Result<void> PolicyHost::rollback() {
  const auto previous = read_file(previous_path());
  if (!previous) return fail(previous.error());
  const File& source = *previous;
  if (!source) {
    return fail(Code::not_found, "there is no previous policy at " + previous_path().string(),
                "llorch policy deploy FILE");
  }
  return deploy(*source);
}

PolicyView PolicyHost::show() const {
  PolicyView view{.path = options_.path.string(),
                  .loaded = script_ != nullptr,
                  .source = source_,
                  .loaded_at = loaded_at_,
                  .has_previous = files_.exists(previous_path()),
                  .placement = wire_name(options_.placement),
                  .load_error = load_error_};
  if (script_) {
    view.hooks = script_->hooks();
    view.is_resting = script_->is_resting();
    view.last_fault = script_->last_fault();
  }
  return view;
}

Placement PolicyHost::schedule_job(const PolicyJob& job, std::span<const PolicyWorker> workers) {
  if (script_) {
    auto placement = script_->schedule_job(job, workers);
    if (placement.kind != Placement::Kind::built_in) return placement;
  }
  return built_in_.schedule_job(job, workers);
}

Admission PolicyHost::should_admit(const PolicyJob& job, std::int64_t queue_depth) {
  if (script_) {
    auto admission = script_->should_admit(job, queue_depth);
    if (admission.kind != Admission::Kind::built_in) return admission;
  }
  return built_in_.should_admit(job, queue_depth);
}

std::optional<bool> PolicyHost::should_retry(const PolicyJob& job, std::uint32_t attempt,
                                             const PolicyError& error) {
  if (script_) {
    if (const auto again = script_->should_retry(job, attempt, error)) return again;
  }
  return built_in_.should_retry(job, attempt, error);
}

Result<PolicyHost::File> PolicyHost::read_file(const std::filesystem::path& path) const {
  auto bytes = files_.read(path, limits::policy_source_bytes_max);
  if (bytes) return File(std::move(*bytes));
  if (bytes.error().code == Code::not_found) return File();
  return fail(std::move(bytes.error()));
}

// What a deploy replaces: the script that decides, even where somebody has broken its file since.
Result<PolicyHost::File> PolicyHost::what_was_before() const {
  if (script_) return File(source_);
  auto file = read_file(options_.path);
  if (!file && file.error().code == Code::too_large) return File();  // never a script of ours
  return file;
}

Result<std::unique_ptr<RhaiPolicy>> PolicyHost::load(std::string_view source) const {
  return RhaiPolicy::load(source, clock_,
                          {.name = options_.path.filename().string(),
                           .limits = options_.limits,
                           .turns = turns_,
                           .counts = counts_});
}

void PolicyHost::take(std::unique_ptr<RhaiPolicy> script, File file) {
  script_ = std::move(script);
  source_ = file.value_or("");
  adopted_ = std::move(file);
  seen_.reset();
  load_error_.reset();
  loaded_at_ = clock_.wall();
  log_event(LogLevel::info, "policy", "policy_loaded",
            {{"path", std::string_view(options_.path.native())},
             {"built_in_only", script_ == nullptr},
             {"bytes", static_cast<std::int64_t>(source_.size())}});
}

// The file as it is counts from now on; one that does not load leaves the script as it was.
void PolicyHost::adopt(File file) {
  if (!file) {
    if (script_) take(nullptr, std::nullopt);
    adopted_.reset();
    load_error_.reset();
    return;
  }
  auto script = load(*file);
  if (script) return take(std::move(*script), std::move(file));
  adopted_ = std::move(file);
  note_load_error(std::move(script.error()));
}

void PolicyHost::note_load_error(Error error) {
  if (!error.violations.empty()) counts_->add(PolicyErrorKind::syntax);
  log_event(LogLevel::error, "policy", "policy_not_loaded",
            {{"path", std::string_view(options_.path.native())},
             {"message", std::string_view(error.message)},
             {"built_in_only", script_ == nullptr}});
  load_error_ = std::move(error);
}

std::filesystem::path PolicyHost::previous_path() const {
  return options_.path.string() + ".previous";
}

}  // namespace llorch
