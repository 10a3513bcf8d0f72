#include "orchestrator/name_options.h"

#include <gtest/gtest.h>

#include "api/cross_origin.h"

namespace llorch {
namespace {

// clause: O-28
TEST(AllowedNames, AreListsWithCommas) {
  std::vector<Violation> found;
  const auto names =
      allowed_names(" llm.example, other,", "https://a.example,http://b:3000", false, found);
  EXPECT_TRUE(found.empty());
  EXPECT_EQ(names.hosts, (std::vector<std::string>{"llm.example", "other"}));
  EXPECT_EQ(names.origins, (std::vector<std::string>{"https://a.example", "http://b:3000"}));
}

// clause: O-28
TEST(AllowedNames, WhatIsNoneIsRefusedWithItsFlag) {
  for (const char* host : {"http://a", "a:80", "a/b", "*"}) {
    std::vector<Violation> found;
    static_cast<void>(allowed_names(host, "", false, found));
    ASSERT_EQ(found.size(), 1U) << host;
    EXPECT_EQ(found[0].field, "--allowed-hosts");
  }
  for (const char* origin : {"a.example", "https://a.example/", "https://", "https://a:", "ftp://a",
                             "https://a:b", "null", "https://*.example"}) {
    std::vector<Violation> found;
    static_cast<void>(allowed_names("", origin, true, found));
    ASSERT_EQ(found.size(), 1U) << origin;
    EXPECT_EQ(found[0].field, "--cors-origins");
  }
}

// clause: O-28
TEST(AllowedNames, AnyOriginNeedsAToken) {
  std::vector<Violation> found;
  EXPECT_EQ(allowed_names("", "*", true, found).origins.size(), 1U);
  EXPECT_TRUE(found.empty());
  static_cast<void>(allowed_names("", "*", false, found));
  ASSERT_EQ(found.size(), 1U);
  EXPECT_NE(found[0].message.find("LLORCH_API_TOKEN"), std::string::npos);
}

// clause: O-28
TEST(AllowedNames, CountAsThisMachinesOwnWithoutAKey) {
  const AllowedNames names{.hosts = {"LLM.example"}, .origins = {"https://app.example"}};
  const auto allowed = [&](const char* host, std::optional<std::string_view> origin) {
    return check_names({.authorization = {}, .host = host, .origin = origin}, "box", names)
        .has_value();
  };
  EXPECT_TRUE(allowed("llm.example:8080", std::nullopt));
  EXPECT_TRUE(allowed("localhost", "https://app.example"));
  EXPECT_FALSE(allowed("evil.example", std::nullopt));
  EXPECT_FALSE(allowed("sub.llm.example", std::nullopt));
  EXPECT_FALSE(allowed("localhost", "http://app.example"));
  EXPECT_FALSE(allowed("localhost", "https://app.example:8443"));
  EXPECT_FALSE(allowed("localhost", "null"));
}

net::HttpRequest asked(const char* method, const char* origin) {
  net::HttpRequest request;
  request.method = method;
  request.headers.add("Origin", origin);
  request.headers.add("Access-Control-Request-Method", "POST");
  request.headers.add("Access-Control-Request-Headers", "authorization,x-stainless-os");
  return request;
}

// clause: O-28
TEST(CrossOrigin, AnswersTheQuestionOfAnAllowedPageOnly) {
  const AllowedNames names{.hosts = {}, .origins = {"https://app.example"}};
  const auto answer = preflight_response(names, asked("OPTIONS", "https://app.example"))
                          .value_or(net::HttpResponse{});
  EXPECT_EQ(answer.status, 204U);
  EXPECT_EQ(answer.headers.find("Access-Control-Allow-Origin"), "https://app.example");
  EXPECT_EQ(answer.headers.find("Access-Control-Allow-Headers"), "authorization,x-stainless-os");
  EXPECT_EQ(answer.headers.find("Access-Control-Allow-Methods"), "GET, POST, DELETE");
  EXPECT_FALSE(answer.headers.find("Access-Control-Allow-Credentials"));
  EXPECT_FALSE(preflight_response(names, asked("OPTIONS", "https://evil.example")));
  EXPECT_FALSE(preflight_response(names, asked("POST", "https://app.example")));
  EXPECT_FALSE(preflight_response({}, asked("OPTIONS", "https://app.example")));
  EXPECT_TRUE(cross_origin_headers(names, asked("GET", "https://evil.example")).empty());
  EXPECT_EQ(cross_origin_headers(names, asked("GET", "https://app.example")).find("Vary"),
            "Origin");
}

}  // namespace
}  // namespace llorch
