#include "store/event_log.h"

#include <algorithm>
#include <fstream>
#include <gtest/gtest.h>
#include <sstream>
#include <sys/stat.h>

#include "fakes/temporary_folder.h"

namespace llorch {
namespace {

namespace fs = std::filesystem;

// The real files, with a disk that fills up and calls that fail.
class FaultyLogFiles final : public LogFiles {
 public:
  std::optional<std::size_t> room_bytes;  // then writes are short, and then fail
  Code write_code = Code::insufficient_storage;
  bool truncate_fails = false;
  bool create_fails = false;
  bool remove_fails = false;
  bool read_fails = false;
  int writes = 0;

  Result<void> make_folder(const Path& folder) override { return real_->make_folder(folder); }
  Result<std::vector<std::string>> list(const Path& folder) override { return real_->list(folder); }
  Result<std::unique_ptr<LogFile>> open(const Path& path) override {
    return watched(real_->open(path));
  }
  Result<std::unique_ptr<LogFile>> create(const Path& path) override {
    if (create_fails) return fail(Code::insufficient_storage, "no room for a file");
    return watched(real_->create(path));
  }
  Result<void> remove(const Path& path) override {
    if (remove_fails) return fail(Code::internal, "cannot remove");
    return real_->remove(path);
  }

 private:
  class Watched final : public LogFile {
   public:
    Watched(FaultyLogFiles& files, std::unique_ptr<LogFile> real)
        : files_(files), real_(std::move(real)) {}
    Result<std::size_t> write(std::string_view bytes) override {
      ++files_.writes;
      auto& room = files_.room_bytes;
      if (room && *room == 0) return fail(files_.write_code, "the disk is full");
      const auto taken = real_->write(room ? bytes.substr(0, *room) : bytes);
      if (taken && room) *room -= *taken;
      return taken;
    }
    Result<std::size_t> read_at(std::uint64_t offset, std::span<char> into) override {
      if (files_.read_fails) return fail(Code::internal, "cannot read");
      return real_->read_at(offset, into);
    }
    Result<void> truncate(std::uint64_t size_bytes) override {
      if (files_.truncate_fails) return fail(Code::internal, "cannot truncate");
      return real_->truncate(size_bytes);
    }
    Result<std::uint64_t> size_bytes() override { return real_->size_bytes(); }

   private:
    FaultyLogFiles& files_;
    std::unique_ptr<LogFile> real_;
  };
  Result<std::unique_ptr<LogFile>> watched(Result<std::unique_ptr<LogFile>> file) {
    if (!file) return file;
    return std::make_unique<Watched>(*this, std::move(*file));
  }
  std::unique_ptr<LogFiles> real_ = make_log_files();
};

const JobId a{"a"};
const JobId b{"b"};
using Frames = std::vector<LoggedFrame>;

class Log : public testing::Test {
 protected:
  std::unique_ptr<EventLog> open() {
    auto log = EventLog::open(path_, files_);
    EXPECT_TRUE(log) << log.error().message;
    return log ? std::move(*log) : nullptr;
  }
  void add(EventLog& log, const JobId& job, std::uint64_t seq, const std::string& frame) {
    ASSERT_TRUE(log.append(job, seq, frame) && log.flush());
  }
  std::vector<fs::path> segment_files() {
    std::vector<fs::path> found;
    for (const auto& entry : fs::directory_iterator(path_)) found.push_back(entry.path());
    std::ranges::sort(found);
    return found;
  }
  static std::string bytes_of(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream bytes;
    bytes << file.rdbuf();
    return bytes.str();
  }
  static void replace(const fs::path& path, std::string_view bytes) {
    std::ofstream(path, std::ios::binary) << bytes;
  }

