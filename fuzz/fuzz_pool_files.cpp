// What stands in a pool's catalog or in a worker's file is refused, or stays the same when it is
// written again.
#include <boost/json.hpp>
#include <fstream>

#include "fakes/pool_world.h"
#include "fuzz.h"
#include "pool/catalog.h"
#include "pool/worker_files.h"

namespace {

using namespace llorch;

void put(const std::filesystem::path& path, std::string_view text) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

boost::json::array entries_of(const Catalog& catalog) {
  boost::json::array entries;
  for (const auto& entry : catalog.models) entries.push_back(to_json(entry));
  return entries;
}

void read_as_catalog(PoolWorld& world, std::string_view text) {
  const auto& root = world.context.root;
  put(root.catalog(), text);
  const auto once = read_catalog(world.files, root);
  fuzz::tried(once);
  if (!once) return;
  const auto changed = update_catalog(world.files, root, [](Catalog&) { return Result<void>(); });
  const auto again = read_catalog(world.files, root);
  fuzz::require(changed && again && entries_of(*again) == entries_of(*once));
}

void read_as_worker(PoolWorld& world, std::string_view text) {
  const auto path = worker_file(world.context.root, "worker-cpu-a1b2c3");
  put(path, text);
  const auto once = read_worker_file(world.files, path);
  fuzz::tried(once);
  if (!once || once->worker_id.size() > 200) return;  // a longer one is no file name
  fuzz::require(write_worker_file(world.context, *once).has_value());
  const auto written = worker_file(world.context.root, once->worker_id);
  const auto again = read_worker_file(world.files, written);
  fuzz::require(again && to_json(*again) == to_json(*once));
  std::filesystem::remove(written);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  static PoolWorld world;
  const auto text = fuzz::text_of(bytes, size);
  read_as_catalog(world, text);
  read_as_worker(world, text);
  return 0;
}
