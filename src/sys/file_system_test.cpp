#include "sys/file_system.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

#include "fakes/temporary_folder.h"

namespace llorch {
namespace {

namespace fs = std::filesystem;

class Files : public testing::Test {
 protected:
  TemporaryFolder folder_;
  std::unique_ptr<FileSystem> files_ = make_file_system();
};

// clause: P-3
TEST_F(Files, AWriteReplacesTheWholeFileAndLeavesNoOtherName) {
  ASSERT_TRUE(files_->write_atomic(folder_ / "a", std::string(100'000, 'x')));
  ASSERT_TRUE(files_->write_atomic(folder_ / "a", "short"));
  EXPECT_EQ(files_->read(folder_ / "a", 100), "short");
  EXPECT_EQ(files_->list(folder_.path()), std::vector<std::string>{"a"});
}

// clause: P-3
TEST_F(Files, AFailedWriteKeepsTheOldFileAndLeavesNoOtherName) {
  ASSERT_TRUE(files_->write_atomic(folder_ / "a", "old"));
  fs::create_directory(folder_ / "b");
  folder_.write("b/inside", "");
  ASSERT_FALSE(files_->write_atomic(folder_ / "b", "new"));  // a folder is in the way
  EXPECT_EQ(files_->list(folder_.path()), (std::vector<std::string>{"a", "b"}));
  const auto missing = files_->write_atomic(folder_ / "absent/c", "new");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, Code::not_found);
}

TEST_F(Files, AReadIsBounded) {
  folder_.write("a", "12345");
  EXPECT_EQ(files_->read(folder_ / "a", 5), "12345");
  const auto over = files_->read(folder_ / "a", 4);
  ASSERT_FALSE(over);
  EXPECT_EQ(over.error().code, Code::too_large);
  EXPECT_EQ(files_->read(folder_ / "absent", 4).error().code, Code::not_found);
}

TEST_F(Files, APipeIsRefusedAndNotWaitedFor) {
  ASSERT_EQ(::mkfifo((folder_ / "pipe").c_str(), 0600), 0);
  EXPECT_EQ(files_->open(folder_ / "pipe").error().code, Code::invalid_request);
}

// clause: P-19
TEST_F(Files, NothingOutsideTheFolderIsOpenedBelowIt) {
  folder_.write("root/in/side", "yes");
  folder_.write("secret", "no");
  fs::create_symlink(folder_ / "secret", folder_ / "root/absolute");
  fs::create_symlink("../secret", folder_ / "root/climbing");
  fs::create_directory_symlink("..", folder_ / "root/up");
  struct Case {
    const char* name;
    std::string_view path;
    bool opens;
  };
  const Case cases[] = {{"a file inside", "in/side", true},
                        {"dot dot", "../secret", false},
                        {"dot dot in the middle", "in/../../secret", false},
                        {"absolute", "/etc/passwd", false},
                        {"empty", "", false},
                        {"NUL", std::string_view("in\0side", 7), false},
                        {"a link to outside", "absolute", false},
                        {"a relative link to outside", "climbing", false},
                        {"a linked folder on the way", "up/secret", false},
                        {"a folder", "in", false}};
  for (const auto& [name, path, opens] : cases) {
    SCOPED_TRACE(name);
    EXPECT_EQ(files_->open_beneath(folder_ / "root", path).has_value(), opens);
  }
}

TEST_F(Files, AppendingGoesOnWhereTheFileEnds) {
  const auto bytes = std::as_bytes(std::span("abc", 3));
  {
    auto file = files_->open_append(folder_ / "a");
    ASSERT_TRUE(file);
    EXPECT_EQ((*file)->size_bytes(), 0U);
    ASSERT_TRUE((*file)->append(bytes));
    ASSERT_TRUE((*file)->sync());
  }
  auto file = files_->open_append(folder_ / "a");
  ASSERT_TRUE(file);
  EXPECT_EQ((*file)->size_bytes(), 3U);
  ASSERT_TRUE((*file)->append(bytes));
  ASSERT_TRUE((*file)->truncate(4));
  EXPECT_EQ((*file)->size_bytes(), 4U);
  EXPECT_EQ(files_->read(folder_ / "a", 10), "abca");
}

// clause: P-3
TEST_F(Files, ASecondHolderOfALockIsRefusedUntilTheFirstLetsGo) {
  auto first = files_->lock(folder_ / "lock", 0);
  ASSERT_TRUE(first);
  const auto second = files_->lock(folder_ / "lock", 0);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::conflict);
  first->reset();
  EXPECT_TRUE(files_->lock(folder_ / "lock", 0));
}

TEST_F(Files, APrivateFolderIsOursAloneAndOneThatIsThereStaysAsItIs) {
  for (const char* name : {"new/folder", "another/"}) {
    ASSERT_TRUE(files_->make_private_directory(folder_ / name));
    const auto made = files_->stat(folder_ / name);
    EXPECT_EQ(made->mode, 0700U);
    EXPECT_TRUE(made->own);
  }
  fs::permissions(folder_ / "new", fs::perms::all);
  EXPECT_TRUE(files_->make_private_directory(folder_ / "new"));
  EXPECT_EQ(files_->stat(folder_ / "new")->mode, 0777U);
  folder_.write("file", "");
  EXPECT_EQ(files_->make_private_directory(folder_ / "file").error().code, Code::conflict);
}

TEST_F(Files, APrivateFileIsNewAndLockedWhileItIsWritten) {
  auto file = files_->create_private(folder_ / "a");
  ASSERT_TRUE(file);
  ASSERT_TRUE((*file)->append(std::as_bytes(std::span("abc", 3))));
  EXPECT_EQ(files_->stat(folder_ / "a")->mode, 0600U);
  EXPECT_EQ(files_->create_private(folder_ / "a").error().code, Code::conflict);
  EXPECT_EQ(files_->lock(folder_ / "a", 0).error().code, Code::conflict);
  file->reset();
  EXPECT_TRUE(files_->lock(folder_ / "a", 0));
  EXPECT_EQ(files_->read(folder_ / "a", 10), "abc");
}

TEST_F(Files, TouchingMakesItModifiedNow) {
  folder_.write("a", "");
  fs::last_write_time(folder_ / "a", fs::file_time_type::clock::now() - std::chrono::hours{48});
  const auto before = files_->stat(folder_ / "a")->modified_ns;
  ASSERT_TRUE(files_->touch(folder_ / "a"));
  EXPECT_GT(files_->stat(folder_ / "a")->modified_ns, before + 47LL * 3'600'000'000'000);
  EXPECT_EQ(files_->touch(folder_ / "absent").error().code, Code::not_found);
}

TEST_F(Files, RemovingWhatIsGoneSucceeds) {
  folder_.write("a", "");
  EXPECT_TRUE(files_->remove(folder_ / "a"));
  EXPECT_TRUE(files_->remove(folder_ / "a"));
}

TEST_F(Files, ALinkIsLookedThroughOrAtAndRemovedItself) {
  folder_.write("there/a", "12345");
  fs::create_directory_symlink(folder_ / "there", folder_ / "link");
  EXPECT_EQ(files_->stat(folder_ / "link")->kind, FileStat::Kind::directory);
  EXPECT_EQ(files_->stat_link(folder_ / "link")->kind, FileStat::Kind::link);
  EXPECT_EQ(files_->stat_link(folder_ / "there/a")->size_bytes, 5U);
  EXPECT_EQ(files_->stat_link(folder_ / "absent").error().code, Code::not_found);
  EXPECT_TRUE(files_->remove(folder_ / "link"));
  EXPECT_TRUE(files_->exists(folder_ / "there/a"));
}

TEST_F(Files, FreeSpaceIsThatOfTheNearestFolderThatExists) {
  const auto here = files_->free_bytes(folder_.path());
  const auto below = files_->free_bytes(folder_ / "not/yet/there");
  ASSERT_TRUE(here);
  ASSERT_TRUE(below);
  EXPECT_GT(*below, 0U);
}

TEST_F(Files, AReadOnlyFolderIsForbiddenAndNamed) {
  if (::geteuid() == 0) GTEST_SKIP() << "root writes everywhere";
  fs::permissions(folder_.path(), fs::perms::owner_read | fs::perms::owner_exec);
  const auto written = files_->write_atomic(folder_ / "a", "x");
  fs::permissions(folder_.path(), fs::perms::owner_all);
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code, Code::forbidden);
}

TEST_F(Files, AFullDiskIsNamedAsSuch) {
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "no /dev/full here";
  auto file = files_->open_append("/dev/full");
  ASSERT_TRUE(file);
  const auto appended = (*file)->append(std::as_bytes(std::span("abc", 3)));
  ASSERT_FALSE(appended);
  EXPECT_EQ(appended.error().code, Code::insufficient_storage);
}

}  // namespace
}  // namespace llorch
