#include <fmt/format.h>
#include <gtest/gtest.h>

#include "fakes/gguf_writer.h"
#include "fakes/pool_world.h"
#include "pool/model_store.h"
#include "pool/sha256.h"

namespace llorch {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t reserve_bytes = 64 * limits::mib;  // kept free by require_disk()

std::string text_of(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
std::string part_name(int number) {
  return fmt::format("m-0000{}-of-00003.gguf", number);
}

// A model of three parts on a hub, each a GGUF of its own.
class SplitModel : public testing::Test {
 protected:
  void SetUp() override {
    world_.environment["HF_ENDPOINT"] = "http://hub";
    world_.environment["HF_HOME"] = world_.folder / "hf";
    std::string siblings;
    for (int number = 1; number <= 3; ++number) {
      const auto part = tiny_model({}, [&](GgufWriter& out) {
        const auto columns = 16U * static_cast<unsigned>(number);
        out.tensor("extra", 0, {columns}, std::uint64_t{columns} * 4);
      });
      parts_.push_back(text_of(part.file()));
      const auto name = part_name(number);
      world_.http.pages["http://hub/o/r/resolve/abc1/" + name] = {
          {.headers = {{"content-length", std::to_string(parts_.back().size())}},
           .body = parts_.back()}};
      siblings +=
          fmt::format(R"({}{{"rfilename":"{}","lfs":{{"size":{},"sha256":"{}"}}}})",
                      number > 1 ? "," : "", name, parts_.back().size(), sha256_of(parts_.back()));
    }
    world_.http.pages[api_] = {{.body = R"({"sha":"abc1","siblings":[)" + siblings + "]}"}};
  }

  Result<CatalogEntry> download() {
    return download_model(world_.context, "hf:o/r::" + part_name(1), "split");
  }
  fs::path file(int number) { return world_.context.root.models() / "split" / part_name(number); }
  std::vector<std::string> later_hashes() { return {sha256_of(parts_[1]), sha256_of(parts_[2])}; }
  std::size_t files_asked() {
    return static_cast<std::size_t>(std::ranges::count_if(
        world_.http.requests, [](const auto& each) { return each.url.contains("/resolve/"); }));
  }
  void damage(const fs::path& path) {
    auto bytes = *world_.files.read(path, 1 << 20);
    bytes.back() = static_cast<char>(bytes.back() ^ 1);
    ASSERT_TRUE(world_.files.write_atomic(path, bytes));
  }
  CatalogEntry known() { return *read_catalog(world_.files, world_.context.root)->find("split"); }

  const std::string api_ = "http://hub/api/models/o/r/revision/main?blobs=true";
  std::vector<std::string> parts_;
  PoolWorld world_;
};

// clause: P-10, P-13
TEST_F(SplitModel, ADownloadNotesTheHashOfEachPart) {
  const auto entry = download();
  ASSERT_TRUE(entry) << entry.error().message;
  EXPECT_EQ(known().sha256, sha256_of(parts_[0]));
  EXPECT_EQ(known().extra_files, (std::vector<std::string>{part_name(2), part_name(3)}));
  EXPECT_EQ(known().extra_sha256, later_hashes());
  EXPECT_TRUE(verify_model(world_.context, "split"));
}

// clause: P-13
TEST_F(SplitModel, AWrongByteInALaterPartIsRefused) {
  auto& page = world_.http.pages["http://hub/o/r/resolve/abc1/" + part_name(2)].front();
  page.body.back() = static_cast<char>(page.body.back() ^ 1);
  const auto entry = download();
  ASSERT_FALSE(entry);
  EXPECT_EQ(entry.error().code, Code::conflict);
}

// clause: P-13
TEST_F(SplitModel, VerifyFindsAFlippedByteInTheSecondPart) {
  // Only the first part was ever hashed again.
  ASSERT_TRUE(download());
  damage(file(2));
  const auto verified = verify_model(world_.context, "split");
  ASSERT_FALSE(verified);
  EXPECT_EQ(verified.error().code, Code::conflict);
  EXPECT_TRUE(verified.error().message.contains(part_name(2))) << verified.error().message;
}

// clause: P-8
TEST_F(SplitModel, ACatalogWithoutHashesOfLaterPartsLearnsThem) {
  ASSERT_TRUE(download());
  auto entry = known();
  entry.extra_sha256.clear();
  ASSERT_TRUE(put_entry(world_.context, entry));
  ASSERT_TRUE(verify_model(world_.context, "split"));
  EXPECT_EQ(known().extra_sha256, later_hashes());
}

// clause: P-14
TEST_F(SplitModel, RoomForAllPartsIsWantedBeforeTheFirst) {
  world_.files.free_bytes_told = reserve_bytes + parts_[0].size() + parts_[1].size();
  const auto entry = download();
  ASSERT_FALSE(entry);
  EXPECT_EQ(entry.error().code, Code::insufficient_storage);
  EXPECT_EQ(files_asked(), 0U);
}

// clause: P-12, P-14
TEST_F(SplitModel, WhatAnEarlierRunLeftNeedsNoRoomAgain) {
  world_.folder.write(".test-models/split/" + part_name(1), parts_[0]);
  world_.folder.write(".test-models/split/" + part_name(2) + ".part", parts_[1].substr(0, 100));
  const auto enough = reserve_bytes + parts_[1].size() - 100 + parts_[2].size();
  world_.files.free_bytes_told = enough - 1;
  EXPECT_EQ(download().error().code, Code::insufficient_storage);
  world_.files.free_bytes_told = enough;
  ASSERT_TRUE(download());
  EXPECT_EQ(files_asked(), 2U);
  EXPECT_EQ(known().extra_sha256, later_hashes());
}

// clause: P-14, P-18
TEST_F(SplitModel, ACopyWantsRoomForAllPartsAndHashesEach) {
  for (int number = 1; number <= 3; ++number) {
    world_.folder.write("usb/" + part_name(number), parts_[static_cast<std::size_t>(number - 1)]);
  }
  const auto copy = [&] {
    return download_model(world_.context,
                          "file:" + (world_.folder / "usb").string() + "/" + part_name(1), "split");
  };
  world_.files.free_bytes_told = reserve_bytes + parts_[0].size();
  const auto refused = copy();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::insufficient_storage);
  EXPECT_FALSE(world_.files.exists(file(1)));
  world_.files.free_bytes_told.reset();
  ASSERT_TRUE(copy());
  EXPECT_EQ(known().sha256, sha256_of(parts_[0]));
  EXPECT_EQ(known().extra_sha256, later_hashes());
  fs::remove(world_.folder / "usb" / part_name(3));
  ASSERT_TRUE(unregister_model(world_.context, "split"));
  EXPECT_EQ(copy().error().code, Code::model_not_found);
}

// clause: P-16
TEST_F(SplitModel, TheHubCacheServesItOnlyFromOneSnapshot) {
  // Blobs were taken for a commit without a snapshot, and the parts did not find each other.
  const std::string cache = "hf/hub/models--o--r/";
  for (const auto& part : parts_) world_.folder.write(cache + "blobs/" + sha256_of(part), part);
  ASSERT_TRUE(download());
  EXPECT_EQ(files_asked(), 3U);
  EXPECT_TRUE(known().path.starts_with(".test-models/"));

  ASSERT_TRUE(delete_model(world_.context, "split"));
  for (int number = 1; number <= 3; ++number) {
    world_.folder.write(cache + "snapshots/abc1/" + part_name(number),
                        parts_[static_cast<std::size_t>(number - 1)]);
  }
  ASSERT_TRUE(download());
  EXPECT_EQ(files_asked(), 3U);
  EXPECT_EQ(known().extra_sha256, later_hashes());

  ASSERT_TRUE(unregister_model(world_.context, "split"));
  damage(world_.folder / "hf/hub/models--o--r/snapshots/abc1" / part_name(3));
  ASSERT_TRUE(download());
  EXPECT_EQ(files_asked(), 6U) << "a damaged part was taken from the cache";
}

// clause: P-18
TEST_F(SplitModel, DeleteRemovesWhatAnUnfinishedDownloadLeft) {
  // Nothing could remove a download that was given up: the catalog did not know the model.
  world_.http.pages["http://hub/o/r/resolve/abc1/" + part_name(2)] = {
      {.headers = {{"content-length", std::to_string(parts_[1].size())}},
       .body = parts_[1].substr(0, 100)},
      {.status = 404}};
  ASSERT_FALSE(download());
  ASSERT_TRUE(world_.files.exists(file(1)));
  const auto deleted = delete_model(world_.context, "split");
  ASSERT_TRUE(deleted) << deleted.error().message;
  EXPECT_TRUE(deleted->unfinished);
  EXPECT_FALSE(world_.files.exists(world_.context.root.models() / "split"));
  EXPECT_EQ(delete_model(world_.context, "split").error().code, Code::model_not_found);
}

// clause: P-18
TEST_F(SplitModel, DeleteOfAModelThatIsNotDownloadedLeavesFilesOfItsOwnersAlone) {
  ASSERT_TRUE(download());
  ASSERT_TRUE(unregister_model(world_.context, "split"));
  EXPECT_EQ(delete_model(world_.context, "split").error().code, Code::model_not_found);
  EXPECT_TRUE(world_.files.exists(file(1)));
}

// clause: P-3
TEST_F(SplitModel, OnlyALockThatIsHeldMeansAnotherDownload) {
  // A disk that was full or read-only was called another llorch-pool.
  const auto lock_fails = [&](Code code) {
    world_.files.fault = [code](std::string_view operation,
                                const FileSystem::Path&) -> std::optional<Error> {
      if (operation != "lock") return std::nullopt;
      return Error{.code = code, .message = "lock it: why"};
    };
    return download().error();
  };
  EXPECT_TRUE(lock_fails(Code::conflict).message.contains("another llorch-pool"));
  EXPECT_EQ(lock_fails(Code::forbidden).message, "lock it: why");
  EXPECT_EQ(lock_fails(Code::insufficient_storage).code, Code::insufficient_storage);
}

// clause: E-7
TEST(Models, APathThatIsNotThereSaysWhatToGive) {
  PoolWorld world;
  const auto registered = register_model(world.context, world.folder / "absent.gguf", "");
  ASSERT_FALSE(registered);
  EXPECT_EQ(registered.error().code, Code::not_found);
  EXPECT_EQ(registered.error().next, "give the path of a GGUF file");
  const auto imported = import_folder(world.context, world.folder / "absent");
  ASSERT_FALSE(imported);
  EXPECT_FALSE(imported.error().next.empty());
}

// clause: P-18
TEST(ImportHubCache, TakesTheSnapshotThatMainNamesElseTheNewest) {
  // Two snapshots of one repository were a conflict of ids.
  PoolWorld world;
  world.environment["HF_HOME"] = world.folder / "hf";
  const std::string cache = "hf/hub/models--o--r/";
  const auto model = text_of(tiny_model().file());
  world.folder.write(cache + "snapshots/aaaa/m.gguf", model);
  world.folder.write(cache + "snapshots/bbbb/m.gguf", model);
  const auto now = fs::file_time_type::clock::now();
  fs::last_write_time(world.folder / (cache + "snapshots/aaaa"), now);
  fs::last_write_time(world.folder / (cache + "snapshots/bbbb"), now - std::chrono::hours(1));
  const auto import = [&] {
    const auto imported = import_hub_cache(world.context);
    EXPECT_TRUE(imported && imported->refused.empty());
    EXPECT_EQ(imported->added.size(), 1U);
    const auto path = imported->added.front().path;
    EXPECT_TRUE(unregister_model(world.context, imported->added.front().id));
    return path;
  };
  EXPECT_TRUE(import().contains("snapshots/aaaa/"));
  world.folder.write(cache + "refs/main", "bbbb\n");
  EXPECT_TRUE(import().contains("snapshots/bbbb/"));
}

}  // namespace
}  // namespace llorch
