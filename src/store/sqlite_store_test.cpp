// What only the store on a disk does: commits in groups, faults of the disk, files, what is wiped.
#include "store/sqlite_store.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <fstream>
#include <gtest/gtest.h>
#include <latch>
#include <random>
#include <sqlite3.h>
#include <sstream>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

#include "base/limits.h"
#include "fakes/temporary_folder.h"
#include "store/faulty_disk.h"
#include "store/migrations.h"

namespace llorch {
namespace {

namespace fs = std::filesystem;
using Status = StoredJob::Status;

StoredJob plain_job(std::string id, std::string body = "{}") {
  StoredJob job;
  job.job_id.value = std::move(id);
  job.body = std::move(body);
  return job;
}

std::future<Result<void>> begin(Store& store, StoreWrite write) {
  const auto answer = std::make_shared<std::promise<Result<void>>>();
  auto given = answer->get_future();
  const auto taken = store.write(
      std::move(write), [answer](Result<void> done) { answer->set_value(std::move(done)); });
  if (!taken) answer->set_value(taken);
  return given;
}
Result<void> put(Store& store, StoreWrite write) {
  return begin(store, std::move(write)).get();
}
bool has_job(Store& store, const std::string& id) {
  return store.read_now([&](StoreReader& reader) { return reader.job({id}); })->has_value();
}
std::string bytes_of_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream bytes;
  bytes << file.rdbuf();
  return bytes.str();
}
mode_t mode_of(const fs::path& path) {
  struct stat facts{};
  EXPECT_EQ(::stat(path.c_str(), &facts), 0) << path;
  return facts.st_mode & 07777;
}

class OnDisk : public testing::Test {
 protected:
  void TearDown() override { FaultyDisk::heal(); }
  std::unique_ptr<SqliteStore> open(const std::string& vfs = {}) {
    auto store = SqliteStore::open(path_, vfs);
    EXPECT_TRUE(store) << store.error().message;
    return store ? std::move(*store) : nullptr;
  }
  Error refused() {
    const auto store = SqliteStore::open(path_);
    EXPECT_FALSE(store);
    return store ? Error{} : store.error();
  }

