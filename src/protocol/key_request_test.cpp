#include "protocol/key_request.h"

#include <algorithm>
#include <gtest/gtest.h>

namespace llorch {
namespace {

// clause: O-22
TEST(KeyRequest, WhatIsLeftOutHasItsDefault) {
  const auto got = decode_key_request(R"({"name":"ci"})");
  ASSERT_TRUE(got);
  EXPECT_EQ(got->role, "client");
  EXPECT_EQ(got->tenant, "ci");
  EXPECT_TRUE(got->models.empty());
  EXPECT_EQ(got->tokens_per_minute, 0);
  EXPECT_EQ(got->default_priority, "interactive");
  EXPECT_FALSE(got->expires_in_s);
  EXPECT_EQ(decode_key_request(R"({"name":"w","role":"worker"})")->tenant, "");
  EXPECT_EQ(decode_key_request(R"({"name":"n","highest_priority":"batch"})")->default_priority,
            "batch");
}

// clause: O-22
TEST(KeyRequest, MeansTheSameAfterARoundTrip) {
  const KeyRequest request{.name = "night \"shift\"",
                           .role = "client",
                           .tenant = "acme",
                           .models = {"qwen", "phi3"},
                           .tokens_per_minute = 60'000,
                           .highest_priority = "interactive",
                           .default_priority = "batch",
                           .expires_in_s = 2'592'000};
  EXPECT_EQ(decode_key_request(encode(request)), request);
}

// clause: O-22
TEST(KeyRequest, EveryBrokenRuleIsNamed) {
  const auto got = decode_key_request(
      R"({"name":"","role":"root","models":["a",3],"tokens_per_minute":-1,"expires_in_s":0,)"
      R"("highest_priority":"batch","default_priority":"interactive","secret":"mine"})");
  ASSERT_FALSE(got);
  std::vector<std::string> fields;
  for (const auto& violation : got.error().violations) fields.push_back(violation.field);
  for (const char* field : {"name", "role", "models", "tokens_per_minute", "expires_in_s",
                            "default_priority", "secret"}) {
    EXPECT_TRUE(std::ranges::count(fields, field) == 1) << field;
  }
  EXPECT_FALSE(decode_key_request(R"({"name":"a\nb"})"));
  EXPECT_FALSE(decode_key_request("[]"));
}

}  // namespace
}  // namespace llorch
