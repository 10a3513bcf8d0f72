#include "store/migrations.h"

#include <array>
#include <gtest/gtest.h>

#include "fakes/temporary_folder.h"
#include "store/sqlite_store.h"

namespace llorch {
namespace {

constexpr std::array steps = {
    Migration{"CREATE TABLE a(x INTEGER); INSERT INTO a VALUES(1)"},
    Migration{"ALTER TABLE a ADD COLUMN y INTEGER NOT NULL DEFAULT 2"},
    Migration{"CREATE TABLE b AS SELECT x+y AS z FROM a"},
};

class Migrations : public testing::Test {
 protected:
  Database made(const std::string& name, std::span<const Migration> done) {
    auto database = Database::open(folder_ / name, Database::Mode::create);
    EXPECT_TRUE(database && migrate(*database, name, done));
    return std::move(*database);
  }
  TemporaryFolder folder_;
};

TEST_F(Migrations, EveryOlderVersionBecomesTheNewest) {
  for (std::size_t version = 0; version <= steps.size(); ++version) {
    SCOPED_TRACE(version);
    auto database = made(std::to_string(version), std::span(steps).first(version));
    EXPECT_EQ(database_version(database, "t", steps), static_cast<std::int64_t>(version));
    ASSERT_TRUE(migrate(database, "t", steps));
    EXPECT_EQ(database.integer("SELECT z FROM b"), 3);
    EXPECT_EQ(database_version(database, "t", steps), 3);
    ASSERT_TRUE(migrate(database, "t", steps));  // once more does nothing
    EXPECT_EQ(database.integer("SELECT count(*) FROM b"), 1);
  }
}

TEST_F(Migrations, EveryOlderVersionOfThisProgramOpens) {
  for (std::size_t version = 0; version <= migrations().size(); ++version) {
    SCOPED_TRACE(version);
    const std::string name = "v" + std::to_string(version);
    static_cast<void>(made(name, migrations().first(version)));
    const auto store = SqliteStore::open(folder_ / name);
    ASSERT_TRUE(store) << store.error().message;
    EXPECT_TRUE((*store)->write(InsertJob{}, {}) && (*store)->flush());
  }
}

TEST_F(Migrations, AKeyRevokedBeforeTimesWereKeptStaysRevoked) {
  {
    auto database = made("k", migrations().first(1));
    ASSERT_TRUE(
        database.script("INSERT INTO keys VALUES('a','ci',x'01','client','t','[]',0,"
                        "'batch','batch',NULL,1),('b','ok',x'02','client','t','[]',0,"
                        "'batch','batch',NULL,0)"));
  }
  const auto store = SqliteStore::open(folder_ / "k");
  ASSERT_TRUE(store) << store.error().message;
  const auto keys = (*store)->read_now([](StoreReader& reader) { return reader.keys(); });
  ASSERT_TRUE(keys && keys->size() == 2);
  EXPECT_TRUE(keys->at(0).revoked_at_ms.has_value());
  EXPECT_FALSE(keys->at(1).revoked_at_ms.has_value());
}

TEST_F(Migrations, AStepThatFailsChangesNothing) {
  auto database = made("a", std::span(steps).first(1));
  const std::array broken = {steps[0], Migration{"CREATE TABLE c(x); CREATE TABLE a(x)"}};
  EXPECT_FALSE(migrate(database, "t", broken));
  EXPECT_EQ(database_version(database, "t", broken), 1);
  EXPECT_EQ(database.integer("SELECT count(*) FROM sqlite_schema"), 1);
  EXPECT_TRUE(migrate(database, "t", steps));
}

TEST_F(Migrations, ANewerDatabaseIsRefusedWithWhatToDo) {
  {
    auto database = made("a", migrations());
    ASSERT_TRUE(database.script("PRAGMA user_version=1000"));
  }
  const auto store = SqliteStore::open(folder_ / "a");
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code, Code::conflict);
  EXPECT_NE(store.error().message.find("newer llorch"), std::string::npos);
  EXPECT_NE(store.error().message.find("1000"), std::string::npos);
  EXPECT_FALSE(store.error().next.empty());
}

}  // namespace
}  // namespace llorch
