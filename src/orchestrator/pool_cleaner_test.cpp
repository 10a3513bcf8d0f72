#include "orchestrator/pool_cleaner.h"

#include <future>
#include <gtest/gtest.h>
#include <set>

namespace llorch {
namespace {

// A host whose llorch-pool says what a test wants.
class FakeHost final : public SshHost {
 public:
  using Answer = std::function<Result<RemoteOutcome>(const RemoteLimits&)>;
  FakeHost(std::string& ran, Answer answer) : ran_(ran), answer_(std::move(answer)) {}

  Result<RemoteOutcome> run(std::span<const std::string> arguments,
                            const RemoteLimits& limits) override {
    for (const auto& word : arguments) ran_ += word + " ";
    return answer_(limits);
  }
  Result<int> run_attached(std::span<const std::string>) override { return 0; }
  Result<RemoteOutcome> run_script(std::string_view, std::span<const std::string>,
                                   const std::filesystem::path&, const RemoteLimits&) override {
    return RemoteOutcome{};
  }
  Result<std::vector<std::string>> script_argv(std::string_view,
                                               std::span<const std::string>) const override {
    return std::vector<std::string>{};
  }

 private:
  std::string& ran_;
  Answer answer_;
};

class PoolCleanerTest : public testing::Test {
 protected:
  void start(FakeHost::Answer answer) {
    cleaner_ = std::make_unique<PoolCleaner>(
        PoolCleaner::Pools{{"here", {.host = "h1"}}, {"there", {.host = "h2"}}},
        [this, answer](const PoolSettings& pool) -> Result<std::unique_ptr<SshHost>> {
          ran_ += pool.host + ": ";
          return std::make_unique<FakeHost>(ran_, answer);
        },
        [this](std::string worker) { done_.set_value(std::move(worker)); },
        std::chrono::milliseconds(1));
  }

  std::string ran_;
  std::promise<std::string> done_;
  std::unique_ptr<PoolCleaner> cleaner_;  // the first to go: its thread uses the others
};

// clause: O-45
TEST_F(PoolCleanerTest, RunsTheCleanupOfThePoolThatIsNamed) {
  start(
      [](const RemoteLimits&) { return RemoteOutcome{.out = "Cleaned up 1 orphaned workers\n"}; });
  EXPECT_TRUE(cleaner_->clean_up_after("w", "there"));
  EXPECT_EQ(done_.get_future().get(), "w");
  cleaner_.reset();
  EXPECT_EQ(ran_, "h2: worker cleanup ");
}

// clause: O-45
TEST_F(PoolCleanerTest, ContactsNoHostThatIsNotNamed) {
  start([](const RemoteLimits&) { return RemoteOutcome{}; });
  EXPECT_FALSE(cleaner_->clean_up_after("w", "h1"));  // a host, but no NAME
  EXPECT_FALSE(cleaner_->clean_up_after("w", ""));
  cleaner_.reset();
  EXPECT_EQ(ran_, "");
}

// clause: O-45
TEST_F(PoolCleanerTest, AHostThatIsDownIsTriedAgainUntilItIsBack) {
  unsigned tries = 0;
  start([&](const RemoteLimits&) -> Result<RemoteOutcome> {
    if (++tries < 3) return fail(Code::unreachable, "host h1: no route", "check the network");
    return RemoteOutcome{};
  });
  EXPECT_TRUE(cleaner_->clean_up_after("w", "here"));
  EXPECT_EQ(done_.get_future().get(), "w");
  cleaner_.reset();
  EXPECT_EQ(tries, 3U);
}

// clause: O-45
TEST_F(PoolCleanerTest, AHostThatStaysDownIsGivenUp) {
  unsigned tries = 0;
  start([&](const RemoteLimits&) -> Result<RemoteOutcome> {
    ++tries;
    return RemoteOutcome{.exit_status = 1};
  });
  EXPECT_TRUE(cleaner_->clean_up_after("w", "here"));
  EXPECT_EQ(done_.get_future().get(), "w");
  cleaner_.reset();
  EXPECT_EQ(tries, limits::cleanup_tries_max);
}

TEST_F(PoolCleanerTest, ACommandThatHangsIsEndedWithTheCleaner) {
  std::promise<void> begun;
  start([&](const RemoteLimits& limits) -> Result<RemoteOutcome> {
    begun.set_value();
    while (!limits.stop()) std::this_thread::yield();
    return fail(Code::timeout, "stopped");
  });
  EXPECT_TRUE(cleaner_->clean_up_after("w", "here"));
  begun.get_future().get();
  cleaner_.reset();
  EXPECT_EQ(done_.get_future().wait_for(std::chrono::seconds(0)), std::future_status::timeout);
}

}  // namespace
}  // namespace llorch