  TemporaryFolder folder_;
  fs::path path_ = folder_ / "state/test.db";
};

TEST_F(OnDisk, ManyWhoWaitShareACommit) {
  constexpr int threads = 64;
  constexpr int each = 50;
  const auto store = open();
  const auto before = store->figures();
  std::latch start(threads);
  std::atomic<int> failed = 0;
  const auto began = std::chrono::steady_clock::now();
  {
    std::vector<std::jthread> writers;
    for (int thread = 0; thread < threads; ++thread) {
      writers.emplace_back([&, thread] {
        start.arrive_and_wait();
        for (int n = 0; n < each; ++n) {
          const auto id = std::to_string(thread) + "-" + std::to_string(n);
          if (!put(*store, InsertJob{plain_job(id)})) ++failed;
        }
      });
    }
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
  const auto after = store->figures();
  EXPECT_EQ(failed, 0);
  EXPECT_EQ(after.writes - before.writes, std::uint64_t{threads} * each);
  EXPECT_LT(after.commits - before.commits, std::uint64_t{threads} * each / 2);
  RecordProperty("writes_per_second", static_cast<int>(threads * each / took.count()));
  RecordProperty("commits", static_cast<int>(after.commits - before.commits));
  std::printf(
      "%d waiting writers: %.0f writes/s, %.1f writes a commit\n", threads,
      threads * each / took.count(),
      static_cast<double>(threads * each) / static_cast<double>(after.commits - before.commits));
}

TEST_F(OnDisk, AWriteNobodyWaitsForIsWrittenByItself) {
  const auto store = open();
  ASSERT_TRUE(store->write(InsertJob{plain_job("1")}, {}));
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!has_job(*store, "1")) ASSERT_LT(std::chrono::steady_clock::now(), give_up);
}

TEST_F(OnDisk, WhatWasWrittenIsThereAfterARestart) {
  auto store = open();
  ASSERT_TRUE(put(*store, InsertJob{plain_job("waited")}));
  ASSERT_TRUE(store->write(InsertJob{plain_job("behind")}, {}));
  store.reset();
  store = open();
  EXPECT_TRUE(has_job(*store, "waited"));
  EXPECT_TRUE(has_job(*store, "behind"));
}

TEST_F(OnDisk, AFullInboxRefuses) {
  std::latch go(1);  // before the store, whose threads use it to the end
  const auto store = open();
  ASSERT_TRUE(store->write(RemoveWorker{}, [&](const Result<void>&) { go.wait(); }));
  Result<void> taken;
  std::size_t count = 0;
  while (count <= limits::store_inbox_writes_max + limits::store_batch_writes_max) {
    taken = store->write(RemoveWorker{}, {});
    if (!taken) break;
    ++count;
  }
  ASSERT_FALSE(taken);
  EXPECT_EQ(taken.error().code, Code::queue_full);
  EXPECT_GE(count, limits::store_inbox_writes_max - limits::store_batch_writes_max);
  go.count_down();
  EXPECT_TRUE(begin(*store, RemoveWorker{}).valid());
}

TEST_F(OnDisk, AnInboxFullOfBytesRefuses) {
  std::latch go(1);  // before the store, whose threads use it to the end
  std::latch held(1);
  const auto store = open();
  ASSERT_TRUE(store->write(RemoveWorker{}, [&](const Result<void>&) {
    held.count_down();
    go.wait();
  }));
  held.wait();
  const std::string frames(64 * limits::mib, 'x');
  Result<void> taken;
  int count = 0;
  while (count < 8 && taken) {
    taken = store->write(FoldFrames{{"none"}, frames}, {});
    if (taken) ++count;
  }
  EXPECT_EQ(count, 3);  // the fourth and the overhead are more than 256 MiB
  ASSERT_FALSE(taken);
  EXPECT_EQ(taken.error().code, Code::queue_full);
  go.count_down();
}

TEST_F(OnDisk, TooManyReadsAreRefused) {
  std::latch go(1);  // before the store, whose threads use it to the end
  const auto store = open();
  ASSERT_TRUE(store->read([&](StoreReader&) { go.wait(); }));
  Result<void> taken;
  for (std::size_t n = 0; n < limits::store_reads_max + 2 && taken; ++n) {
    taken = store->read([](StoreReader&) {});
  }
  ASSERT_FALSE(taken);
  EXPECT_EQ(taken.error().code, Code::queue_full);
  go.count_down();
}

TEST_F(OnDisk, AClosingStoreTakesNothingMore) {
  auto store = open();
  Code code = Code::internal;
  SqliteStore& still = *store;
  std::latch closing(1);
  ASSERT_TRUE(store->write(RemoveWorker{}, [&](const Result<void>&) {
    closing.wait();
    while (code != Code::draining) {  // until the destructor has said so
      const auto taken = still.write(RemoveWorker{}, {});
      if (!taken) code = taken.error().code;
    }
  }));
  closing.count_down();
  store.reset();
  EXPECT_EQ(code, Code::draining);
}

TEST_F(OnDisk, OneRefusedWriteDoesNotSpoilTheOthersOfItsCommit) {
  std::latch go(1);  // before the store, whose threads use it to the end
  const auto store = open();
  auto held = store->write(RemoveWorker{}, [&](const Result<void>&) { go.wait(); });
  ASSERT_TRUE(held);
  auto first = begin(*store, InsertJob{plain_job("1")});
  auto again = begin(*store, InsertJob{plain_job("1")});
  auto second = begin(*store, InsertJob{plain_job("2")});
  go.count_down();
  EXPECT_TRUE(first.get());
  EXPECT_EQ(again.get().error().code, Code::conflict);
  EXPECT_TRUE(second.get());
}

TEST_F(OnDisk, NobodyElseCanReadItsFiles) {
  const auto store = open();
  ASSERT_TRUE(put(*store, InsertJob{plain_job("1")}));
  EXPECT_EQ(mode_of(path_.parent_path()), 0700u);
  for (const char* suffix : {"", "-wal", "-shm", ".lock"}) {
    EXPECT_EQ(mode_of(path_.string() + suffix), 0600u) << suffix;
  }
}

TEST_F(OnDisk, AFileThatOthersCouldReadIsClosedToThem) {
  open().reset();
  fs::permissions(path_, fs::perms(0644));
  const auto store = open();
  EXPECT_EQ(mode_of(path_), 0600u);
}

TEST_F(OnDisk, ASecondProcessIsRefusedAndToldWhoHasIt) {
  const auto store = open();
  const auto error = refused();
  EXPECT_EQ(error.code, Code::conflict);
  EXPECT_NE(error.message.find("process " + std::to_string(::getpid())), std::string::npos);
  fs::create_directory_symlink(path_.parent_path(), folder_ / "link");
  const auto other_name = SqliteStore::open(folder_ / "link/test.db");
  ASSERT_FALSE(other_name);
  EXPECT_EQ(other_name.error().code, Code::conflict);
}

TEST_F(OnDisk, WhatIsNoDatabaseOfOursIsRefusedAndLeftAsItIs) {
  folder_.write("state/test.db", "these bytes are a letter to a friend, and no database at all");
  auto error = refused();
  EXPECT_EQ(error.code, Code::internal);
  EXPECT_FALSE(error.next.empty());
  EXPECT_TRUE(bytes_of_file(path_).starts_with("these bytes"));

  fs::remove(path_);
  {
    auto other = Database::open(path_, Database::Mode::create);
    ASSERT_TRUE(other && other->script("CREATE TABLE theirs(x)"));
  }
  const std::string before = bytes_of_file(path_);
  error = refused();
  EXPECT_EQ(error.code, Code::invalid_request);
  EXPECT_EQ(bytes_of_file(path_), before);
}

TEST_F(OnDisk, ADamagedFileIsNamedAndNeverReadAsSound) {
  {
    const auto store = open();
    for (int n = 0; n < 200; ++n) {
      ASSERT_TRUE(
          store->write(InsertJob{plain_job(std::to_string(n), std::string(3'000, 'b'))}, {}));
    }
  }
  std::string bytes = bytes_of_file(path_);
  for (std::size_t at = 4'096; at < bytes.size(); ++at) bytes[at] = '\x5a';
  folder_.write("state/test.db", bytes);
  const auto store = SqliteStore::open(path_);
  const auto jobs = store
                        ? (*store)->read_now([](StoreReader& reader) { return reader.open_jobs(); })
                        : fail(store.error());
  ASSERT_FALSE(jobs);
  EXPECT_EQ(jobs.error().code, Code::internal);
  EXPECT_NE(jobs.error().message.find("damaged"), std::string::npos) << jobs.error().message;
  EXPECT_NE(jobs.error().next.find("restore"), std::string::npos);
}

TEST_F(OnDisk, AFolderThatCannotBeMadeIsAnError) {
  folder_.write("file", "");
  const auto below = SqliteStore::open(folder_ / "file/state/test.db");
  ASSERT_FALSE(below);
  EXPECT_EQ(below.error().code, Code::not_found);
}

struct DiskFault {
  const char* name;
  int write_code;
  int sync_code;
  Code want;
};
const DiskFault faults[] = {
    {"full", SQLITE_FULL, 0, Code::insufficient_storage},
    {"read_only", SQLITE_READONLY, 0, Code::internal},
    {"write_error", SQLITE_IOERR_WRITE, 0, Code::internal},
    {"sync_error", 0, SQLITE_IOERR_FSYNC, Code::internal},
};

TEST_F(OnDisk, AFaultOfTheDiskIsToldAndHealsByItself) {
  for (const auto& fault : faults) {
    SCOPED_TRACE(fault.name);
    fs::remove_all(path_.parent_path());
    auto store = open(FaultyDisk::vfs());
    ASSERT_TRUE(put(*store, InsertJob{plain_job("before")}));
    FaultyDisk::sync_fault = fault.sync_code;
    FaultyDisk::write_fault = fault.write_code;
    for (const char* id : {"1", "2"}) {
      const auto during = put(*store, InsertJob{plain_job(id, std::string(50'000, 'x'))});
      ASSERT_FALSE(during);
      EXPECT_EQ(during.error().code, fault.want) << during.error().message;
      EXPECT_FALSE(during.error().next.empty());
      EXPECT_FALSE(has_job(*store, id));
    }
    EXPECT_TRUE(has_job(*store, "before"));
    EXPECT_TRUE(store->figures().failing);
    FaultyDisk::heal();
    EXPECT_TRUE(put(*store, InsertJob{plain_job("after")}));
    EXPECT_FALSE(store->figures().failing);
    store = nullptr;
    store = open();
    EXPECT_TRUE(has_job(*store, "before") && has_job(*store, "after"));
    EXPECT_FALSE(has_job(*store, "1"));
  }
}

TEST_F(OnDisk, WhatIsWrittenBehindWaitsForTheDisk) {
  const auto store = open(FaultyDisk::vfs());
  FaultyDisk::write_fault = SQLITE_FULL;
  for (int n = 0; n < 100; ++n) {
    ASSERT_TRUE(store->write(InsertJob{plain_job(std::to_string(n))}, {}));
  }
  EXPECT_EQ(store->flush().error().code, Code::insufficient_storage);
  EXPECT_EQ(store->figures().waiting, 100u);
  FaultyDisk::heal();
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (store->figures().waiting > 0) {  // tried again by itself
    ASSERT_LT(std::chrono::steady_clock::now(), give_up);
    std::this_thread::yield();
  }
  ASSERT_TRUE(store->flush());
  EXPECT_TRUE(has_job(*store, "0") && has_job(*store, "99"));
}

TEST_F(OnDisk, OnlyWhatIsWaitedForIsSynced) {
  const auto store = open(FaultyDisk::vfs());
  ASSERT_TRUE(put(*store, InsertJob{plain_job("1")}));
  FaultyDisk::sync_fault = SQLITE_IOERR_FSYNC;
  ASSERT_TRUE(store->write(InsertJob{plain_job("2")}, {}));
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!has_job(*store, "2")) ASSERT_LT(std::chrono::steady_clock::now(), give_up);
  EXPECT_EQ(store->flush().error().code, Code::internal);
  EXPECT_EQ(put(*store, InsertJob{plain_job("3")}).error().code, Code::internal);
  FaultyDisk::heal();
  EXPECT_TRUE(store->flush() && has_job(*store, "2"));
}

// The disk takes a few writes more and then none: wherever that is, a transaction is there whole
// or not at all, and the file stays sound.
TEST_F(OnDisk, AFaultAtAnyWriteLeavesNothingHalfWritten) {
  for (int writes = 0; writes < 30; ++writes) {
    SCOPED_TRACE(writes);
    fs::remove_all(path_.parent_path());
    auto store = open(FaultyDisk::vfs());
    ASSERT_TRUE(put(*store, InsertJob{plain_job("0", std::string(20'000, 'x'))}));
    FaultyDisk::writes_left = writes;
    FaultyDisk::write_fault = SQLITE_IOERR_WRITE;
    std::vector<std::string> kept = {"0"};
    std::vector<std::string> lost;
    for (const char* id : {"1", "2", "3"}) {
      const bool done = put(*store, InsertJob{plain_job(id, std::string(20'000, 'y'))}).has_value();
      (done ? kept : lost).emplace_back(id);
    }
    FaultyDisk::heal();
    store = nullptr;
    store = open();
    for (const auto& id : kept) EXPECT_TRUE(has_job(*store, id)) << id;
    for (const auto& id : lost) EXPECT_FALSE(has_job(*store, id)) << id;
    store = nullptr;
    auto database = Database::open(path_, Database::Mode::existing);
    std::string verdict;
    ASSERT_TRUE(
        database->query("PRAGMA integrity_check", {}, [&](Row& row) { verdict = row.text(); }));
    EXPECT_EQ(verdict, "ok");
  }
}

TEST_F(OnDisk, WhatCannotBeWrittenAtTheEndIsGivenUp) {
  auto store = open(FaultyDisk::vfs());
  FaultyDisk::write_fault = SQLITE_FULL;
  ASSERT_TRUE(store->write(InsertJob{plain_job("1")}, {}));
  auto waited = begin(*store, InsertJob{plain_job("2")});
  store = nullptr;
  EXPECT_EQ(waited.get().error().code, Code::insufficient_storage);
  FaultyDisk::heal();
  store = open();
  EXPECT_FALSE(has_job(*store, "1"));
}

TEST_F(OnDisk, ADatabaseThatAnotherProgramHoldsIsATimeout) {
  const auto store = open();
  auto other = Database::open(path_, Database::Mode::existing);
  ASSERT_TRUE(other && other->execute("BEGIN IMMEDIATE"));
  const auto during = put(*store, InsertJob{plain_job("1")});
  ASSERT_FALSE(during);
  EXPECT_EQ(during.error().code, Code::timeout);
  other->roll_back();
  EXPECT_TRUE(put(*store, InsertJob{plain_job("1")}));
}

// A prompt of every size: within a page, over several, and beside others that stay.
TEST_F(OnDisk, APromptIsGoneFromEveryFileOnceItsJobHasEnded) {
  constexpr std::string_view canary = "CANARY-of-a-prompt";
  std::mt19937 random(7);
  std::vector<std::string> ids;
  const auto store = open();
  for (int n = 0; n < 600; ++n) {
    std::string body;
    const std::size_t bytes = n % 3 == 0 ? random() % 20'000 : random() % 900;
    while (body.size() < bytes + canary.size()) body += canary;
    ids.push_back(std::to_string(n));
    ASSERT_TRUE(store->write(InsertJob{plain_job(ids.back(), body)}, {}));
  }
  ASSERT_TRUE(put(*store, InsertJob{plain_job("stays", "another prompt")}) && store->wipe());
  ASSERT_NE(bytes_of_file(path_).find(canary), std::string::npos);
  std::ranges::shuffle(ids, random);
  for (std::size_t n = 0; n < ids.size(); ++n) {
    const auto status = n % 2 == 0 ? Status::completed : Status::cancelled;
    ASSERT_TRUE(
        store->write(UpdateJob{.job_id = {ids[n]}, .status = status, .ended_at_ms = 1}, {}));
    ASSERT_TRUE(n % 50 != 0 || store->flush());
  }
  ASSERT_TRUE(store->flush() && store->wipe());
  for (const auto& file : fs::directory_iterator(path_.parent_path())) {
    EXPECT_EQ(bytes_of_file(file.path()).find(canary), std::string::npos) << file.path();
  }
  EXPECT_EQ((*store->read_now([](StoreReader& reader) { return reader.job({"stays"}); }))->body,
            "another prompt");
}

}  // namespace
}  // namespace llorch
