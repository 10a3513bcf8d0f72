#include "pool/doctor.h"

#include <fmt/format.h>

#include "base/limits.h"
#include "base/version.h"
#include "pool/backends.h"
#include "pool/catalog.h"
#include "pool/text.h"

namespace llorch {
namespace {

using State = Finding::State;

constexpr std::int64_t version_ms_max = 5'000;
constexpr std::uint64_t files_wanted = 4'096;               // a few thousand streams
constexpr std::uint64_t disk_wanted_bytes = 5'000'000'000;  // one 7B model in Q4

Finding check_root(const PoolContext& context) {
  const std::string path = context.root.path.string();
  const auto made = context.files.make_directories(context.root.runtime());
  const auto probe = context.root.runtime() / ".doctor";
  const auto written = made ? context.files.write_atomic(probe, "") : made;
  (void)context.files.remove(probe);
  if (written) return {"root", State::ok, path, ""};
  return {"root", State::fail, written.error().message, "set LLORCH_ROOT to a folder of yours"};
}

Finding check_catalog(const PoolContext& context) {
  const auto catalog = read_catalog(context.files, context.root);
  if (!catalog) return {"catalog", State::fail, catalog.error().message, catalog.error().next};
  std::size_t downloaded = 0;
  for (const auto& entry : catalog->models) downloaded += entry.downloaded ? 1 : 0;
  const auto detail = fmt::format("{} models, {} downloaded", catalog->models.size(), downloaded);
  if (downloaded > 0) return {"catalog", State::ok, detail, ""};
  return {"catalog", State::warn, detail, "llorch-pool models download smollm2"};
}

Finding check_disk(const PoolContext& context) {
  const auto free = context.files.free_bytes(context.root.path);
  if (!free) return {"disk", State::warn, free.error().message, "check the disk"};
  const auto detail = human_bytes(*free) + " free";
  if (*free >= disk_wanted_bytes) return {"disk", State::ok, detail, ""};
  return {"disk", *free < 200'000'000 ? State::fail : State::warn, detail,
          "free some space, or set LLORCH_ROOT to a larger disk"};
}

Finding check_files(const PoolContext& context) {
  const auto detail = fmt::format("{} open files", context.host.open_files_max);
  if (context.host.open_files_max >= files_wanted) return {"limits", State::ok, detail, ""};
  return {"limits", State::warn, detail, fmt::format("ulimit -n {}", files_wanted)};
}

Finding check_memory(const PoolContext& context) {
  const auto available = context.host.memory_available_bytes;
  const auto detail =
      human_bytes(available) + " of " + human_bytes(context.host.memory_total_bytes) + " available";
  if (available >= 1'000'000'000) return {"memory", State::ok, detail, ""};
  return {"memory", State::warn, detail, "close other programs"};
}

Finding check_ports(const PoolContext&) {
  std::string taken;
  for (const std::uint16_t port : {8001, 8080}) {
    if (!check_port("127.0.0.1", port)) taken += (taken.empty() ? "" : ", ") + std::to_string(port);
  }
  if (taken.empty()) return {"ports", State::ok, "8001 and 8080 are free", ""};
  return {"ports", State::warn, taken + " taken (by a worker, perhaps)",
          "llorch-pool worker list; else choose other ports"};
}

Finding check_gpu(const std::vector<Backend>& backends, const BackendEvidence& evidence) {
  for (const auto& backend : backends) {
    if (backend.name != "cpu" && backend.available) {
      return {"gpu", State::ok, backend.name + ": " + backend.reason, ""};
    }
  }
  if (!evidence.nvidia_failure.empty()) {
    return {"gpu", State::warn, evidence.nvidia_failure, "check the NVIDIA driver"};
  }
  if (!evidence.nvidia.empty()) {
    return {"gpu", State::warn, "an NVIDIA GPU, and llorch-candled cannot use it",
            "build with -DLLORCH_CUDA=ON"};
  }
  return {"gpu", State::ok, "none; the CPU serves", ""};
}

// A program's first line of output, or why there is none.
Finding check_program(const PoolContext& context, const std::string& check,
                      std::vector<std::string> argv, State absent, const std::string& fix) {
  const std::string name = argv.front();
  const auto outcome = context.processes.run({.argv = std::move(argv), .limit_ms = version_ms_max});
  if (!outcome) return {check, absent, outcome.error().message, fix};
  if (outcome->timed_out) return {check, absent, name + ": no answer within 5 s", fix};
  const auto line = first_line(outcome->out.empty() ? outcome->err : outcome->out);
  if (outcome->exit_status != 0) return {check, absent, line, fix};
  // "pip 23.2 from /a/long/path (python 3.11)": the path would not fit the table.
  return {check, State::ok, line.substr(0, line.find(" from ")), ""};
}

Finding check_version(const PoolContext& context) {
  const auto worker = (context.program_folder / "llorch-candled").string();
  auto finding = check_program(context, "versions", {worker, "--version"}, State::fail,
                               "build llorch-candled beside llorch-pool");
  if (finding.state == State::ok && !finding.detail.contains(version())) {
    finding.state = State::warn;
    finding.detail += ", llorch-pool is " + std::string(version());
    finding.fix = "install both from one build";
  }
  return finding;
}

}  // namespace

std::vector<Finding> examine(const PoolContext& context) {
  const auto evidence = gather_backends(context);
  const auto backends = join_backends(evidence, context.host);
  return {check_files(context),
          check_memory(context),
          check_disk(context),
          check_root(context),
          check_catalog(context),
          check_ports(context),
          check_gpu(backends, evidence),
          check_program(context, "ssh", {"ssh", "-V"}, State::warn,
                        "install an OpenSSH client to reach other hosts"),
          check_program(context, "python", {"python3", "-m", "pip", "--version"}, State::warn,
                        "install python3-pip: models download falls back on it"),
          check_version(context)};
}

}  // namespace llorch
