#include <algorithm>
#include <gtest/gtest.h>
#include <signal.h>

#include "base/limits.h"
#include "fakes/gguf_writer.h"
#include "fakes/pool_world.h"
#include "pool/backends.h"
#include "pool/model_memory.h"
#include "pool/worker_control.h"
#include "pool/worker_probe.h"

namespace llorch {
namespace {

// A host where the model fits and the CPU serves; processes are made up.
class Spawn : public testing::Test {
 protected:
  void SetUp() override {
    const auto bytes = tiny_model().file();
    options_.backend = "cpu";
    options_.model =
        world_.folder.write("m.gguf", {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    world_.processes.programs["llorch-candled"] = [this](const RunRequest& request) {
      probed_ = request.environment;
      return Result<RunOutcome>(RunOutcome{.exit_status = 0, .out = R"({"backends":[]})"});
    };
  }
  bool has_worker_files() {
    const auto names = world_.files.list(world_.context.root.workers());
    return std::ranges::any_of(*names, [](const auto& name) { return name.ends_with(".json"); });
  }

  std::map<std::string, std::string> probed_;
  SpawnOptions options_;
  PoolWorld world_;
};

// clause: P-33
TEST_F(Spawn, AnInterruptWhileItWaitsStopsTheWorker) {
  // Ctrl-C left a loading worker behind that nobody knew of.
  world_.context.wait = [this](std::int64_t ms) {
    world_.clock.advance(std::chrono::milliseconds(ms));
    world_.interrupted = SIGINT;
  };
  world_.processes.on_signal = [this](Pid pid, int) { world_.processes.processes.erase(pid); };
  const auto spawned = spawn_worker(world_.context, options_);
  ASSERT_FALSE(spawned);
  EXPECT_EQ(spawned.error().code, Code::cancelled);
  ASSERT_EQ(world_.processes.signals.size(), 1U);
  EXPECT_EQ(world_.processes.signals.front().second, SIGTERM);
  EXPECT_FALSE(has_worker_files());
}

// clause: P-33
TEST_F(Spawn, AnInterruptWhileItStartsStopsTheWorkerEvenWithoutAWait) {
  options_.wait = false;
  world_.interrupted = SIGTERM;
  world_.processes.on_signal = [this](Pid pid, int) { world_.processes.processes.erase(pid); };
  EXPECT_EQ(spawn_worker(world_.context, options_).error().code, Code::cancelled);
  EXPECT_TRUE(world_.processes.processes.empty());
  EXPECT_FALSE(has_worker_files());
}

// clause: P-20
TEST_F(Spawn, GpusAreCountedInTheOrderOfNvidiaSmiUnlessTheUserChoseOne) {
  // --gpu 1 was the second fastest device to CUDA and the second on the bus to nvidia-smi.
  options_.wait = false;
  ASSERT_TRUE(spawn_worker(world_.context, options_));
  EXPECT_EQ(probed_["CUDA_DEVICE_ORDER"], "PCI_BUS_ID");
  EXPECT_EQ(world_.processes.spawned.back().environment["CUDA_DEVICE_ORDER"], "PCI_BUS_ID");
  world_.environment["CUDA_DEVICE_ORDER"] = "FASTEST_FIRST";
  ASSERT_TRUE(spawn_worker(world_.context, options_));
  EXPECT_FALSE(probed_.contains("CUDA_DEVICE_ORDER"));
  EXPECT_FALSE(world_.processes.spawned.back().environment.contains("CUDA_DEVICE_ORDER"));
}

// clause: P-21
TEST_F(Spawn, AHostThatIsNotThisMachineIsNoTakenPort) {
  options_.host = "192.0.2.1";  // RFC 5737: nobody's
  for (const std::optional<std::uint16_t> port : {std::optional<std::uint16_t>(8123), {}}) {
    options_.port = port;
    const auto spawned = spawn_worker(world_.context, options_);
    ASSERT_FALSE(spawned);
    EXPECT_EQ(spawned.error().code, Code::invalid_request);
    EXPECT_FALSE(spawned.error().message.contains("taken")) << spawned.error().message;
  }
}

// Room for 4096 tokens was demanded where the worker starts with 512, and a model given by its path
// had no settings.
// clause: P-21
TEST_F(Spawn, WantsRoomForWhatTheWorkerNeedsAtTheLeast) {
  const auto bytes = tiny_model("llama.context_length", [](GgufWriter& out) {
                       out.u32("llama.context_length", 8192);
                     }).file();
  world_.folder.write("m.gguf", {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  const auto shape = read_model_shape(world_.files, options_.model, {});
  ASSERT_TRUE(shape);
  const auto least = estimate_memory(*shape, {.slots = 1, .context_tokens = 512});
  auto& free_bytes = world_.context.host.memory_available_bytes;
  free_bytes = least->total_bytes + limits::memory_reserve_bytes;
  options_.wait = false;
  const auto spawned = spawn_worker(world_.context, options_);
  EXPECT_TRUE(spawned) << spawned.error().message;
  free_bytes -= 1;
  EXPECT_EQ(spawn_worker(world_.context, options_).error().code, Code::insufficient_memory);

  free_bytes += 1;
  ASSERT_TRUE(read_settings_text("[models.m]\nctx_tokens = 4096\n", "llorch.toml",
                                 world_.context.settings));
  const auto refused = spawn_worker(world_.context, options_);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::insufficient_memory);
  EXPECT_TRUE(refused.error().next.contains("[models.\"m\"]")) << refused.error().next;
  EXPECT_FALSE(refused.error().next.contains("--ctx-tokens")) << refused.error().next;
}

// "[::]" and "0" were no wildcards here, and nobody reached such a worker.
TEST_F(Spawn, AWorkerOnEveryAddressIsReachedByLoopback) {
  for (const auto& [host, url] : {std::pair{"0", "http://127.0.0.1:9"},
                                  {"0.0.0.0", "http://127.0.0.1:9"},
                                  {"::", "http://[::1]:9"},
                                  {"[::]", "http://[::1]:9"}}) {
    EXPECT_EQ(worker_url({.port = 9, .host = host}), url);
    options_.host = host;
    options_.orchestrator_url = "http://127.0.0.1:1";
    EXPECT_TRUE(spawn_worker(world_.context, options_).error().message.contains("--advertise"));
  }
}

// clause: P-25
TEST_F(Spawn, ATrialSendsTheTokenOfTheSettings) {
  // Only the environment was asked, never llorch.toml.
  const std::string file = "llorch.toml";
  ASSERT_TRUE(read_settings_text("[worker]\ntoken = \"from-the-file-0123\"\n", file,
                                 world_.context.settings));
  const WorkerRecord record{.worker_id = "worker-cpu-a", .port = 9, .host = "127.0.0.1"};
  (void)try_worker(world_.context, record, "Hi", [](std::string_view) { return true; });
  EXPECT_EQ(world_.http.requests.back().bearer, "from-the-file-0123");
}

}  // namespace
}  // namespace llorch
