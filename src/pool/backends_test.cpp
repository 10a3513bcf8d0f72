#include "pool/backends.h"

#include <boost/json.hpp>
#include <gtest/gtest.h>

#include "fakes/pool_world.h"

namespace llorch {
namespace {

const Device h200{.index = 0, .name = "NVIDIA H200", .memory_bytes = 150'000'000'000};
const Device h200_second{.index = 1, .name = "NVIDIA H200", .memory_bytes = 150'000'000'000};
const Backend build_cuda{.name = "cuda", .devices = {h200}};
const Backend build_metal{.name = "metal", .devices = {{.name = "Apple M2"}}};

// clause: P-6
TEST(Backends, ABackendIsAvailableWhenDriverAndBuildAgree) {
  struct Case {
    const char* name;
    BackendEvidence evidence;
    const char* backend;
    bool available;
    const char* reason;
  };
  const Case cases[] = {
      {"cpu, nothing else answers", {.build_failure = "gone"}, "cpu", true, "always available"},
      {"metal on Linux", {}, "metal", false, "not available on Linux"},
      {"metal on a Mac", {.mac = true, .build = {build_metal}}, "metal", true, "Apple GPU"},
      {"a Mac without one", {.mac = true}, "metal", false, "no Metal device found"},
      {"cuda on a Mac", {.mac = true}, "cuda", false, "not available on Mac"},
      {"no GPU", {}, "cuda", false, "no NVIDIA GPU detected"},
      {"both agree", {.nvidia = {h200}, .build = {build_cuda}}, "cuda", true, "1 GPU: NVIDIA H200"},
      {"two of them",
       {.nvidia = {h200, h200_second}, .build = {build_cuda}},
       "cuda",
       true,
       "2 GPUs: NVIDIA H200, NVIDIA H200"},
      {"the build lacks it",
       {.nvidia = {h200}},
       "cuda",
       false,
       "llorch-candled is built without CUDA"},
      {"the build cannot be asked",
       {.nvidia = {h200}, .build_failure = "llorch-candled is not in /x"},
       "cuda",
       false,
       "llorch-candled is not in /x"},
      {"the driver fails",
       {.nvidia_failure = "nvidia-smi did not answer within 5 s", .build = {build_cuda}},
       "cuda",
       false,
       "nvidia-smi did not answer within 5 s"},
      {"the build alone", {.build = {build_cuda}}, "cuda", false, "no NVIDIA GPU detected"},
  };
  for (const auto& [name, evidence, backend, available, reason] : cases) {
    SCOPED_TRACE(name);
    const auto backends = join_backends(evidence, {});
    const auto found = std::ranges::find(backends, backend, &Backend::name);
    ASSERT_NE(found, backends.end());
    EXPECT_EQ(found->available, available);
    EXPECT_EQ(found->reason, reason);
  }
}

// clause: P-4
TEST(Backends, TheListHasItsExactForm) {
  BackendEvidence evidence{.nvidia = {h200, h200_second}, .build = {build_cuda}};
  evidence.build.push_back({.name = "vulkan", .devices = {{.name = "Radeon"}}});
  EXPECT_EQ(backends_text(join_backends(evidence, {}), "gpu-1"),
            "Available Backends on gpu-1\n"
            "====================================\n"
            "✅ CPU (always available)\n"
            "❌ Metal (not available on Linux)\n"
            "✅ CUDA (2 GPUs: NVIDIA H200, NVIDIA H200)\n"
            "✅ Vulkan (1 GPU: Radeon)\n");
}

// clause: P-5
TEST(Backends, TheJsonHasItsSchema) {
  const auto object = to_json(join_backends({.nvidia = {h200}, .build = {build_cuda}}, {}));
  const auto& list = object.at("backends").as_array();
  ASSERT_EQ(list.size(), 3U);
  EXPECT_EQ(list[0].at("name"), "cpu");
  EXPECT_EQ(list[0].at("priority"), 3);
  EXPECT_EQ(list[1].at("priority"), 1);
  EXPECT_EQ(list[2].at("priority"), 2);
  EXPECT_EQ(list[2].at("devices").at(0).at("memory_bytes"), 150'000'000'000);
}

// clause: P-6
TEST(Backends, DetectionReadsWhatBothProgramsPrint) {
  PoolWorld world;
  world.processes.programs["nvidia-smi"] = [](const RunRequest& request) -> Result<RunOutcome> {
    EXPECT_EQ(request.limit_ms, 5'000);
    return RunOutcome{.exit_status = 0, .out = "0, NVIDIA H200, 143771, 143000\n"};
  };
  world.processes.programs["llorch-candled"] = [](const RunRequest&) -> Result<RunOutcome> {
    return RunOutcome{.exit_status = 0,
                      .out = R"({"backends":[{"name":"cuda","devices":[{"index":0}]}]})"};
  };
  const auto backends = detect_backends(world.context);
  EXPECT_TRUE(backends[2].available);
  EXPECT_EQ(backends[2].devices.at(0).memory_bytes, 143771ULL * 1024 * 1024);

  world.processes.programs["nvidia-smi"] = [](const RunRequest&) -> Result<RunOutcome> {
    return RunOutcome{.timed_out = true};
  };
  EXPECT_EQ(detect_backends(world.context)[2].reason, "nvidia-smi did not answer within 5 s");
  world.processes.programs["nvidia-smi"] = [](const RunRequest&) -> Result<RunOutcome> {
    return RunOutcome{.exit_status = 6, .out = "No devices were found\n"};
  };
  EXPECT_EQ(detect_backends(world.context)[2].reason, "no NVIDIA GPU detected");
}

}  // namespace
}  // namespace llorch
