// Any bytes: the header check and the memory estimate must neither crash nor hang nor allocate
// what a false count claims.
#include <cstddef>
#include <cstdint>
#include <span>

#include "fuzz.h"
#include "gguf/memory_estimate.h"
#include "gguf/model_shape.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  llorch::SpanSource source(std::as_bytes(std::span(bytes, size)));
  const auto header = llorch::read_gguf_header(source);
  if (!header) return 0;
  const auto shape = llorch::check_model(*header);
  if (!shape) return 0;
  const auto estimate = llorch::estimate_memory(*shape, {});
  llorch::fuzz::require(!estimate || estimate->total_bytes >= estimate->weights_bytes);
  return 0;
}
