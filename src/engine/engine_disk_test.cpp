// Jobs of one engine and the snapshots on disk, in an order that a thread would leave to chance.
#include <cstdlib>
#include <future>
#include <gtest/gtest.h>
#include <memory>
#include <string>
#include <utility>

#include "base/limits.h"
#include "engine/engine_core.h"
#include "fakes/temporary_folder.h"

namespace llorch {
namespace {

using SnapshotOnDisk = std::pair<std::string, std::shared_ptr<const KvSnapshot>>;

// An engine without a thread, beside a disk whose arrivals wait for the test.
class CoreWithDisk {
 public:
  CoreWithDisk(const LoadedModel& loaded, const std::filesystem::path& folder)
      : loaded_(loaded),
        disk_(make_file_system(), KvFolderOptions{folder, std::int64_t{1} << 30, "model"},
              [this](const std::string& name, std::shared_ptr<const KvSnapshot> snapshot) {
                if (name.empty()) {
                  looked_.set_value();
                } else if (!std::exchange(came_, true)) {
                  read_.set_value({name, std::move(snapshot)});
                }
              }),
        core_(
            loaded, {.kv = {.snapshot_bytes_max = std::uint64_t{1} << 30, .disk = &disk_}}, [] {},
            nullptr) {
    looked_.get_future().wait();
  }

  std::shared_ptr<Run> add(std::string prompt) {
    JobRequest job;
    job.prompt = std::move(prompt);
    job.max_tokens = 1;
    auto run = std::make_shared<llorch::Run>(std::move(job), std::make_shared<Outbox>());
    core_.add(run);
    return run;
  }
  void prepare(const std::shared_ptr<Run>& run) {
    core_.prepared(run,
                   make_ready(run->request, {*loaded_.vocabulary, *loaded_.chat, loaded_.card}));
  }
  bool step() { return core_.step(); }
  void finish() { core_.finish(); }
  // Once: waits for what was asked for first.
  SnapshotOnDisk arrival() { return read_.get_future().get(); }
  void tell(const SnapshotOnDisk& arrival) { core_.arrived(arrival.first, arrival.second); }
  std::uint64_t reads() const { return disk_.load().reads_total; }

 private:
  const LoadedModel& loaded_;
  std::promise<void> looked_;
  std::promise<SnapshotOnDisk> read_;
  bool came_ = false;  // the disk's thread only
  KvDisk disk_;
  EngineCore core_;
};

std::string long_prompt() {
  std::string prompt;
  for (int i = 0; i < 100; ++i) prompt += "word number " + std::to_string(i) + ", ";
  return prompt;
}

// clause: W-60
TEST(EngineDisk, AJobThatIsReadyWhileASnapshotComesTakesItWithoutAnotherRead) {
  const char* const path = std::getenv("LLORCH_TEST_MODEL");
  if (path == nullptr) GTEST_SKIP() << "LLORCH_TEST_MODEL names no model file";
  EngineOptions options;
  options.model_path = path;
  options.slots = 2;
  options.ctx_tokens = 2048;
  const auto loaded = load_model(options, [](double) {});
  ASSERT_TRUE(loaded) << loaded.error().message;
  const TemporaryFolder folder;
  ASSERT_TRUE(prepare_kv_folder(*make_file_system(), folder / "kv"));
  {
    CoreWithDisk before(*loaded, folder / "kv");
    before.prepare(before.add(long_prompt()));
    while (before.step()) {
    }
    before.finish();
  }
  for (const bool asks_before_it_is_told : {false, true}) {
    SCOPED_TRACE(asks_before_it_is_told);
    llama_memory_clear(llama_get_memory(loaded->context.get()), true);
    CoreWithDisk after(*loaded, folder / "kv");
    const auto late = after.add(long_prompt() + "first");
    const auto early = after.add(long_prompt() + "second");
    after.prepare(early);
    EXPECT_FALSE(after.step());  // it asked, and waits
    const auto arrival = after.arrival();
    if (asks_before_it_is_told) {
      after.prepare(late);
      EXPECT_FALSE(after.step());
    }
    after.tell(arrival);
    if (!asks_before_it_is_told) after.prepare(late);
    EXPECT_TRUE(after.step());
    EXPECT_GT(late->cached_tokens, 100);
    EXPECT_GT(early->cached_tokens, 100);
    EXPECT_EQ(after.reads(), 1U);
  }
}

}  // namespace
}  // namespace llorch
