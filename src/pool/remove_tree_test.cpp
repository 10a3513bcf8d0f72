#include "pool/remove_tree.h"

#include <gtest/gtest.h>

#include "fakes/pool_world.h"
#include "protocol/kv_file.h"

namespace llorch {
namespace {

namespace fs = std::filesystem;

// clause: P-32
TEST(RemoveBelow, TakesLinksAwayAndNeverWhatTheyLeadTo) {
  // `kv purge` emptied the folder that a link inside the cache led to.
  PoolWorld world;
  world.folder.write("elsewhere/precious", "12345");
  world.folder.write("kv/m/a", "123");
  fs::create_directory_symlink(world.folder / "elsewhere", world.folder / "kv/m/link");
  fs::create_symlink(world.folder / "elsewhere/precious", world.folder / "kv/file");
  const auto removed = remove_below(world.files, world.folder / "kv");
  ASSERT_TRUE(removed) << removed.error().message;
  EXPECT_EQ(removed->files, 3U);
  EXPECT_TRUE(fs::is_empty(world.folder / "kv"));
  EXPECT_TRUE(world.files.exists(world.folder / "elsewhere/precious"));
}

TEST(RemoveBelow, RefusesAFolderThatIsALinkAndTakesNoneAsEmpty) {
  PoolWorld world;
  world.folder.write("elsewhere/precious", "12345");
  fs::create_directory_symlink(world.folder / "elsewhere", world.folder / "kv");
  const auto refused = remove_below(world.files, world.folder / "kv");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::invalid_request);
  EXPECT_TRUE(world.files.exists(world.folder / "elsewhere/precious"));
  EXPECT_EQ(remove_below(world.files, world.folder / "absent")->files, 0U);
}

TEST(RemoveBelow, SaysWhatItMayNotRemove) {
  PoolWorld world;
  world.folder.write("kv/a", "");
  world.files.fault = [](std::string_view operation,
                         const FileSystem::Path&) -> std::optional<Error> {
    if (operation != "remove") return std::nullopt;
    return Error{.code = Code::forbidden, .message = "no"};
  };
  EXPECT_EQ(remove_below(world.files, world.folder / "kv").error().code, Code::forbidden);
}

// clause: P-32
TEST(RemoveKvFiles, TakesSnapshotsByTheirNamesAndNothingElse) {
  PoolWorld world;
  const auto name = kv_file_name("model", "", {1, 2});
  world.folder.write("kv/" + name, "12345");
  world.folder.write("kv/" + kv_temporary_name(name, "0123abcd"), "123");
  world.folder.write("kv/notes.txt", "mine");
  world.folder.write("kv/below/" + name, "12345");
  world.folder.write("precious", "12345");
  fs::create_symlink(world.folder / "precious", world.folder / "kv" / kv_file_name("m", "", {3}));
  const auto removed = remove_kv_files(world.files, world.folder / "kv");
  ASSERT_TRUE(removed) << removed.error().message;
  EXPECT_EQ(removed->files, 3U);
  EXPECT_EQ(*world.files.list(world.folder / "kv"),
            (std::vector<std::string>{"below", "notes.txt"}));
  EXPECT_TRUE(world.files.exists(world.folder / "precious"));
  EXPECT_EQ(remove_kv_files(world.files, world.folder / "absent")->files, 0U);
}

}  // namespace
}  // namespace llorch