  TemporaryFolder folder_;
  fs::path path_ = folder_ / "state/events";
  FaultyLogFiles files_;
};

TEST_F(Log, FramesAreReadAfterAnyNumberOnceTheyAreWritten) {
  const auto log = open();
  ASSERT_TRUE(log->append(a, 2, "two") && log->append(b, 1, "other") && log->append(a, 5, "five"));
  EXPECT_EQ(*log->read(a, std::nullopt), Frames{});
  ASSERT_TRUE(log->flush());
  EXPECT_EQ(*log->read(a, std::nullopt), (Frames{{2, "two"}, {5, "five"}}));
  EXPECT_EQ(*log->read(a, 1), (Frames{{2, "two"}, {5, "five"}}));
  EXPECT_EQ(*log->read(a, 2), (Frames{{5, "five"}}));
  EXPECT_EQ(*log->read(a, 3), (Frames{{5, "five"}}));
  EXPECT_EQ(*log->read(a, 5), Frames{});
  EXPECT_EQ(*log->read(JobId{"none"}, std::nullopt), Frames{});
  EXPECT_EQ(decode_frames(*log->folded(a)), (Frames{{2, "two"}, {5, "five"}}));
  EXPECT_EQ(log->folded(JobId{"none"}), "");
}

TEST_F(Log, AReplayComesInBoundedSteps) {
  const auto log = open();
  for (std::uint64_t seq = 1; seq <= 5; ++seq) add(*log, a, seq, std::string(1'000, 'x'));
  EXPECT_EQ(log->read(a, std::nullopt, 2'500)->size(), 2u);
  EXPECT_EQ(log->read(a, 2, 2'500)->front().seq, 3u);
  EXPECT_EQ(log->read(a, std::nullopt, 1)->size(), 1u);  // at least one
}

TEST_F(Log, OneTurnOfTheLoopIsOneWrite) {
  const auto log = open();
  for (std::uint64_t seq = 1; seq <= 50; ++seq) {
    ASSERT_TRUE(log->append(a, seq, "x") && log->append(b, seq, "y"));
  }
  ASSERT_TRUE(log->flush() && log->flush());
  EXPECT_EQ(files_.writes, 1);
}

TEST_F(Log, WhatCannotBeTakenIsRefused) {
  const auto log = open();
  ASSERT_TRUE(log->append(a, 4, "x"));
  EXPECT_EQ(log->append(a, 4, "x").error().code, Code::invalid_request);
  ASSERT_TRUE(log->flush());
  EXPECT_EQ(log->append(a, 3, "x").error().code, Code::invalid_request);
  const std::string large(limits::event_log_frame_bytes_max, 'x');
  EXPECT_EQ(log->append(b, 1, large + "x").error().code, Code::too_large);
  std::uint64_t seq = 0;
  Result<void> taken;
  while (taken && seq < 10) taken = log->append(b, ++seq, large);
  ASSERT_FALSE(taken);
  EXPECT_EQ(taken.error().code, Code::queue_full);
  EXPECT_TRUE(log->flush());
  EXPECT_TRUE(log->append(b, seq, large));
}

TEST_F(Log, WhatWasFlushedIsThereAfterTheProcessIsGone) {
  auto log = open();
  ASSERT_TRUE(log->append(a, 1, "one") && log->append(b, 9, "nine") && log->flush());
  ASSERT_TRUE(log->append(a, 2, "never written"));
  log = open();
  ASSERT_EQ(log->recovered().jobs.size(), 2u);
  const auto& first = log->recovered().jobs.front();
  EXPECT_EQ(first.job_id, a);
  EXPECT_EQ(first.frames, 1u);
  EXPECT_EQ(first.last_seq, 1u);
  EXPECT_FALSE(first.damaged);
  add(*log, a, 2, "two");
  log = open();
  EXPECT_EQ(*log->read(a, std::nullopt), (Frames{{1, "one"}, {2, "two"}}));
  EXPECT_EQ(*log->read(b, std::nullopt), (Frames{{9, "nine"}}));
  EXPECT_EQ(log->segments(), 1u);
}

TEST_F(Log, ATornTailIsCutWhereverItEnds) {
  std::size_t before = 0;
  std::string bytes;
  {
    const auto log = open();
    add(*log, a, 1, "one");
    before = log->size_bytes();
    add(*log, a, 2, "two");
    bytes = bytes_of(segment_files().front());
  }
  for (std::size_t size = before; size < bytes.size(); ++size) {
    SCOPED_TRACE(size);
    replace(segment_files().front(), std::string_view(bytes).substr(0, size));
    auto log = open();
    EXPECT_EQ(log->recovered().cut_bytes, size - before);
    EXPECT_EQ(fs::file_size(segment_files().front()), before);
    EXPECT_FALSE(log->recovered().jobs.front().damaged);
    add(*log, a, 2, "again");
    log = open();
    EXPECT_EQ(*log->read(a, std::nullopt), (Frames{{1, "one"}, {2, "again"}}));
  }
}

TEST_F(Log, ADamagedFrameEndsItsJobAndIsReported) {
  {
    const auto log = open();
    add(*log, a, 1, "one");
    add(*log, a, 2, "two");
    add(*log, b, 1, "one");
    add(*log, a, 3, "three");
  }
  std::string bytes = bytes_of(segment_files().front());
  bytes[bytes.find("two")] = 'T';
  replace(segment_files().front(), bytes);
  const auto log = open();
  const auto& jobs = log->recovered().jobs;
  ASSERT_EQ(jobs.size(), 2u);
  EXPECT_TRUE(jobs[0].damaged);
  EXPECT_FALSE(jobs[1].damaged);
  EXPECT_FALSE(log->recovered().reports.empty());
  EXPECT_EQ(*log->read(a, std::nullopt), (Frames{{1, "one"}}));
  EXPECT_EQ(log->append(a, 4, "four").error().code, Code::internal);
  add(*log, b, 2, "two");
  log->forget(a);
  EXPECT_EQ(log->jobs(), 1u);
}

TEST_F(Log, BytesThatChangeLaterAreNotGivenOut) {
  const auto log = open();
  add(*log, a, 1, "one");
  std::string bytes = bytes_of(segment_files().front());
  bytes.back() = '!';
  replace(segment_files().front(), bytes);
  EXPECT_EQ(log->read(a, std::nullopt).error().code, Code::internal);
  EXPECT_EQ(log->folded(a).error().code, Code::internal);
}

TEST_F(Log, AFullDiskIsToldAndNothingIsLostOrTwice) {
  for (std::size_t room = 0; room < 100; room += 3) {
    SCOPED_TRACE(room);
    fs::remove_all(path_);
    auto log = open();
    add(*log, a, 1, "one");
    const auto size = fs::file_size(segment_files().front());
    ASSERT_TRUE(log->append(a, 2, "two") && log->append(b, 1, std::string(40, 'x')));
    files_.room_bytes = room;
    for (int tries = 0; tries < 2; ++tries) {
      EXPECT_EQ(log->flush().error().code, Code::insufficient_storage);
      EXPECT_EQ(fs::file_size(segment_files().front()), size);
    }
    EXPECT_EQ(log->read(a, std::nullopt)->size(), 1u);
    files_.room_bytes.reset();
    ASSERT_TRUE(log->append(a, 3, "three") && log->flush());
    log = open();
    EXPECT_EQ(*log->read(a, std::nullopt), (Frames{{1, "one"}, {2, "two"}, {3, "three"}}));
    EXPECT_EQ(log->read(b, std::nullopt)->size(), 1u);
  }
}

TEST_F(Log, ADiskThatCannotEvenCutGoesOnInAnotherFile) {
  auto log = open();
  add(*log, a, 1, "one");
  ASSERT_TRUE(log->append(a, 2, "two"));
  files_.room_bytes = 10;
  files_.write_code = Code::internal;
  files_.truncate_fails = true;
  EXPECT_EQ(log->flush().error().code, Code::internal);
  files_.room_bytes.reset();
  files_.truncate_fails = false;
  ASSERT_TRUE(log->flush());
  EXPECT_EQ(log->segments(), 2u);
  log = open();
  EXPECT_EQ(log->recovered().cut_bytes, 10u);
  EXPECT_FALSE(log->recovered().jobs.front().damaged);
  EXPECT_EQ(*log->read(a, std::nullopt), (Frames{{1, "one"}, {2, "two"}}));
}

TEST_F(Log, AJobIsForgottenWithWhatItHasPending) {
  const auto log = open();
  ASSERT_TRUE(log->append(a, 1, "one") && log->append(b, 1, "stays") && log->append(a, 2, "two"));
  log->forget(a);
  log->forget(a);
  ASSERT_TRUE(log->flush());
  EXPECT_EQ(log->read(a, std::nullopt)->size(), 0u);
  EXPECT_EQ(*log->read(b, std::nullopt), (Frames{{1, "stays"}}));
  EXPECT_EQ(bytes_of(segment_files().front()).find("two"), std::string::npos);
  ASSERT_TRUE(log->append(a, 1, "new"));
  log->forget(a);
  EXPECT_FALSE(log->has_pending());
}

// Frames so large that a segment holds a few.
class FullSegments : public Log {
 protected:
  void add_large(EventLog& log, const JobId& job, std::uint64_t seq) {
    add(log, job, seq, std::string(16 * limits::mib, 'x'));
  }
};

TEST_F(FullSegments, ASegmentGoesWithTheLastOfItsJobs) {
  auto log = open();
  for (std::uint64_t seq = 1; seq <= 7; ++seq) add_large(*log, a, seq);
  EXPECT_EQ(log->segments(), 3u);
  add(*log, b, 1, "in the third");
  log->forget(b);
  EXPECT_EQ(log->segments(), 3u);
  add(*log, b, 1, "in the third");
  EXPECT_EQ(log->read(a, std::nullopt, 100 * limits::mib)->size(), 6u);  // and their heads
  log->forget(a);
  EXPECT_EQ(log->segments(), 1u);
  EXPECT_EQ(segment_files().size(), 1u);
  EXPECT_EQ(*log->read(b, std::nullopt), (Frames{{1, "in the third"}}));
  log = open();
  EXPECT_EQ(*log->read(b, std::nullopt), (Frames{{1, "in the third"}}));
  ASSERT_EQ(log->recovered().jobs.size(), 2u);    // the rest of a stands beside b
  EXPECT_TRUE(log->recovered().jobs[0].damaged);  // its first frames went with their segments
  EXPECT_FALSE(log->recovered().jobs[1].damaged);
  log->forget(a);
  log->forget(b);
  EXPECT_EQ(log->size_bytes(), 0u);
  EXPECT_EQ(fs::file_size(segment_files().front()), 0u);  // no answer stays on the disk
  add(*log, b, 1, "goes on");
  EXPECT_EQ(log->segments(), 1u);
}

TEST_F(FullSegments, ANewFileThatCannotBeMadeIsToldAndTriedAgain) {
  const auto log = open();
  for (std::uint64_t seq = 1; seq <= 3; ++seq) add_large(*log, a, seq);
  files_.create_fails = true;
  ASSERT_TRUE(log->append(a, 4, std::string(16 * limits::mib, 'x')));
  EXPECT_EQ(log->flush().error().code, Code::insufficient_storage);
  files_.create_fails = false;
  EXPECT_TRUE(log->flush());
  EXPECT_EQ(log->segments(), 2u);
  files_.remove_fails = true;
  log->forget(a);  // is logged; the file is found again at the next start
  EXPECT_EQ(log->segments(), 1u);
  EXPECT_EQ(segment_files().size(), 2u);
}

TEST_F(Log, TheNumberOfFilesIsBounded) {
  const auto log = open();
  files_.truncate_fails = true;
  for (std::uint64_t seq = 1; seq <= limits::event_log_segments_max; ++seq) {
    add(*log, a, seq, "x");
    files_.room_bytes = 0;
    ASSERT_TRUE(log->append(b, seq, "y"));
    ASSERT_FALSE(log->flush());  // leaves that file behind
    files_.room_bytes.reset();
    log->forget(b);
  }
  ASSERT_TRUE(log->append(a, 1'000, "x"));
  EXPECT_EQ(log->flush().error().code, Code::insufficient_storage);
  EXPECT_EQ(log->segments(), limits::event_log_segments_max);
}

TEST_F(Log, AFolderThatCannotBeReadIsAnError) {
  folder_.write("state", "a file");
  const auto log = EventLog::open(path_, files_);
  ASSERT_FALSE(log);
  EXPECT_EQ(log.error().code, Code::not_found);
  folder_.write("other/events-0000000000000001.log", "x");
  files_.read_fails = true;
  EXPECT_EQ(EventLog::open(folder_ / "other", files_).error().code, Code::internal);
}

TEST_F(Log, OtherFilesOfTheFolderStay) {
  folder_.write("state/events/notes.txt", "mine");
  folder_.write("state/events/events-zz.log", "mine");
  folder_.write("state/events/events-00000000000000zz.log", "mine");
  const auto log = open();
  EXPECT_EQ(log->segments(), 0u);
  add(*log, a, 1, "x");
  EXPECT_EQ(segment_files().size(), 4u);
}

TEST_F(Log, NobodyElseCanReadItsFiles) {
  const auto log = open();
  add(*log, a, 1, "x");
  struct stat facts{};
  ASSERT_EQ(::stat(path_.c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 07777, 0700u);
  ASSERT_EQ(::stat(segment_files().front().c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 07777, 0600u);
}

}  // namespace
}  // namespace llorch
