#include "orchestrator/task_query.h"

#include <gtest/gtest.h>

namespace llorch {
namespace {

constexpr std::int64_t now_ms = 1'767'605'400'000;  // 2026-01-05T09:30:00Z

// clause: O-42
TEST(TaskQuery, NarrowsByWhatIsGiven) {
  const auto filter = parse_task_query(
      "status=failed&model=a%2Fb&tenant=t&since=90m&limit=7&cursor=12.x.y&&model=c", now_ms);
  ASSERT_TRUE(filter) << filter.error().message;
  EXPECT_EQ(filter->status, StoredJob::Status::failed);
  EXPECT_EQ(filter->model, "c");
  EXPECT_EQ(filter->tenant, "t");
  EXPECT_EQ(filter->since_ms, now_ms - 90 * 60'000);
  EXPECT_EQ(filter->limit, 7U);
  EXPECT_EQ(filter->before, (JobPlace{12, {"x.y"}}));
  const auto all = parse_task_query("status=&model=", now_ms);
  EXPECT_TRUE(all && !all->status && !all->model && all->limit == 100);
}

// clause: O-42
TEST(TaskQuery, RefusesWithEveryViolation) {
  const auto filter =
      parse_task_query("status=done&since=soon&limit=1001&cursor=12&colour=red", now_ms);
  ASSERT_FALSE(filter);
  EXPECT_EQ(filter.error().code, Code::invalid_request);
  std::string fields;
  for (const auto& violation : filter.error().violations) fields += violation.field + " ";
  EXPECT_EQ(fields, "status since limit cursor colour ");
}

TEST(TaskQuery, ACursorSurvivesItsText) {
  const JobPlace place{1'767'605'400'123, {"chatcmpl-0a"}};
  EXPECT_EQ(place_in(cursor_of(place)), place);
  for (const auto* const text : {"", ".", "x.y", "-1.a", "1.", "1"}) {
    EXPECT_EQ(place_in(text), std::nullopt) << text;
  }
}

TEST(TaskQuery, TakesTimesAndSpans) {
  struct Case {
    const char* text;
    std::optional<std::int64_t> want;
  };
  const Case cases[] = {{"0s", now_ms},
                        {"24h", now_ms - 86'400'000},
                        {"7d", now_ms - 604'800'000},
                        {"1000000d", 0},
                        {"2026-01-05T09:30:00Z", now_ms},
                        {"2026-01-05T09:30:00.5Z", now_ms + 500},
                        {"2026-01-05T09:30:00.123456Z", now_ms + 123},
                        {"2026-02-30T09:30:00Z", std::nullopt},
                        {"2026-01-05T24:30:00Z", std::nullopt},
                        {"2026-01-05T09:30:00", std::nullopt},
                        {"2026-01-05T09:30:00.Z", std::nullopt},
                        {"2026-01-05T09:30:00+01:00", std::nullopt},
                        {"24", std::nullopt},
                        {"h", std::nullopt},
                        {"-1h", std::nullopt},
                        {"1000001d", std::nullopt}};
  for (const auto& [text, want] : cases) EXPECT_EQ(since_ms_of(text, now_ms), want) << text;
}

}  // namespace
}  // namespace llorch
