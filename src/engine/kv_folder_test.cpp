#include "engine/kv_folder.h"

#include <algorithm>
#include <fstream>
#include <gtest/gtest.h>
#include <numeric>
#include <unistd.h>

#include "base/limits.h"
#include "fakes/faulty_file_system.h"
#include "fakes/temporary_folder.h"

namespace llorch {
namespace {

namespace fs = std::filesystem;
using std::chrono::hours;

KvSnapshot snapshot(Token first, std::size_t state_bytes = 1000, std::string scope = "") {
  KvSnapshot made{std::move(scope), std::vector<Token>(40), {}};
  std::iota(made.tokens.begin(), made.tokens.end(), first);
  made.state = {std::make_shared<std::byte[]>(state_bytes), state_bytes};
  for (std::size_t i = 0; i < state_bytes; ++i) made.state.bytes[i] = static_cast<std::byte>(i * 7);
  return made;
}

class KvFolderOnDisk : public testing::Test {
 protected:
  KvFolderOnDisk() { EXPECT_TRUE(prepare_kv_folder(files_, path_)); }

  KvFolder open(std::uint64_t bytes_max = 1 << 20, std::string fingerprint = "model a") {
    return KvFolder(files_, clock_, {path_, bytes_max, std::move(fingerprint)});
  }
  std::vector<std::string> names() { return files_.list(path_).value(); }
  void flip(const std::string& name, std::uint64_t at) {
    std::fstream file(path_ / name, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(at));
    const auto byte = static_cast<char>(file.get() ^ 4);
    file.seekp(static_cast<std::streamoff>(at));
    file.put(byte);
  }
  void unused_for(const std::string& name, hours time) {
    fs::last_write_time(path_ / name, fs::file_time_type::clock::now() - time);
  }

