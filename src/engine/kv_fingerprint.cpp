#include "engine/kv_fingerprint.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/crc32c.h"
#include "base/limits.h"
#include "engine/llama_engine.h"
#include "engine/loaded_model.h"
#include "engine/model_files.h"

namespace llorch {

Result<std::string> sample_file(FileSystem& files, const std::filesystem::path& path) {
  constexpr std::uint64_t samples = 256;
  constexpr std::uint64_t sample_bytes = 4 * limits::kib;
  const auto facts = files.stat(path);
  if (!facts) return fail(facts.error());
  const auto file = files.open(path);
  if (!file) return fail(file.error());
  const std::uint64_t size = (*file)->size_bytes();
  const std::uint64_t stride = std::max(sample_bytes, size / samples);
  std::string sample(sample_bytes, '\0');
  // Two sums, of the even and the odd samples: 64 bits together.
  std::uint32_t sums[2] = {};
  std::uint64_t number = 0;
  for (std::uint64_t at = 0; at < size; at += stride, ++number) {
    const auto got = (*file)->read_at(at, std::as_writable_bytes(std::span(sample)));
    if (!got) return fail(got.error());
    auto& sum = sums[number % 2];
    sum = crc32c(std::string_view(sample).substr(0, *got), sum);
  }
  return fmt::format("{}:{}:{:08x}{:08x}", size, facts->modified_ns, sums[0], sums[1]);
}

Result<std::string> kv_fingerprint(FileSystem& files, const EngineOptions& options,
                                   const LoadedModel& loaded) {
  std::string weights;
  for (std::uint32_t part = 1; part <= loaded.file_parts; ++part) {
    const auto sampled = sample_file(
        files, part == 1 ? std::filesystem::path(options.model_path)
                         : model_part_path(options.model_path, part, loaded.file_parts));
    if (!sampled) return sampled;
    weights += (part == 1 ? "" : ",") + *sampled;
  }
  const auto& card = loaded.card;
  // Slots: a state says of how many streams its context was, and another number is refused.
  return fmt::format(
      "weights={} backend={} layout={} slots={} flash_attention={} kv_type={} context={} "
      "llama.cpp={}",
      weights, card.backend, card.layout, card.slots_total, card.flash_attention,
      options.kv_type.empty() ? "f16" : options.kv_type, card.context_tokens, LLORCH_LLAMA_SOURCE);
}

}  // namespace llorch
