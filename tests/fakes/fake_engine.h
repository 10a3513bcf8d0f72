// An Engine without a model: its tokens are a pure function of prompt and index, its pace is the
// test's. One token of the prompt is one byte (token id = byte value), so texts are easy to check.
// Threads: as Engine; the controls too. Lifetime: the destructor ends every job as CANCELLED.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/engine.h"

namespace llorch {

inline bool idle(const EngineLoad& load) {
  return load.slots_busy == 0 && load.queue_depth == 0;
}

struct FakeEngineOptions {
  std::int32_t slots = 4;
  std::int64_t context_tokens = 4096;
  std::int64_t prefill_chunk = 512;   // prompt tokens of a job done in one step
  std::chrono::microseconds step{0};  // least time between two steps; 0: as fast as it goes
  bool held = false;                  // begin with hold()
  // With both speeds the engine keeps to them, whatever `step` is, instead of one token a step:
  // prompts are computed one after another, beside the decoding of all streams.
  double prefill_tokens_per_second = 0;
  double decode_tokens_per_second = 0;  // of each stream
  std::int64_t cache_tokens = 0;        // of the prefix cache, in whole blocks; 0: none
  std::int64_t bytes_per_token = 1;     // of a prompt's count; what is generated stays bytes
  bool embeddings_only = false;
  std::int64_t embedding_size = 8;
};

class FakeEngine final : public Engine {
 public:
  explicit FakeEngine(FakeEngineOptions options = {});
  ~FakeEngine() override;

  const ModelCard& card() const override;
  EngineLoad load() const override;
  void submit(JobRequest job, std::shared_ptr<Outbox> outbox) override;
  void cancel(const std::shared_ptr<Outbox>& outbox) override;
  void tokenize(std::string text, bool special, bool add_bos, Reply<Tokenized> reply) override;
  void detokenize(std::vector<Token> tokens, Reply<std::string> reply) override;
  void embed(EmbeddingRequest request, std::stop_token stop, Reply<Embeddings> reply) override;

  // No further step until release() or allow(); cancels and refusals still happen.
  void hold();
  void release();
  void allow(std::int64_t steps);  // so many more steps, then hold again
  // The next job submitted plays these events instead, one a step; ends with Ended or Failed.
  void script_next(std::vector<JobEvent> events);
  // True once `met` holds; false after 20 s, so that a broken test ends by itself.
  bool wait_until(const std::function<bool(const EngineLoad&)>& met) const;

  // The checkable tokens: what the job with this prompt says at `index`.
  static Token token_at(std::string_view prompt, std::int64_t index);
  static std::string text_of(std::string_view prompt, std::int64_t from, std::int64_t to);
  // What token_at() hashes: the bare text, the messages one after another, or the ids as bytes.
  static std::string prompt_text(const PromptSource& prompt);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace llorch
