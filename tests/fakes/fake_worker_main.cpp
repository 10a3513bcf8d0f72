// llorch-fake-worker: the worker's HTTP over the fake engine, for tests that need many streams or
// no model. Takes llorch-candled's flags (--model is any name) and LLORCH_FAKE_STEP_US (the pace:
// microseconds a step), LLORCH_FAKE_SLOTS (past the 256 of --slots), LLORCH_FAKE_PREFILL (prompt
// tokens a step), LLORCH_FAKE_EMBEDDINGS=1. LLORCH_FAKE_PREFILL_TPS and LLORCH_FAKE_DECODE_TPS give
// it the speeds of a real one instead, LLORCH_FAKE_CACHE_TOKENS a prefix cache, and
// LLORCH_FAKE_BYTES_PER_TOKEN the length of a prompt's tokens.
#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <variant>

#include "base/random.h"
#include "console/report.h"
#include "fakes/fake_engine.h"
#include "sys/host.h"
#include "worker/options.h"
#include "worker/serve.h"

namespace {

std::int64_t number(const char* variable, std::int64_t otherwise) {
  const auto text = llorch::environment_value(variable);
  return text ? std::stoll(*text) : otherwise;
}

llorch::FakeEngineOptions fake_options(const llorch::WorkerOptions& options) {
  llorch::FakeEngineOptions fake;
  fake.slots =
      static_cast<std::int32_t>(number("LLORCH_FAKE_SLOTS", options.engine.slots.value_or(4)));
  fake.context_tokens = options.engine.ctx_tokens.value_or(4096);
  fake.step = std::chrono::microseconds(number("LLORCH_FAKE_STEP_US", 10'000));
  fake.prefill_chunk = std::max<std::int64_t>(number("LLORCH_FAKE_PREFILL", 512), 1);
  fake.prefill_tokens_per_second = static_cast<double>(number("LLORCH_FAKE_PREFILL_TPS", 0));
  fake.decode_tokens_per_second = static_cast<double>(number("LLORCH_FAKE_DECODE_TPS", 0));
  fake.cache_tokens = std::max<std::int64_t>(number("LLORCH_FAKE_CACHE_TOKENS", 0), 0);
  fake.bytes_per_token = std::max<std::int64_t>(number("LLORCH_FAKE_BYTES_PER_TOKEN", 1), 1);
  fake.embeddings_only = number("LLORCH_FAKE_EMBEDDINGS", 0) != 0;
  return fake;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace llorch;
  const auto settings = load_settings({.environment = environment_value, .files = {}});
  if (!settings) return report(settings.error());
  auto command = parse_worker_command(argc, argv, *settings);
  if (!command) return report(command.error());
  if (const auto* done = std::get_if<ExitNow>(&*command)) return done->code;
  auto* const options = std::get_if<WorkerOptions>(&*command);
  if (!options) return exit_usage;  // --list-backends: there are none
  if (options->model_id.empty()) options->model_id = options->model;
  if (options->worker_id.empty()) options->worker_id = "worker-fake-" + random_word(6);
  if (options->pool_host.empty()) options->pool_host = read_host_facts().name;
  const auto fake = fake_options(*options);
  const EngineLoader loader =
      [fake](const std::function<void(double)>& progress) -> Result<std::unique_ptr<Engine>> {
    progress(1);
    return std::make_unique<FakeEngine>(fake);
  };
  return serve_until_stopped(std::move(*options), loader);
}
