#include "pool/remove_tree.h"

#include "protocol/kv_file.h"

namespace llorch {
namespace {

constexpr int depth_max = 16;  // model / layout / file, or what pip unpacks

Result<void> remove_below(FileSystem& files, const std::filesystem::path& folder, int depth,
                          Removed& removed) {
  const auto names = files.list(folder);
  if (!names) return fail(names.error());
  for (const auto& name : *names) {
    const auto path = folder / name;
    const auto found = files.stat_link(path);
    if (!found) continue;  // its owner was quicker
    const bool is_folder = found->kind == FileStat::Kind::directory;
    if (is_folder && depth < depth_max) {
      if (const auto inner = remove_below(files, path, depth + 1, removed); !inner) return inner;
    }
    if (const auto gone = files.remove(path); !gone) return gone;
    if (is_folder) continue;
    removed.files += 1;
    removed.bytes += found->size_bytes;
  }
  return {};
}

}  // namespace

Result<Removed> remove_below(FileSystem& files, const std::filesystem::path& folder) {
  Removed removed;
  const auto found = files.stat_link(folder);
  if (!found && found.error().code == Code::not_found) return removed;
  if (!found) return fail(found.error());
  if (found->kind == FileStat::Kind::link) {
    return fail(Code::invalid_request, folder.string() + ": is a link, and links are not followed",
                "delete what it leads to yourself");
  }
  const auto done = remove_below(files, folder, 0, removed);
  if (!done) return fail(done.error());
  return removed;
}

Result<Removed> remove_kv_files(FileSystem& files, const std::filesystem::path& folder) {
  Removed removed;
  const auto names = files.list(folder);
  if (!names && names.error().code == Code::not_found) return removed;
  if (!names) return fail(names.error());
  for (const auto& name : *names) {
    if (!is_kv_file_name(name) && !is_kv_temporary_name(name)) continue;
    const auto found = files.stat_link(folder / name);
    if (!found || found->kind == FileStat::Kind::directory) continue;
    if (const auto gone = files.remove(folder / name); !gone) return fail(gone.error());
    removed.files += 1;
    removed.bytes += found->size_bytes;
  }
  return removed;
}

}  // namespace llorch
