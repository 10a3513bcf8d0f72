// Any llorch.toml is read or refused with its name.
#include "base/settings.h"
#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace llorch;
  Settings settings;
  const auto read = read_settings_text(fuzz::text_of(bytes, size), "f.toml", settings);
  fuzz::require(read || read.error().message.starts_with("settings: f.toml"));
  return 0;
}
