#include "pool/kv_purge.h"

namespace llorch {
namespace {

constexpr int depth_max = 4;  // model / layout / file

Result<void> purge_below(const PoolContext& context, const std::filesystem::path& folder, int depth,
                         Purged& purged) {
  const auto names = context.files.list(folder);
  if (!names) return {};  // nothing was ever kept
  for (const auto& name : *names) {
    const auto path = folder / name;
    const auto found = context.files.stat(path);
    const bool is_folder = found && found->kind == FileStat::Kind::directory;
    if (is_folder && depth < depth_max) {
      if (const auto inner = purge_below(context, path, depth + 1, purged); !inner) return inner;
    }
    if (const auto removed = context.files.remove(path); !removed) return removed;
    if (is_folder || !found) continue;
    purged.files += 1;
    purged.bytes += found->size_bytes;
  }
  return {};
}

}  // namespace

Result<Purged> purge_kv_cache(const PoolContext& context) {
  Purged purged;
  const auto done = purge_below(context, context.root.kv_cache(), 0, purged);
  if (!done) return fail(done.error());
  return purged;
}

}  // namespace llorch
