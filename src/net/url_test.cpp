#include <gtest/gtest.h>

#include "net/client.h"

namespace llorch::net {
namespace {

TEST(PercentDecoded, ReadsEscapesAndKeepsWhatIsNone) {
  struct Case {
    const char* text;
    const char* want;
  };
  const Case cases[] = {{"", ""},         {"a", "a"},          {"a%2Fb", "a/b"},
                        {"%61%62", "ab"}, {"%e2%9c%85", "✅"}, {"100%", "100%"},
                        {"%2", "%2"},     {"%zz", "%zz"},      {"%-1", "%-1"},
                        {"%%41", "%A"},   {"%2541", "%41"}};
  for (const auto& [text, want] : cases) EXPECT_EQ(percent_decoded(text), want) << text;
}

TEST(ParseUrl, TakesHttpUrlsWithoutUserAndFragment) {
  struct Case {
    const char* name;
    const char* text;
    std::optional<Url> want;
  };
  const Case cases[] = {
      {"host", "http://h", Url{"http", "h", 80, "/"}},
      {"port and path", "http://h:8080/a/b?c=d", Url{"http", "h", 8080, "/a/b?c=d"}},
      {"https", "https://h.example/", Url{"https", "h.example", 443, "/"}},
      {"IPv6", "http://[::1]:1", Url{"http", "::1", 1, "/"}},
      {"query alone", "http://h?x", Url{"http", "h", 80, "/?x"}},
      {"largest port", "http://h:65535", Url{"http", "h", 65535, "/"}},
      {"one past largest", "http://h:65536", std::nullopt},
      {"port 0", "http://h:0", std::nullopt},
      {"empty port", "http://h:", std::nullopt},
      {"signed port", "http://h:+1", std::nullopt},
      {"no scheme", "h:8080", std::nullopt},
      {"other scheme", "ftp://h", std::nullopt},
      {"user", "http://u:p@h", std::nullopt},
      {"no host", "http:///a", std::nullopt},
      {"fragment", "http://h/#a", std::nullopt},
      {"blank", "http://h/a b", std::nullopt},
      {"line break", "http://h/\r\nX: y", std::nullopt},
      {"open bracket", "http://[::1", std::nullopt},
      {"bytes after the bracket", "http://[::1]x", std::nullopt},
      {"leading dash", "http://-h", std::nullopt},
  };
  for (const auto& [name, text, want] : cases) {
    SCOPED_TRACE(name);
    const auto got = parse_url(text);
    ASSERT_EQ(got.has_value(), want.has_value());
    if (want) {
      EXPECT_EQ(*got, *want);
    } else {
      EXPECT_EQ(got.error().code, Code::invalid_request);
    }
  }
}

TEST(AuthorityOf, NamesThePortUnlessItIsTheDefault) {
  EXPECT_EQ(authority_of({"http", "h", 80, "/"}), "h");
  EXPECT_EQ(authority_of({"http", "h", 443, "/"}), "h:443");
  EXPECT_EQ(authority_of({"https", "::1", 443, "/"}), "[::1]");
  EXPECT_EQ(authority_of({"http", "::1", 8001, "/"}), "[::1]:8001");
}

}  // namespace
}  // namespace llorch::net
