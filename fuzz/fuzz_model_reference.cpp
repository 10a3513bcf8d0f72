// No model reference, file name or URL of a hub leads out of its folder or to another origin.
#include <filesystem>

#include "fuzz.h"
#include "pool/catalog.h"
#include "pool/http.h"
#include "pool/model_reference.h"

namespace {

bool stays_inside(const std::string& path) {
  const std::filesystem::path relative(path);
  for (const auto& part : relative) {
    if (part == "..") return false;
  }
  return !relative.is_absolute();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace llorch;
  const auto text = fuzz::text_of(bytes, size);
  fuzz::require(is_model_id(default_model_id(text)));
  const auto split = parse_split_name(text);
  if (split.count > 0) fuzz::require(split_part_name(split, split.number) == text);
  (void)quantization_of(text);
  // A secret goes only where origins are equal: one must not depend on the path.
  const auto origin = origin_of(text);
  fuzz::require(!origin.contains("://") || origin_of(origin) == origin);
  const auto parsed = parse_model_reference(text);
  fuzz::tried(parsed);
  if (!parsed) return 0;
  if (const auto* hub = std::get_if<HubReference>(&*parsed)) {
    fuzz::require(stays_inside(hub->repo) && stays_inside(hub->file) &&
                  stays_inside(hub->revision));
    fuzz::require(hub->repo.find_first_of("?#%:@ ") == std::string::npos);
  }
  return 0;
}
