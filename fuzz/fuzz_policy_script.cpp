// Any script, through the C ABI of the shim: it is refused, answers, or fails; it never takes the
// process down, never takes long, and never names a worker that was not offered.
#include <iterator>

#include "fuzz.h"
#include "policy/rhai_script.h"

// Closures that hold each other are never freed by Rhai; the shim counts and bounds them.
extern "C" int __lsan_is_turned_off() {
  return 1;
}

namespace {

template <class Outcome>
bool tried(const Outcome& outcome) {
  llorch::fuzz::require(outcome.value.has_value() || !outcome.value.error().message.empty());
  return outcome.value.has_value();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace llorch;
  auto compiled = RhaiScript::compile(fuzz::text_of(bytes, size), {}, 0);
  if (!tried(compiled)) return 0;
  auto& script = *compiled.value;
  const PolicyWorker workers[] = {{.id = "a", .model = "m", .backend = "cpu", .cost_ms = 2},
                                  {.id = "b", .model = "m", .backend = "cuda", .cost_ms = 1}};
  const PolicyJob job{.id = "j", .model = "m", .tenant = "t"};
  if (script.hooks().schedule_job) {
    const auto answer = script.schedule_job(job, workers, {}, 1);
    fuzz::require(!tried(answer) || answer.value->worker < std::size(workers));
  }
  if (script.hooks().should_admit) tried(script.should_admit(job, 3, 1));
  const PolicyError error{.kind = "timeout", .code = "WORKER_TIMEOUT", .message = ""};
  if (script.hooks().should_retry) tried(script.should_retry(job, 1, error, 1));
  return 0;
}
