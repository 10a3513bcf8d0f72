#include "engine/kv_disk.h"

#include <atomic>
#include <future>
#include <gtest/gtest.h>
#include <map>

#include "base/limits.h"
#include "fakes/faulty_file_system.h"
#include "fakes/temporary_folder.h"
#include "fakes/token_lists.h"

namespace llorch {
namespace {

KvSnapshot snapshot(std::vector<Token> tokens, std::string scope = "", std::size_t bytes = 1000) {
  return {std::move(scope), std::move(tokens), {std::make_shared<std::byte[]>(bytes), bytes}};
}

// A disk and what arrived from it.
class Tier {
 public:
  using Fault = decltype(FaultyFileSystem::fault);

  explicit Tier(const std::filesystem::path& path, Fault fault = nullptr) {
    auto files = std::make_unique<FaultyFileSystem>();
    files->fault = std::move(fault);
    EXPECT_TRUE(prepare_kv_folder(*files, path));
    disk_.emplace(std::move(files), KvFolderOptions{path, 1 << 20, "model"},
                  [this](const std::string& name, std::shared_ptr<const KvSnapshot> snapshot) {
                    const std::lock_guard lock(mutex_);
                    arrived_.emplace(name, std::move(snapshot));
                    changed_.notify_all();
                  });
    EXPECT_EQ(wait_for(""), nullptr);
  }

