// kill -9 at random points: what was acknowledged before is there after. LLORCH_TEST_SEED replays
// a run, LLORCH_TEST_KILLS sets how many.
#include <csignal>
#include <cstdlib>
#include <gtest/gtest.h>
#include <random>
#include <sys/wait.h>
#include <unistd.h>

#include "fakes/temporary_folder.h"
#include "store/event_log.h"
#include "store/sqlite_store.h"

namespace llorch {
namespace {

namespace fs = std::filesystem;

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
  const char* const value = std::getenv(name);
  return value != nullptr ? std::strtoull(value, nullptr, 10) : otherwise;
}

// Runs `child` in a process of its own, which says each number it acknowledges into a pipe, and
// kills it once it has said `count` of them. Gives all it said.
template <class Child>
std::vector<std::uint32_t> acknowledged_before_kill(std::size_t count, const Child& child) {
  int ends[2] = {-1, -1};
  EXPECT_EQ(::pipe(ends), 0);
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::close(ends[0]);
    child([&](std::uint32_t number) {
      static_cast<void>(!::write(ends[1], &number, sizeof number));
    });
    ::_exit(1);
  }
  ::close(ends[1]);
  std::vector<std::uint32_t> said;
  std::uint32_t number = 0;
  // A write of four bytes to a pipe is whole or not at all. After the kill the rest is drained.
  while (::read(ends[0], &number, sizeof number) == sizeof number) {
    said.push_back(number);
    if (said.size() == count) ::kill(pid, SIGKILL);
  }
  ::close(ends[0]);
  int status = 0;
  EXPECT_EQ(::waitpid(pid, &status, 0), pid);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  return said;
}

class Kill : public testing::Test {
 protected:
  Kill() {
    std::printf("LLORCH_TEST_SEED=%llu\n", static_cast<unsigned long long>(seed_));
    random_.seed(seed_);
  }
  TemporaryFolder folder_;
  std::uint64_t seed_ = from_environment("LLORCH_TEST_SEED", std::random_device{}());
  std::uint64_t kills_ = from_environment("LLORCH_TEST_KILLS", 12);
  std::mt19937_64 random_;
};

std::string id_of(std::uint32_t number) {
  return "job-" + std::to_string(number);
}

// Jobs with bodies of many sizes; every third one is ended again, and that is acknowledged too.
void write_jobs(const fs::path& path, std::uint32_t first,
                const std::function<void(std::uint32_t)>& say) {
  auto store = SqliteStore::open(path);
  if (!store) ::_exit(2);
  for (std::uint32_t number = first;; ++number) {
    StoredJob job{.job_id = {id_of(number)}};
    job.body.assign(number * 7'919 % 9'000 + 1, 'x');
    static_cast<void>((*store)->write(InsertJob{job}, [&say, number](const Result<void>& done) {
      if (done) say(number);
    }));
    if (number % 3 == 0) {
      static_cast<void>((*store)->write(
          UpdateJob{
              .job_id = {id_of(number)}, .status = StoredJob::Status::completed, .ended_at_ms = 1},
          {}));
    }
    if (number % 16 == 0) static_cast<void>((*store)->flush());
  }
}

TEST_F(Kill, KeepsEveryJobWhoseCommitWasTold) {
  const fs::path path = folder_ / "state/test.db";
  std::vector<std::uint32_t> all;
  for (std::uint64_t kill = 0; kill < kills_; ++kill) {
    const auto first = static_cast<std::uint32_t>(kill * 100'000);
    const auto said = acknowledged_before_kill(
        1 + random_() % 300, [&](const auto& say) { write_jobs(path, first, say); });
    all.insert(all.end(), said.begin(), said.end());
    auto store = SqliteStore::open(path);  // the lock went with the process
    ASSERT_TRUE(store) << store.error().message;
    for (const auto number : all) {
      const auto job =
          (*store)->read_now([&](StoreReader& reader) { return reader.job({id_of(number)}); });
      ASSERT_TRUE(job && job->has_value()) << number;
      const bool ended = (*job)->ended_at_ms.has_value();
      ASSERT_EQ((*job)->body.size(), ended ? 0 : number * 7'919 % 9'000 + 1);
    }
  }
}

std::string frame_of(std::uint32_t number) {
  return std::string(number % 50, static_cast<char>('a' + number % 26)) + std::to_string(number);
}

// Frame n belongs to job n % 5; several are written at once.
void write_frames(const fs::path& folder, const std::function<void(std::uint32_t)>& say) {
  const auto files = make_log_files();
  auto log = EventLog::open(folder, *files);
  if (!log) ::_exit(2);
  for (std::uint32_t number = 1;; number += 3) {
    for (std::uint32_t next = number; next < number + 3; ++next) {
      if (!(*log)->append(JobId{id_of(next % 5)}, next, frame_of(next))) ::_exit(3);
    }
    if (!(*log)->flush()) ::_exit(4);
    say(number + 2);
  }
}

TEST_F(Kill, KeepsEveryFrameThatWasFlushed) {
  for (std::uint64_t kill = 0; kill < kills_; ++kill) {
    const fs::path folder = folder_ / ("events-" + std::to_string(kill));
    const auto said = acknowledged_before_kill(1 + random_() % 2'000,
                                               [&](const auto& say) { write_frames(folder, say); });
    const auto files = make_log_files();
    const auto log = EventLog::open(folder, *files);
    ASSERT_TRUE(log);
    EXPECT_TRUE((*log)->recovered().reports.empty());
    std::uint64_t found = 0;
    for (std::uint32_t job = 0; job < 5; ++job) {
      const auto frames = (*log)->read(JobId{id_of(job)}, std::nullopt, 1'000'000'000);
      ASSERT_TRUE(frames);
      for (const auto& frame : *frames) {
        ASSERT_EQ(frame.seq % 5, job);
        ASSERT_EQ(frame.bytes, frame_of(static_cast<std::uint32_t>(frame.seq)));
        if (frame.seq <= said.back()) ++found;
      }
    }
    EXPECT_EQ(found, said.back());  // 1 to the last one said, none missing
  }
}

}  // namespace
}  // namespace llorch
