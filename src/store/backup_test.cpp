#include "store/backup.h"

#include <fstream>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fakes/temporary_folder.h"
#include "store/migrations.h"
#include "store/sqlite_store.h"

namespace llorch {
namespace {

namespace fs = std::filesystem;

class Backup : public testing::Test {
 protected:
  std::unique_ptr<SqliteStore> open(const fs::path& path) {
    auto store = SqliteStore::open(path);
    EXPECT_TRUE(store) << store.error().message;
    return std::move(*store);
  }
  void fill(const fs::path& path, const std::string& id) {
    const auto store = open(path);
    StoredJob job;
    job.job_id.value = id;
    job.body = "a prompt";
    ASSERT_TRUE(store->write(InsertJob{job}, {}));
  }
  bool has(const fs::path& path, const std::string& id) {
    const auto store = open(path);
    const auto job = store->read_now([&](StoreReader& reader) { return reader.job({id}); });
    return job->has_value() && (*job)->body == "a prompt";
  }
  std::size_t names() {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder_.path()), {}));
  }

  TemporaryFolder folder_;
  fs::path db_ = folder_ / "state/a.db";
  fs::path copy_ = folder_ / "copy.db";
};

TEST_F(Backup, ACopyMadeInUseRestoresWhatItHeld) {
  fill(db_, "1");
  {
    const auto store = open(db_);
    ASSERT_TRUE(backup_database(db_, copy_));
  }
  struct stat facts{};
  ASSERT_EQ(::stat(copy_.c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 07777, 0600u);
  EXPECT_EQ(names(), 2u);  // no temporary file stays
  fill(db_, "2");
  ASSERT_TRUE(restore_database(copy_, db_));
  EXPECT_TRUE(has(db_, "1"));
  EXPECT_FALSE(has(db_, "2"));
  ASSERT_TRUE(restore_database(copy_, folder_ / "elsewhere/b.db"));
  EXPECT_TRUE(has(folder_ / "elsewhere/b.db", "1"));
}

TEST_F(Backup, ALeftOverLogIsNotReadIntoARestoredDatabase) {
  fill(db_, "1");
  ASSERT_TRUE(backup_database(db_, copy_));
  fs::copy_file(db_, folder_ / "kept");
  {
    const auto store = open(db_);
    ASSERT_TRUE(store->write(InsertJob{StoredJob{.job_id = {"2"}}}, {}) && store->flush());
    fs::copy_file(db_.string() + "-wal", folder_ / "log");
  }
  fs::copy_file(folder_ / "kept", db_, fs::copy_options::overwrite_existing);
  fs::rename(folder_ / "log", db_.string() + "-wal");  // as a kill -9 leaves it
  ASSERT_TRUE(restore_database(copy_, db_));
  EXPECT_FALSE(fs::exists(db_.string() + "-wal"));
  const auto store = open(db_);
  const auto jobs = store->read_now([](StoreReader& reader) { return reader.jobs({}); });
  EXPECT_EQ(jobs->size(), 1u);
}

TEST_F(Backup, NothingIsOverwritten) {
  fill(db_, "1");
  folder_.write("copy.db", "mine");
  const auto done = backup_database(db_, copy_);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, Code::conflict);
  std::string word;
  std::ifstream(copy_) >> word;
  EXPECT_EQ(word, "mine");
}

TEST_F(Backup, WhatIsAbsentOrAnotherProgramsIsRefused) {
  EXPECT_EQ(backup_database(db_, copy_).error().code, Code::not_found);
  EXPECT_EQ(restore_database(copy_, db_).error().code, Code::not_found);
  EXPECT_EQ(restore_database(folder_.path(), db_).error().code, Code::invalid_request);
  {
    auto other = Database::open(copy_, Database::Mode::create);
    ASSERT_TRUE(other && other->script("CREATE TABLE theirs(x)"));
  }
  EXPECT_EQ(restore_database(copy_, db_).error().code, Code::invalid_request);
  EXPECT_EQ(backup_database(copy_, folder_ / "more.db").error().code, Code::invalid_request);
  folder_.write("empty.db", "");
  EXPECT_EQ(restore_database(folder_ / "empty.db", db_).error().code, Code::invalid_request);
  const auto text = folder_.write("text.db", std::string(5'000, 'x'));
  EXPECT_EQ(restore_database(text, db_).error().code, Code::internal);
  EXPECT_FALSE(fs::exists(db_));
  EXPECT_EQ(names(), 4u);  // state, copy.db, empty.db, text.db
}

TEST_F(Backup, ANewerOneIsRefused) {
  fill(db_, "1");
  ASSERT_TRUE(backup_database(db_, copy_));
  {
    auto newer = Database::open(copy_, Database::Mode::existing);
    ASSERT_TRUE(newer && newer->script("PRAGMA user_version=1000"));
  }
  EXPECT_EQ(restore_database(copy_, db_).error().code, Code::conflict);
  EXPECT_TRUE(has(db_, "1"));
}

TEST_F(Backup, ADamagedOneIsRefusedAndTheOldStays) {
  fill(db_, "1");
  ASSERT_TRUE(backup_database(db_, copy_));
  {
    std::fstream file(copy_, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(4'096);
    file << std::string(8'192, '\x5a');
  }
  EXPECT_EQ(restore_database(copy_, db_).error().code, Code::internal);
  EXPECT_TRUE(has(db_, "1"));
}

TEST_F(Backup, ADatabaseInUseIsNotReplaced) {
  fill(db_, "1");
  ASSERT_TRUE(backup_database(db_, copy_));
  const auto store = open(db_);
  const auto done = restore_database(copy_, db_);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, Code::conflict);
  EXPECT_NE(done.error().message.find(std::to_string(::getpid())), std::string::npos);
}

}  // namespace
}  // namespace llorch
