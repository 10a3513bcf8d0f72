#include <gtest/gtest.h>
#include <limits>
#include <string>

#include "protocol/json_parse.h"
#include "protocol/json_text.h"
#include "protocol/utf8.h"

namespace llorch {
namespace {

std::string json_string(std::string_view text) {
  std::string out;
  append_json_string(out, text);
  return out;
}

TEST(Utf8, TellsValidFromInvalid) {
  struct Case {
    const char* name;
    std::string_view text;
    bool want;
  };
  const Case cases[] = {{"empty", "", true},
                        {"ascii", "abc", true},
                        {"two bytes", "\xC3\xA9", true},
                        {"four bytes", "\xF0\x9F\x98\x80", true},
                        {"largest", "\xF4\x8F\xBF\xBF", true},
                        {"past the largest", "\xF4\x90\x80\x80", false},
                        {"overlong slash", "\xC0\xAF", false},
                        {"overlong three", "\xE0\x80\xAF", false},
                        {"surrogate", "\xED\xA0\x80", false},
                        {"cut off", "\xE2\x82", false},
                        {"lone later byte", "\x80", false},
                        {"0xFF", "\xFF", false}};
  for (const auto& [name, text, want] : cases) {
    SCOPED_TRACE(name);
    EXPECT_EQ(is_utf8(text), want);
  }
}

TEST(Utf8, CountsTheTailThatLaterBytesCouldFinish) {
  struct Case {
    const char* name;
    std::string_view text;
    std::size_t want;
  };
  const Case cases[] = {{"empty", "", 0},
                        {"whole", "a\xC3\xA9", 0},
                        {"one of two", "a\xC3", 1},
                        {"two of three", "a\xE2\x82", 2},
                        {"three of four", "\xF0\x9F\x98", 3},
                        {"one of four", "\xF0", 1},
                        {"can never be whole", "\xE0\x80", 0},
                        {"only later bytes", "\x80\x80\x80", 0},
                        {"never a first byte", "\xFF", 0}};
  for (const auto& [name, text, want] : cases) {
    SCOPED_TRACE(name);
    EXPECT_EQ(utf8_incomplete_tail(text), want);
  }
}

TEST(Utf8, CutsNoCharacterInTwo) {
  EXPECT_EQ(utf8_beginning("a\xC3\xA9z", 2), "a");
  EXPECT_EQ(utf8_beginning("a\xC3\xA9z", 3), "a\xC3\xA9");
  EXPECT_EQ(utf8_beginning("a\xC3\xA9z", 9), "a\xC3\xA9z");
}

TEST(Utf8, ReplacesEachMaximalInvalidPartOnce) {
  EXPECT_EQ(utf8_replaced("a\xE2\x82z"), "a\xEF\xBF\xBDz");
  EXPECT_EQ(utf8_replaced("\xFF\xFE"), "\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_EQ(utf8_replaced("\xED\xA0\x80"), "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_EQ(utf8_replaced("h\xC3\xA9"), "h\xC3\xA9");
  EXPECT_EQ(utf8_length("h\xC3\xA9\xF0\x9F\x98\x80"), 3U);
}

TEST(JsonText, EscapesWhatJsonAsksFor) {
  struct Case {
    const char* name;
    std::string_view text;
    std::string_view want;
  };
  const Case cases[] = {{"plain", "abc", R"("abc")"},
                        {"quote and backslash", "\"\\", R"("\"\\")"},
                        {"line breaks", "a\r\n\tb", R"("a\r\n\tb")"},
                        {"control", std::string_view("\0\x1F\x7F", 3), R"("\u0000\u001f\u007f")"},
                        {"wide", "h\xC3\xA9", "\"h\xC3\xA9\""},
                        {"line separator", "\xE2\x80\xA8", R"("\u2028")"},
                        {"invalid", "a\xFF", "\"a\xEF\xBF\xBD\""}};
  for (const auto& [name, text, want] : cases) {
    SCOPED_TRACE(name);
    EXPECT_EQ(json_string(text), want);
  }
}

TEST(JsonText, EveryByteStringBecomesJsonThatParses) {
  std::string all;
  for (int c = 0; c < 256; ++c) all += static_cast<char>(c);
  const auto parsed = parse_json(json_string(all));
  ASSERT_TRUE(parsed.has_value());
  const std::string_view text = parsed->get_string();
  EXPECT_EQ(text.substr(0, 0x80), all.substr(0, 0x80));
}

TEST(JsonText, WritesNumbersThatReadBackTheSame) {
  std::string out;
  append_json_number(out, 0.1);
  out += ' ';
  append_json_number(out, std::numeric_limits<double>::infinity());
  out += ' ';
  append_json_uint(out, std::numeric_limits<std::uint64_t>::max());
  out += ' ';
  append_json_int(out, std::numeric_limits<std::int64_t>::min());
  out += ' ';
  append_json_float(out, 0.1F);
  EXPECT_EQ(out, "0.1 null 18446744073709551615 -9223372036854775808 0.1");
}

TEST(JsonObjectWriter, SeparatesMembers) {
  std::string out = "x";
  JsonObjectWriter(out).string("a", "b").integer("n", -1).boolean("t", true).raw("r", "[]").end();
  EXPECT_EQ(out, R"(x{"a":"b","n":-1,"t":true,"r":[]})");
}

TEST(ParseJson, RefusesHostileBodies) {
  struct Case {
    const char* name;
    std::string body;
    Code want;
  };
  const Case cases[] = {
      {"empty", "", Code::invalid_request},
      {"cut off", R"({"a":)", Code::invalid_request},
      {"two values", "{} {}", Code::invalid_request},
      {"comment", "{}//x", Code::invalid_request},
      {"trailing comma", "[1,]", Code::invalid_request},
      {"NaN", "[NaN]", Code::invalid_request},
      {"depth 10 000", std::string(10'000, '['), Code::invalid_request},
      {"depth 65", std::string(65, '[') + std::string(65, ']'), Code::invalid_request},
      {"lone high surrogate", R"(["\ud800"])", Code::invalid_request},
      {"lone low surrogate", R"(["\udc00"])", Code::invalid_request},
      {"invalid UTF-8", "[\"\xFF\"]", Code::invalid_request},
      {"raw control", "[\"a\nb\"]", Code::invalid_request},
      {"one byte too many", std::string(limits::body_bytes_max + 1, ' '), Code::too_large}};
  for (const auto& [name, body, want] : cases) {
    SCOPED_TRACE(name);
    const auto got = parse_json(body);
    ASSERT_FALSE(got.has_value());
    EXPECT_EQ(got.error().code, want);
    EXPECT_LT(got.error().message.size(), 200U) << "the body is not quoted";
  }
}

TEST(ParseJson, TakesWhatIsOnlyUnusual) {
  const std::string deep = std::string(64, '[') + std::string(64, ']');
  const std::string large = "\"" + std::string(limits::body_bytes_max - 2, 'x') + "\"";
  EXPECT_TRUE(parse_json(deep).has_value());
  EXPECT_TRUE(parse_json(large).has_value());
  EXPECT_TRUE(parse_json(R"(["\ud83d\ude00", 1e400, -0.0])").has_value());
  const auto twice = parse_json_object(R"({"a":1,"a":2})");
  ASSERT_TRUE(twice.has_value());
  EXPECT_EQ(twice->at("a").as_int64(), 2);
}

TEST(ParseJsonObject, RefusesOtherValues) {
  for (const char* const body : {"[]", "1", "null", "\"a\""}) {
    SCOPED_TRACE(body);
    const auto got = parse_json_object(body);
    ASSERT_FALSE(got.has_value());
    ASSERT_EQ(got.error().violations.size(), 1U);
    EXPECT_EQ(got.error().violations.front().field, "body");
  }
}

}  // namespace
}  // namespace llorch
