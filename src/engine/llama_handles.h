// Owning pointers for llama.cpp's objects.
#pragma once

#include <ggml-cpu.h>
#include <llama.h>
#include <memory>

namespace llorch {

template <auto Free>
struct LlamaDeleter {
  template <class T>
  void operator()(T* object) const {
    Free(object);
  }
};

using ModelHandle = std::unique_ptr<llama_model, LlamaDeleter<llama_model_free>>;
using ContextHandle = std::unique_ptr<llama_context, LlamaDeleter<llama_free>>;
using ThreadPoolHandle = std::unique_ptr<ggml_threadpool, LlamaDeleter<ggml_threadpool_free>>;

// nullptr: none could be started. Between steps they look for work in a loop for some ms only, and
// not for a tenth of a second: another program may need the core.
inline ThreadPoolHandle start_threads(std::int32_t threads) {
  auto params = ggml_threadpool_params_default(threads);
  params.poll = 1;
  return ThreadPoolHandle(ggml_threadpool_new(&params));
}

// A llama_batch with room for `capacity` rows of one sequence each.
class Batch {
 public:
  explicit Batch(std::int32_t capacity)
      : capacity_(capacity), batch_(llama_batch_init(capacity, 0, 1)) {}
  ~Batch() { llama_batch_free(batch_); }
  Batch(const Batch&) = delete;
  Batch& operator=(const Batch&) = delete;

  void clear() { batch_.n_tokens = 0; }
  // Returns the row's index, for llama_get_logits_ith().
  std::int32_t add(llama_token token, llama_pos position, llama_seq_id sequence, bool output) {
    const auto i = batch_.n_tokens++;
    batch_.token[i] = token;
    batch_.pos[i] = position;
    batch_.n_seq_id[i] = 1;
    batch_.seq_id[i][0] = sequence;
    batch_.logits[i] = output ? 1 : 0;
    return i;
  }
  std::int32_t size() const { return batch_.n_tokens; }
  std::int32_t capacity() const { return capacity_; }
  const llama_batch& get() const { return batch_; }

 private:
  std::int32_t capacity_;
  llama_batch batch_;
};

}  // namespace llorch
