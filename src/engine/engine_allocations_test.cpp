// On the engine's thread a token of plain text costs no allocation but those of llama.cpp. Not of
// those are: pieces of more than 15 bytes, parsed chats, grammars, log probabilities.
#include <cstdint>
#include <cstdlib>
#include <gtest/gtest.h>
#include <llama.h>
#include <memory>
#include <utility>
#include <vector>

#include "engine/allocation_budget.h"
#include "engine/engine_core.h"

namespace llorch {
namespace {

// What llama_decode itself allocates for a token, often enough to leave out what grows at first.
std::uint64_t allocations_of_plain_steps(llama_context* context, int steps) {
  Token token = 100;
  const auto before = allocations_of_this_thread();
  for (int i = 0; i < steps; ++i) {
    auto batch = llama_batch_get_one(&token, 1);
    EXPECT_EQ(llama_decode(context, batch), 0);
    llama_synchronize(context);
  }
  return allocations_of_this_thread() - before;
}

TEST(EngineAllocations, AreNoneOfOurOwnForAToken) {
  const char* const path = std::getenv("LLORCH_TEST_MODEL");
  if (path == nullptr) GTEST_SKIP() << "LLORCH_TEST_MODEL names no model file";
  EngineOptions options;
  options.model_path = path;
  options.slots = 1;
  options.ctx_tokens = 1024;
  const auto loaded = load_model(options, [](double) {});
  ASSERT_TRUE(loaded) << loaded.error().message;
  constexpr int steps = 100;
  constexpr int first_steps = 20;  // until every buffer has its size
  static_cast<void>(allocations_of_plain_steps(loaded->context.get(), first_steps));
  const auto plain = allocations_of_plain_steps(loaded->context.get(), steps);
  llama_memory_clear(llama_get_memory(loaded->context.get()), true);

  EngineCore core(*loaded, {}, [] {}, nullptr);
  const auto box = std::make_shared<Outbox>();
  int rings = 0;
  box->on_ready([&] { ++rings; });
  JobRequest job;
  job.prompt = "Once upon a time";
  job.max_tokens = steps + first_steps + 8;
  job.ignore_eos = true;
  job.sampling.seed = 1;
  job.sampling.repetition_penalty = 1.1;
  const auto run = std::make_shared<llorch::Run>(std::move(job), box);
  core.add(run);
  core.prepared(run, make_ready(run->request, {*loaded->vocabulary, *loaded->chat, loaded->card}));
  std::vector<JobEvent> events;
  std::uint64_t allocated = 0;
  const auto answer = [&](int tokens) {
    allocated = 0;
    for (int i = 0; i < tokens; ++i) {
      const auto before = allocations_of_this_thread();
      ASSERT_TRUE(core.step());
      allocated += allocations_of_this_thread() - before;
      box->take(events);
      ASSERT_EQ(events.size(), 1U);
    }
  };
  ASSERT_TRUE(core.step());  // the prompt
  ASSERT_TRUE(core.step());
  box->take(events);
  answer(first_steps);
  answer(steps);
  EXPECT_LE(allocated, plain) << "in " << steps << " steps";
  EXPECT_EQ(rings, first_steps + steps + 1);
}

}  // namespace
}  // namespace llorch
