#include "store/database.h"

#include <gtest/gtest.h>

#include "fakes/temporary_folder.h"

namespace llorch {
namespace {

class Connection : public testing::Test {
 protected:
  TemporaryFolder folder_;
  Result<Database> database_ = Database::open(folder_ / "a.db", Database::Mode::create);
};

TEST_F(Connection, BindsAndReadsEveryKindOfValue) {
  ASSERT_TRUE(database_->script("CREATE TABLE t(a TEXT, b INTEGER, c BLOB, d INTEGER) STRICT"));
  const std::string text("x\0y", 3);
  ASSERT_TRUE(database_->execute("INSERT INTO t VALUES(?1,?2,?3,?4)",
                                 {text, -5, Blob{std::string_view()}, nullptr}));
  EXPECT_EQ(database_->changes(), 1);
  int rows = 0;
  ASSERT_TRUE(database_->query("SELECT a, b, c, d, b FROM t", {}, [&](Row& row) {
    ++rows;
    EXPECT_EQ(row.text(), text);
    EXPECT_EQ(row.integer(), -5);
    EXPECT_EQ(row.text(), "");
    EXPECT_EQ(row.integer_or_null(), std::nullopt);
    EXPECT_EQ(row.integer_or_null(), -5);
  }));
  EXPECT_EQ(rows, 1);
  EXPECT_EQ(database_->integer("SELECT count(*) FROM t WHERE d IS NULL AND c IS NOT NULL"), 1);
}

TEST_F(Connection, SaysWhatWentWrong) {
  ASSERT_TRUE(database_->script("CREATE TABLE t(a INTEGER PRIMARY KEY)"));
  ASSERT_TRUE(database_->execute("INSERT INTO t VALUES(1)"));
  EXPECT_EQ(database_->execute("INSERT INTO t VALUES(1)").error().code, Code::conflict);
  EXPECT_EQ(database_->execute("SELECT nothing").error().code, Code::internal);
  EXPECT_EQ(database_->integer("SELECT a FROM t WHERE a=2").error().code, Code::not_found);
  const auto absent = Database::open(folder_ / "b.db", Database::Mode::existing);
  ASSERT_FALSE(absent);
  EXPECT_EQ(absent.error().code, Code::not_found);
  EXPECT_EQ(database_->execute("SELECT zeroblob(2000000000)").error().code, Code::too_large);
}

TEST_F(Connection, AStatementEndsWhenItsTimeHasPassed) {
  database_->limit_time(std::chrono::steady_clock::now());
  constexpr const char* endless =
      "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n) SELECT max(x) FROM n";
  EXPECT_EQ(database_->integer(endless).error().code, Code::timeout);
  database_->limit_time(std::nullopt);
  EXPECT_EQ(database_->integer("SELECT 1"), 1);
}

TEST_F(Connection, ARollbackLeavesNothing) {
  ASSERT_TRUE(database_->script("CREATE TABLE t(a)"));
  ASSERT_TRUE(database_->execute("BEGIN") && database_->execute("INSERT INTO t VALUES(1)"));
  database_->roll_back();
  database_->roll_back();  // none is open: nothing happens
  EXPECT_EQ(database_->integer("SELECT count(*) FROM t"), 0);
}

TEST_F(Connection, TheLogIsNotEmptiedUnderAReader) {
  ASSERT_TRUE(database_->script("PRAGMA journal_mode=WAL; CREATE TABLE t(a)"));
  auto reader = Database::open(folder_ / "a.db", Database::Mode::existing);
  ASSERT_TRUE(reader && reader->execute("BEGIN"));
  ASSERT_TRUE(reader->integer("SELECT count(*) FROM t"));
  ASSERT_TRUE(database_->execute("INSERT INTO t VALUES(1)"));
  EXPECT_EQ(database_->truncate_log(0), false);
  reader->roll_back();
  EXPECT_EQ(database_->truncate_log(0), true);
}

}  // namespace
}  // namespace llorch
