// A small context of ggml for a test of one operation. Threads: one.
#pragma once

#include <ggml.h>
#include <memory>

namespace llorch {

struct FreeGgmlContext {
  void operator()(ggml_context* context) const { ggml_free(context); }
};

inline std::unique_ptr<ggml_context, FreeGgmlContext> ggml_scratch() {
  return std::unique_ptr<ggml_context, FreeGgmlContext>(
      ggml_init({.mem_size = std::size_t{64} << 20, .mem_buffer = nullptr, .no_alloc = false}));
}

}  // namespace llorch
