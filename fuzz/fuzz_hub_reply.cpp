// Whatever a hub says of a repository, its commit is safe in URLs and paths, and a choice among its
// files ends.
#include <algorithm>

#include "fakes/pool_world.h"
#include "fuzz.h"
#include "pool/hub.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace llorch;
  static PoolWorld world;
  const std::string url = hub_endpoint(world.context) + "/api/models/o/r/revision/main?blobs=true";
  world.http.pages[url] = {{.body = std::string(fuzz::text_of(bytes, size))}};
  world.http.requests.clear();
  const auto repository = ask_hub(world.context, "o/r", "main", false);
  fuzz::tried(repository);
  if (!repository) return 0;
  const auto hexadecimal = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  fuzz::require(repository->commit == "main" ||
                std::ranges::all_of(repository->commit, hexadecimal));
  fuzz::tried(choose_files(*repository, {.repo = "o/r"}, 1'000'000'000));
  for (const auto& file : repository->files) {
    fuzz::require(hub_file_url(world.context, *repository, file.name).find_first_of("?#\r\n ") ==
                  std::string::npos);
  }
  return 0;
}
