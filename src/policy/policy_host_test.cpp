#include "policy/policy_host.h"

#include <gtest/gtest.h>

#include "fakes/faulty_file_system.h"
#include "fakes/temporary_folder.h"
#include "policy/testing.h"

namespace llorch {
namespace {

const std::string to_a = "fn schedule_job(job, workers) { \"a\" }";
const std::string to_c = "fn schedule_job(job, workers) { \"c\" }";
const std::string broken = "fn schedule_job(job, workers) {\n  workers.best(\n}";

class PolicyHostTest : public testing::Test {
 protected:
  // Where a job goes: the built-in policy takes b, the cheapest.
  std::string goes_to() {
    const auto placement = host_.schedule_job(view_of(job_), views_of(fleet_));
    EXPECT_EQ(placement.kind, Placement::Kind::worker);
    return fleet_[placement.worker].id;
  }
  void look(int times = 1) {
    for (int i = 0; i < times; ++i) {
      clock_.advance(std::chrono::milliseconds(limits::policy_poll_ms));
      host_.tick();
    }
  }
  std::string on_disk(const std::string& name) {
    return files_.read(folder_ / name, 1 << 20).value_or("(none)");
  }

  TemporaryFolder folder_;
  FaultyFileSystem files_;
  FakeClock clock_;
  RecordedJob job_ = test_job();
  std::vector<RecordedWorker> fleet_ = test_fleet();
  PolicyHost host_{files_, clock_, {.path = folder_ / "orchestration.rhai", .limits = patient}};
};

TEST_F(PolicyHostTest, WithoutAFileTheBuiltInPolicyDecides) {
  host_.start();
  EXPECT_EQ(goes_to(), "b");
  EXPECT_FALSE(host_.show().loaded);
  EXPECT_FALSE(host_.show().load_error);
  EXPECT_EQ(host_.should_admit(view_of(job_), 5).kind, Admission::Kind::admit);
  EXPECT_EQ(host_.should_retry(view_of(job_), 1, {.kind = "timeout", .code = "", .message = ""}),
            true);
}

TEST_F(PolicyHostTest, LoadsTheFileAtItsStart) {
  folder_.write("orchestration.rhai", to_a);
  host_.start();
  EXPECT_EQ(goes_to(), "a");
  const auto view = host_.show();
  EXPECT_TRUE(view.loaded);
  EXPECT_EQ(view.source, to_a);
  EXPECT_TRUE(view.hooks.schedule_job);
  EXPECT_FALSE(view.hooks.should_admit);
  EXPECT_EQ(view.loaded_at, clock_.wall());
}

TEST_F(PolicyHostTest, ABrokenFileAtItsStartIsKeptAsAnError) {
  folder_.write("orchestration.rhai", broken);
  host_.start();
  EXPECT_EQ(goes_to(), "b");
  ASSERT_TRUE(host_.show().load_error);
  EXPECT_TRUE(host_.show().load_error->message.starts_with("orchestration.rhai:3:1"))
      << host_.show().load_error->message;
  EXPECT_EQ(host_.counts().of(PolicyErrorKind::syntax), 1U);
}

TEST_F(PolicyHostTest, ReloadsWhileItAnswersAndKeepsTheOldScriptOnError) {
  host_.start();
  const std::pair<std::string, std::string> edits[] = {
      {to_a, "a"}, {to_c, "c"}, {broken, "c"}, {to_a, "a"}, {"throw 1;", "a"}, {"", "b"}};
  for (const auto& [source, want] : edits) {
    SCOPED_TRACE(source);
    folder_.write("orchestration.rhai", source);
    for (int i = 0; i < 4; ++i) {
      goes_to();
      look();
    }
    EXPECT_EQ(goes_to(), want);
  }
  EXPECT_FALSE(host_.show().load_error);
}

TEST_F(PolicyHostTest, AChangeCountsWhenItHasSettled) {
  folder_.write("orchestration.rhai", to_a);
  host_.start();
  folder_.write("orchestration.rhai", "");
  look();
  folder_.write("orchestration.rhai", to_c);
  look();
  EXPECT_EQ(goes_to(), "a") << "neither has been seen twice";
  look();
  EXPECT_EQ(goes_to(), "c");
}

TEST_F(PolicyHostTest, LooksAtTheFileOnlyNowAndThen) {
  host_.start();
  int reads = 0;
  files_.fault = [&](std::string_view operation, const auto&) -> std::optional<Error> {
    reads += operation == "read" ? 1 : 0;
    return std::nullopt;
  };
  for (int i = 0; i < 100; ++i) host_.tick();
  EXPECT_EQ(reads, 0);
  look();
  EXPECT_EQ(reads, 1);
}

TEST_F(PolicyHostTest, AFileRemovedLeavesTheBuiltInPolicy) {
  folder_.write("orchestration.rhai", to_a);
  host_.start();
  std::filesystem::remove(folder_ / "orchestration.rhai");
  look(2);
  EXPECT_EQ(goes_to(), "b");
  EXPECT_FALSE(host_.show().loaded);
}

TEST_F(PolicyHostTest, ADiskThatFailsChangesNothing) {
  folder_.write("orchestration.rhai", to_a);
  host_.start();
  files_.fault = [](auto, const auto&) { return Error{.code = Code::internal, .message = "EIO"}; };
  look(3);
  EXPECT_EQ(goes_to(), "a");
  EXPECT_EQ(host_.show().load_error->message, "EIO");
  const auto deployed = host_.deploy(to_c);
  ASSERT_FALSE(deployed.has_value());
  EXPECT_EQ(deployed.error().message, "EIO");
  EXPECT_EQ(goes_to(), "a");
}

TEST_F(PolicyHostTest, DeployWritesTheFileAndKeepsThePrevious) {
  folder_.write("orchestration.rhai", to_a);
  host_.start();
  EXPECT_FALSE(host_.show().has_previous);
  ASSERT_TRUE(host_.deploy(to_c));
  EXPECT_EQ(goes_to(), "c");
  EXPECT_EQ(on_disk("orchestration.rhai"), to_c);
  EXPECT_EQ(on_disk("orchestration.rhai.previous"), to_a);
  EXPECT_TRUE(host_.show().has_previous);
  look(3);
  EXPECT_EQ(goes_to(), "c");
}

TEST_F(PolicyHostTest, DeployKeepsTheScriptThatDecidedNotABrokenFile) {
  folder_.write("orchestration.rhai", to_a);
  host_.start();
  folder_.write("orchestration.rhai", broken);
  look(2);
  EXPECT_TRUE(host_.show().load_error);
  ASSERT_TRUE(host_.deploy(to_c));
  ASSERT_TRUE(host_.deploy(to_c)) << "the same again is no new version";
  EXPECT_FALSE(host_.show().load_error);
  ASSERT_TRUE(host_.rollback());
  EXPECT_EQ(goes_to(), "a");
}

TEST_F(PolicyHostTest, DeployReplacesAFileThatIsTooLarge) {
  folder_.write("orchestration.rhai", std::string(limits::policy_source_bytes_max + 1, ' '));
  host_.start();
  EXPECT_EQ(host_.show().load_error.value_or(Error{}).code, Code::too_large);
  ASSERT_TRUE(host_.deploy(to_a));
  EXPECT_EQ(goes_to(), "a");
}

TEST_F(PolicyHostTest, DeployRefusesWhatDoesNotLoad) {
  folder_.write("orchestration.rhai", to_a);
  host_.start();
  const auto deployed = host_.deploy(broken);
  ASSERT_FALSE(deployed.has_value());
  EXPECT_EQ(deployed.error().code, Code::invalid_request);
  EXPECT_EQ(goes_to(), "a");
  EXPECT_EQ(on_disk("orchestration.rhai"), to_a);
  EXPECT_EQ(on_disk("orchestration.rhai.previous"), "(none)");
}

TEST_F(PolicyHostTest, AFullDiskLeavesTheOldScript) {
  folder_.write("orchestration.rhai", to_a);
  host_.start();
  files_.fault = [](std::string_view operation, const auto& path) -> std::optional<Error> {
    if (operation != "write" || path.extension() != ".rhai") return std::nullopt;
    return Error{.code = Code::insufficient_storage, .message = "full"};
  };
  const auto deployed = host_.deploy(to_c);
  ASSERT_FALSE(deployed.has_value());
  EXPECT_EQ(deployed.error().code, Code::insufficient_storage);
  EXPECT_EQ(goes_to(), "a");
}

TEST_F(PolicyHostTest, RollbackGoesBackAndForth) {
  host_.start();
  const auto without = host_.rollback();
  ASSERT_FALSE(without.has_value());
  EXPECT_EQ(without.error().code, Code::not_found);
  ASSERT_TRUE(host_.deploy(to_a));
  ASSERT_TRUE(host_.deploy(to_c));
  ASSERT_TRUE(host_.rollback());
  EXPECT_EQ(goes_to(), "a");
  ASSERT_TRUE(host_.rollback());
  EXPECT_EQ(goes_to(), "c");
  EXPECT_EQ(on_disk("orchestration.rhai.previous"), to_a);
}

TEST_F(PolicyHostTest, ValidateChangesNothing) {
  host_.start();
  const auto hooks = host_.validate(to_a);
  ASSERT_TRUE(hooks.has_value());
  EXPECT_TRUE(hooks->schedule_job);
  EXPECT_FALSE(host_.validate(broken).has_value());
  EXPECT_EQ(goes_to(), "b");
  EXPECT_EQ(on_disk("orchestration.rhai"), "(none)");
}

// A job is never lost, whatever the script does.
TEST_F(PolicyHostTest, TheBuiltInPolicyDecidesWhereTheScriptDoesNot) {
  for (const auto* const body :
       {"loop {}", "throw 1", "7", "()", "\"z\"", "schedule_job(job, workers)"}) {
    SCOPED_TRACE(body);
    ASSERT_TRUE(host_.deploy(schedules(body)));
    for (int i = 0; i < 5; ++i) EXPECT_EQ(goes_to(), "b");
  }
  EXPECT_EQ(host_.counts().of(PolicyErrorKind::nonsense), 10U);
}

}  // namespace
}  // namespace llorch
