#include "remote/key_text.h"

#include <boost/json.hpp>
#include <gtest/gtest.h>

#include "console/terminal.h"
#include "protocol/json_parse.h"
#include "remote/key_arguments.h"

namespace llorch {
namespace {

// clause: O-29, C-3
TEST(KeyText, ATableFitsEightyColumnsWithWholeIds) {
  const auto reply = parse_json_object(
      R"({"keys":[{"key_id":"k3v9x2m7q1ab","name":"a-key-with-a-name-that-goes-on-and-on",)"
      R"("role":"client","tenant":"a-tenant-with-a-long-name","models":["qwen","phi3","mistral"],)"
      R"("tokens_per_minute":1000000000,"highest_priority":"interactive",)"
      R"("expires_at":"2030-01-31T00:00:00.000Z","status":"active"},)"
      R"({"key_id":"root1root1ro","name":"root","role":"admin","status":"revoked"}]})");
  ASSERT_TRUE(reply);
  const auto text = keys_table(*reply);
  std::string_view rest = text;
  while (!rest.empty()) {
    const auto end = rest.find('\n');
    EXPECT_LE(display_width(rest.substr(0, end)), 80U) << text;
    rest.remove_prefix(end + 1);
  }
  for (const char* word :
       {"k3v9x2m7q1ab", "root1root1ro", "1000000000", "until 2030-01-31", "revoked", "all"}) {
    EXPECT_NE(text.find(word), std::string::npos) << word << "\n" << text;
  }
  EXPECT_EQ(keys_table({}), "No keys\n");
}

// clause: O-29
TEST(KeyText, ATimeIsANumberAndItsUnit) {
  EXPECT_EQ(seconds_of("30d"), 2'592'000);
  EXPECT_EQ(seconds_of("12h"), 43'200);
  EXPECT_EQ(seconds_of("90m"), 5'400);
  EXPECT_EQ(seconds_of("45s"), 45);
  EXPECT_EQ(seconds_of("45"), 45);
  EXPECT_EQ(seconds_of("3650d"), 315'360'000);
  for (const char* text :
       {"", "d", "0d", "-1d", "1w", "1.5h", "3651d", "99999999999999999999d", "1d1h", " 1d"}) {
    EXPECT_FALSE(seconds_of(text)) << text;
  }
}

}  // namespace
}  // namespace llorch