  TemporaryFolder outer_;
  const fs::path path_ = outer_ / "kv";
  FaultyFileSystem files_;
  SystemClock clock_;
};

// clause: W-62
TEST(FilesToRemove, TheUnusedGoAndThenTheLeastRecentlyUsed) {
  constexpr std::int64_t hour = 3'600'000'000'000;
  constexpr std::int64_t now = 100 * hour;
  const std::vector<KvFile> files = {
      {"new", 10, now}, {"old", 30, now - 2 * hour}, {"older", 20, now - 3 * hour}};
  struct Case {
    const char* name;
    std::int64_t now_ns;
    std::uint64_t bytes_max;
    std::size_t more_files;
    std::uint64_t more_bytes;
    std::vector<std::string> want;
  };
  const Case cases[] = {{"all fit", now, 60, 0, 0, {}},
                        {"one that is to come", now, 60, 1, 1, {"older"}},
                        {"one as large as two", now, 60, 1, 21, {"older", "old"}},
                        {"a smaller bound", now, 10, 0, 0, {"older", "old"}},
                        {"no bound at all", now, 0, 0, 0, {"older", "old", "new"}},
                        {"a day later", now + 22 * hour, 60, 0, 0, {"older"}},
                        {"two days later", now + 48 * hour, 60, 0, 0, {"older", "old", "new"}},
                        {"a clock set back", now - 99 * hour, 60, 0, 0, {}},
                        {"as many as may be", now, 60, limits::kv_files_max - 3, 0, {}},
                        {"one more", now, 60, limits::kv_files_max - 2, 0, {"older"}}};
  for (const auto& [name, now_ns, bytes_max, more_files, more_bytes, want] : cases) {
    SCOPED_TRACE(name);
    std::vector<std::string> gone;
    for (const auto& file : files_to_remove(files, now_ns, bytes_max, more_files, more_bytes)) {
      gone.push_back(file.name);
    }
    EXPECT_EQ(gone, want);
  }
}

// clause: W-60
TEST_F(KvFolderOnDisk, WhatIsWrittenIsReadAgainByTheNextProcess) {
  const auto written = snapshot(7, 5000, "tenant");
  const auto name = open().write(written);
  ASSERT_TRUE(name) << name.error().message;
  EXPECT_EQ(files_.stat(path_ / *name)->mode, 0600U);
  EXPECT_EQ(names(), std::vector{*name});
  auto next = open();
  const auto look = next.look({});
  ASSERT_EQ(look.found.size(), 1U);
  EXPECT_EQ(look.found[0].scope, "tenant");
  EXPECT_EQ(look.found[0].tokens, written.tokens);
  const auto again = next.read(*name);
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(again->tokens, written.tokens);
  EXPECT_TRUE(std::ranges::equal(again->state.view(), written.state.view()));
  EXPECT_EQ(next.files(), 1);
  EXPECT_GT(next.bytes(), 5000);
}

// clause: W-61
TEST_F(KvFolderOnDisk, ADamagedFileIsRefusedAndRemoved) {
  struct Case {
    const char* name;
    std::function<void(const std::string& file, std::uint64_t size)> damage;
    bool seen_at_a_look;  // the state is read only when it is wanted
  };
  const Case cases[] = {
      {"a bit of the head", [&](const auto& file, auto) { flip(file, 50); }, true},
      {"the magic", [&](const auto& file, auto) { flip(file, 0); }, true},
      {"a bit of the state", [&](const auto& file, auto size) { flip(file, size - 9); }, false},
      {"cut in the state",
       [&](const auto& file, auto size) { fs::resize_file(path_ / file, size - 1); }, true},
      {"cut in the head", [&](const auto& file, auto) { fs::resize_file(path_ / file, 60); }, true},
      {"cut in the start", [&](const auto& file, auto) { fs::resize_file(path_ / file, 9); }, true},
      {"emptied", [&](const auto& file, auto) { fs::resize_file(path_ / file, 0); }, true},
      {"longer", [&](const auto& file, auto size) { fs::resize_file(path_ / file, size + 1); },
       true}};
  for (const auto& [name, damage, seen_at_a_look] : cases) {
    SCOPED_TRACE(name);
    auto folder = open();
    const auto file = folder.write(snapshot(7));
    ASSERT_TRUE(file);
    damage(*file, files_.stat(path_ / *file)->size_bytes);
    auto next = open();
    const auto look = next.look({});
    EXPECT_EQ(look.rejected, seen_at_a_look ? 1 : 0);
    EXPECT_EQ(look.found.size(), seen_at_a_look ? 0U : 1U);
    if (!seen_at_a_look) {
      EXPECT_EQ(next.read(*file).error().code, Code::invalid_request);
    }
    EXPECT_EQ(names(), std::vector<std::string>{});
    EXPECT_EQ(next.files(), 0);
  }
}

// clause: W-61
TEST_F(KvFolderOnDisk, FilesOfAnotherFingerprintAreLeftAlone) {
  const auto name = open(1 << 20, "model b").write(snapshot(7));
  ASSERT_TRUE(name);
  const auto renamed = kv_file_name("model a", "", {1});  // as if two fingerprints had one hash
  ASSERT_TRUE(files_.rename(path_ / *name, path_ / renamed));
  ASSERT_TRUE(open(1 << 20, "model b").write(snapshot(7)));
  auto folder = open();
  EXPECT_TRUE(folder.look({}).found.empty());
  EXPECT_EQ(folder.read(renamed).error().code, Code::conflict);
  EXPECT_EQ(names().size(), 2U);
  EXPECT_EQ(folder.files(), 2);
}

// clause: W-61
TEST_F(KvFolderOnDisk, WhatIsNotOursIsNotTouched) {
  std::ofstream(path_ / "notes.txt") << "mine";
  std::ofstream(outer_ / "secret") << "elsewhere";
  const auto name = kv_file_name("model a", "", {1});
  fs::create_symlink(outer_ / "secret", path_ / name);
  fs::create_directory(path_ / kv_file_name("model a", "", {2}));
  auto folder = open(0);
  EXPECT_TRUE(folder.look({}).found.empty());
  EXPECT_FALSE(folder.read(name));
  EXPECT_EQ(names().size(), 3U);
  EXPECT_TRUE(fs::exists(outer_ / "secret"));
}

// clause: W-62
TEST_F(KvFolderOnDisk, TheLeastRecentlyUsedMakesRoom) {
  auto folder = open(3'700);
  const auto a = folder.write(snapshot(1)).value();
  const auto b = folder.write(snapshot(2)).value();
  const auto c = folder.write(snapshot(3)).value();
  unused_for(a, hours{3});
  unused_for(b, hours{2});
  unused_for(c, hours{1});
  ASSERT_TRUE(folder.read(a));  // and so it is the last used
  const auto d = folder.write(snapshot(4)).value();
  EXPECT_FALSE(files_.exists(path_ / b));
  for (const auto& kept : {a, c, d}) EXPECT_TRUE(files_.exists(path_ / kept));
  EXPECT_EQ(folder.files(), 3);
  EXPECT_LE(folder.bytes(), 3'700);
  EXPECT_EQ(folder.write(snapshot(5, 4'000)).error().code, Code::too_large);
}

// clause: W-62
TEST_F(KvFolderOnDisk, AfterADayWithoutUseAFileGoesWhoeverWroteIt) {
  auto folder = open();
  const auto ours = folder.write(snapshot(1)).value();
  const auto others = open(1 << 20, "model b").write(snapshot(1)).value();
  const auto used = folder.write(snapshot(2)).value();
  for (const auto& name : {ours, others, used}) unused_for(name, hours{25});
  EXPECT_TRUE(folder.used(used));
  EXPECT_EQ(folder.look({}).there, std::set{used});
  EXPECT_EQ(names(), std::vector{used});
}

// clause: W-62
TEST_F(KvFolderOnDisk, AFullDiskLeavesNothingBehind) {
  auto folder = open();
  struct Case {
    const char* operation;
    Code code;
  };
  for (const auto& [operation, code] :
       {Case{"append_bytes", Code::insufficient_storage},
        Case{"rename", Code::insufficient_storage}, Case{"create", Code::forbidden}}) {
    SCOPED_TRACE(operation);
    files_.fault = [&](std::string_view asked, const auto&) -> std::optional<Error> {
      if (asked != operation) return std::nullopt;
      return Error{.code = code, .message = "no"};
    };
    EXPECT_EQ(folder.write(snapshot(1)).error().code, code);
    files_.fault = nullptr;
    EXPECT_EQ(names(), std::vector<std::string>{});
  }
  files_.free_bytes_told = limits::kv_free_least;
  EXPECT_EQ(folder.write(snapshot(1)).error().code, Code::insufficient_storage);
  files_.free_bytes_told = limits::kv_free_least + 10'000;
  EXPECT_TRUE(folder.write(snapshot(1)));
}

// clause: W-62
TEST_F(KvFolderOnDisk, WhatADeadProcessLeftHalfWrittenGoesAndWhatIsBeingWrittenStays) {
  const auto dead = kv_temporary_name(kv_file_name("model a", "", {1}), "01234567");
  const auto live = kv_temporary_name(kv_file_name("model a", "", {2}), "89abcdef");
  std::ofstream(path_ / dead) << "half";
  const auto writing = files_.create_private(path_ / live);
  ASSERT_TRUE(writing);
  EXPECT_TRUE(open().look({}).found.empty());
  EXPECT_EQ(names(), std::vector{live});
}

// clause: W-62
TEST_F(KvFolderOnDisk, TwoWorkersSeeWhatTheOtherWroteAndRemoved) {
  auto one = open();
  auto two = open();
  const auto name = one.write(snapshot(1)).value();
  const auto look = two.look({});
  ASSERT_EQ(look.found.size(), 1U);
  EXPECT_TRUE(two.read(name));
  one.remove(name);
  EXPECT_EQ(two.read(name).error().code, Code::not_found);
  EXPECT_TRUE(two.look({name}).there.empty());
  EXPECT_FALSE(two.used(name));
}

// clause: W-63
TEST(PrepareKvFolder, MakesAPrivateFolderAndRefusesWhatOthersMayRead) {
  const TemporaryFolder outer;
  const auto files = make_file_system();
  ASSERT_TRUE(prepare_kv_folder(*files, outer / "a/kv"));
  EXPECT_EQ(files->stat(outer / "a/kv")->mode, 0700U);
  EXPECT_TRUE(prepare_kv_folder(*files, outer / "a/kv"));

  fs::permissions(outer / "a/kv", fs::perms::group_read, fs::perm_options::add);
  const auto open = prepare_kv_folder(*files, outer / "a/kv");
  ASSERT_FALSE(open);
  EXPECT_EQ(open.error().code, Code::forbidden);
  EXPECT_NE(open.error().message.find("mode 0740"), std::string::npos) << open.error().message;
  EXPECT_EQ(open.error().next, "chmod 700 " + (outer / "a/kv").string());

  outer.write("file", "");
  EXPECT_FALSE(prepare_kv_folder(*files, outer / "file"));
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give a folder away";
  ASSERT_TRUE(prepare_kv_folder(*files, outer / "given"));
  ASSERT_EQ(::chown((outer / "given").c_str(), 12'345, 12'345), 0);
  const auto given = prepare_kv_folder(*files, outer / "given");
  ASSERT_FALSE(given);
  EXPECT_EQ(given.error().code, Code::forbidden);
}

}  // namespace
}  // namespace llorch