  KvDisk& operator*() { return *disk_; }
  KvDisk* operator->() { return &*disk_; }
  // What came under that name, which it waits for.
  std::shared_ptr<const KvSnapshot> wait_for(const std::string& name) {
    std::unique_lock lock(mutex_);
    const bool came =
        changed_.wait_for(lock, std::chrono::seconds{20}, [&] { return arrived_.contains(name); });
    EXPECT_TRUE(came) << "nothing arrived as '" << name << "'";
    if (!came) return nullptr;
    return arrived_.extract(arrived_.find(name)).mapped();
  }
  bool wait_until(const std::function<bool(const KvDiskLoad&)>& holds) {
    for (int i = 0; i < 2'000; ++i) {
      if (holds(disk_->load())) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds{10});
    }
    return false;
  }
  bool written(std::uint64_t count) {
    return wait_until([&](const auto& load) { return load.writes_total == count; });
  }
  void stop() { disk_.reset(); }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::multimap<std::string, std::shared_ptr<const KvSnapshot>> arrived_;
  std::optional<KvDisk> disk_;
};

// clause: W-60
TEST(KvDisk, WhatWasQueuedIsThereAfterARestart) {
  const TemporaryFolder folder;
  {
    Tier tier(folder / "kv");
    EXPECT_TRUE(tier->write(snapshot(tokens_from(0, 200), "tenant")));
    EXPECT_TRUE(tier->write(snapshot(tokens_from(500, 300))));
  }  // both are written on the way out
  Tier tier(folder / "kv");
  const auto match = tier->find("tenant", tokens_from(0, 250));
  EXPECT_EQ(match.shared, 200);
  EXPECT_EQ(match.tokens, 200);
  ASSERT_TRUE(tier->read(match.name));
  const auto arrived = tier.wait_for(match.name);
  ASSERT_NE(arrived, nullptr);
  EXPECT_EQ(arrived->tokens, tokens_from(0, 200));
  EXPECT_EQ(arrived->scope, "tenant");
  EXPECT_EQ(tier->load().files, 2);
  EXPECT_EQ(tier->load().reads_total, 1U);
}

// clause: W-61
TEST(KvDisk, NoScopeFindsWhatAnotherLeft) {
  const TemporaryFolder folder;
  Tier tier(folder / "kv");
  ASSERT_TRUE(tier->write(snapshot(tokens_from(0, 200), "a")));
  ASSERT_TRUE(tier.written(1));
  EXPECT_EQ(tier->find("a", tokens_from(0, 200)).shared, 200);
  EXPECT_EQ(tier->find("b", tokens_from(0, 200)).shared, 0);
  EXPECT_EQ(tier->find("", tokens_from(0, 200)).shared, 0);
}

TEST(KvDisk, OnlyWhatSaysEnoughThatIsNewIsWanted) {
  const TemporaryFolder folder;
  Tier tier(folder / "kv");
  EXPECT_FALSE(tier->wants("", tokens_from(0, 127)));
  EXPECT_TRUE(tier->wants("", tokens_from(0, 128)));
  ASSERT_TRUE(tier->write(snapshot(tokens_from(0, 4'000))));
  EXPECT_FALSE(tier->wants("", tokens_from(0, 4'000))) << "it waits to be written";
  ASSERT_TRUE(tier.written(1));
  EXPECT_FALSE(tier->wants("", tokens_from(0, 4'000)));
  EXPECT_FALSE(tier->wants("", tokens_from(0, 3'000)));
  EXPECT_FALSE(tier->wants("", tokens_from(0, 4'200))) << "less than a sixteenth";
  EXPECT_TRUE(tier->wants("", tokens_from(0, 4'300)));
  EXPECT_TRUE(tier->wants("other", tokens_from(0, 4'000)));
}

TEST(KvDisk, ALongerOneReplacesWhatItContains) {
  const TemporaryFolder folder;
  Tier tier(folder / "kv");
  ASSERT_TRUE(tier->write(snapshot(tokens_from(0, 200))));
  ASSERT_TRUE(tier->write(snapshot(tokens_from(0, 400))));
  EXPECT_TRUE(
      tier.wait_until([](const auto& load) { return load.writes_total == 2 && load.files == 1; }));
  EXPECT_EQ(tier->find("", tokens_from(0, 200)).tokens, 400);
}

// clause: W-62
TEST(KvDisk, WhatTheQueueHasNoRoomForIsDroppedAndCounted) {
  const TemporaryFolder folder;
  std::promise<void> go;
  const auto gate = go.get_future().share();
  Tier tier(folder / "kv", [gate](std::string_view operation, const auto&) {
    if (operation == "create") gate.wait();
    return std::optional<Error>{};
  });
  for (int i = 0; i < static_cast<int>(limits::kv_writes_waiting_max); ++i) {
    EXPECT_TRUE(tier->write(snapshot(tokens_from(1'000 * i, 200))));
  }
  EXPECT_FALSE(tier->has_room(1));
  EXPECT_FALSE(tier->write(snapshot(tokens_from(9'000, 200))));
  EXPECT_EQ(tier->load().writes_dropped_total, 1U);
  EXPECT_FALSE(tier->wait_for_room(1, SteadyTime{}));
  EXPECT_FALSE(tier->wait_for_room(limits::kv_writes_bytes_max + 1, SteadyTime::max()));
  go.set_value();
  tier->hurry(SteadyTime::max());
  EXPECT_TRUE(tier.written(limits::kv_writes_waiting_max));
  EXPECT_TRUE(tier->has_room(limits::kv_writes_bytes_max));
}

// clause: W-62
TEST(KvDisk, AFullDiskIsCountedAndTheNextIsTriedAgain) {
  const TemporaryFolder folder;
  const auto full = std::make_shared<std::atomic<bool>>(true);
  Tier tier(folder / "kv", [full](std::string_view operation, const auto&) {
    if (operation != "append_bytes" || !*full) return std::optional<Error>{};
    return std::optional(Error{.code = Code::insufficient_storage, .message = "full"});
  });
  ASSERT_TRUE(tier->write(snapshot(tokens_from(0, 200))));
  ASSERT_TRUE(tier.wait_until([](const auto& load) { return load.writes_failed_total == 1; }));
  EXPECT_EQ(tier->find("", tokens_from(0, 200)).shared, 0);
  EXPECT_TRUE(tier->has_room(limits::kv_writes_bytes_max));
  *full = false;
  ASSERT_TRUE(tier->write(snapshot(tokens_from(0, 200))));
  EXPECT_TRUE(tier.written(1));
}

// clause: W-61, W-63
TEST(KvDisk, WhatIsPurgedOrBrokenArrivesAsNothingAndIsForgotten) {
  const TemporaryFolder folder;
  Tier tier(folder / "kv");
  for (const bool broken : {false, true}) {
    ASSERT_TRUE(tier->write(snapshot(tokens_from(0, 200))));
    ASSERT_TRUE(tier.written(broken ? 2 : 1));
    const auto name = tier->find("", tokens_from(0, 200)).name;
    if (broken) {
      std::filesystem::resize_file(folder / "kv" / name, 500);
    } else {
      std::filesystem::remove(folder / "kv" / name);
    }
    ASSERT_TRUE(tier->read(name));
    EXPECT_EQ(tier.wait_for(name), nullptr);
    EXPECT_EQ(tier->find("", tokens_from(0, 200)).shared, 0);
    EXPECT_TRUE(tier->wants("", tokens_from(0, 200)));
    EXPECT_EQ(tier->load().rejected_total, broken ? 1U : 0U);
  }
}

}  // namespace
}  // namespace llorch
