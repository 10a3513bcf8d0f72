#include "pool/root.h"

#include "sys/host.h"

namespace llorch {
namespace {

namespace fs = std::filesystem;

// The nearest folder above a program that looks like our source tree; empty when there is none.
fs::path checkout_above(FileSystem& files, fs::path folder) {
  constexpr int levels_max = 6;  // build/<preset>/bin is three deep
  for (int level = 0; level < levels_max && folder.has_relative_path(); ++level) {
    if (files.exists(folder / "CMakeLists.txt") && files.exists(folder / "src")) return folder;
    folder = folder.parent_path();
  }
  return {};
}

}  // namespace

Root find_root(FileSystem& files, const RootSources& sources) {
  if (sources.variable) return {fs::absolute(*sources.variable).lexically_normal()};
  const fs::path checkout = checkout_above(files, sources.program_folder);
  const bool used = !checkout.empty() && (files.exists(checkout / ".runtime") ||
                                          files.exists(checkout / ".test-models"));
  if (used) return {checkout};
  if (sources.service || !sources.home) return {"/var/lib/llorch"};
  return {fs::path(*sources.home) / ".llorch"};
}

Root find_root(FileSystem& files) {
  RootSources sources;
  sources.variable = environment_value("LLORCH_ROOT");
  sources.program_folder = program_folder();
  sources.home = environment_value("HOME");
  // systemd names the state folder of a unit with StateDirectory=.
  sources.service = environment_value("STATE_DIRECTORY") == "/var/lib/llorch";
  return find_root(files, sources);
}

}  // namespace llorch
