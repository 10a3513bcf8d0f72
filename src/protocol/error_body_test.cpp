#include "protocol/error_body.h"

#include <gtest/gtest.h>

#include "protocol/json_parse.h"

namespace llorch {
namespace {

// clause: E-1
TEST(ErrorBody, HasTheContractsFields) {
  const Error error{.code = Code::queue_full,
                    .message = "the queue is full",
                    .retry_after_ms = 1200,
                    .next = "try later"};
  EXPECT_EQ(error_body(error, "c1"),
            R"({"error":{"code":"QUEUE_FULL","message":"the queue is full","retriable":true,)"
            R"("retry_after_ms":1200,"details":{"next":"try later"},"correlation_id":"c1"}})");
}

// clause: E-3
TEST(ErrorBody, ListsViolationsBesideTheError) {
  const Error error{.code = Code::invalid_request,
                    .message = "no",
                    .violations = {{"top_p", "<= 1", "top_p must be <= 1", "7"}, {"n", "1", "n"}}};
  EXPECT_EQ(error_body(error, "c"),
            R"({"error":{"code":"INVALID_REQUEST","message":"no","retriable":false,)"
            R"("correlation_id":"c"},"errors":[{"field":"top_p","constraint":"<= 1",)"
            R"("message":"top_p must be <= 1","value":"7"},)"
            R"({"field":"n","constraint":"1","message":"n"}]})");
}

// clause: E-2
TEST(ErrorBody, SpeaksOpenAisShapeOnV1) {
  const Error error{.code = Code::context_length_exceeded,
                    .message = "too long",
                    .violations = {{"messages", "c", "m"}}};
  const auto body = parse_json_object(error_body(error, "c", ErrorShape::openai));
  ASSERT_TRUE(body.has_value());
  const auto& object = body->at("error").as_object();
  EXPECT_EQ(object.at("message").as_string(), "too long");
  EXPECT_EQ(object.at("type").as_string(), "invalid_request_error");
  EXPECT_EQ(object.at("param").as_string(), "messages");
  EXPECT_EQ(object.at("code").as_string(), "context_length_exceeded");
  EXPECT_EQ(object.at("correlation_id").as_string(), "c");
}

// clause: E-4
TEST(ErrorBody, NeverShowsCodesThatStayInTheProcess) {
  struct Case {
    Code code;
    Code want;
  };
  for (const auto& [code, want] :
       {Case{Code::unreachable, Code::worker_lost}, Case{Code::timeout, Code::worker_timeout},
        Case{Code::insufficient_storage, Code::insufficient_memory}}) {
    SCOPED_TRACE(wire_name(code));
    EXPECT_EQ(client_code(code), want);
    EXPECT_EQ(http_status(code), http_status(want)) << "status and code must agree";
    EXPECT_TRUE(error_body({.code = code, .message = "m"}, "")
                    .starts_with("{\"error\":{\"code\":\"" + std::string(wire_name(want)) + "\""));
  }
}

TEST(ErrorBody, IsDecodedToWhatItWas) {
  for (int i = 0; i <= static_cast<int>(Code::internal); ++i) {
    const Error error{.code = static_cast<Code>(i),
                      .message = "why \"quoted\"",
                      .retry_after_ms = 7,
                      .violations = {{"f", "c", "m", "v"}, {"g", "d", "n"}},
                      .next = "do this"};
    for (const auto shape : {ErrorShape::ours, ErrorShape::openai}) {
      SCOPED_TRACE(wire_name(error.code));
      const auto back = decode_error(http_status(error.code), error_body(error, "c9", shape));
      EXPECT_EQ(back.error.code, error.code);
      EXPECT_EQ(back.error.message, error.message);
      EXPECT_EQ(back.error.retry_after_ms, error.retry_after_ms);
      EXPECT_EQ(back.error.violations, error.violations);
      EXPECT_EQ(back.error.next, error.next);
      EXPECT_EQ(back.correlation_id, "c9");
    }
  }
}

TEST(DecodeError, MakesSenseOfBodiesThatAreNotOurs) {
  struct Case {
    const char* name;
    unsigned status;
    std::string_view body;
    Code code;
    std::string_view message;
  };
  const Case cases[] = {
      {"proxy page", 502, "<html>\n<body>Bad", Code::unreachable, "<html>"},
      {"empty", 503, "", Code::unreachable, "the server answered 503 without a reason"},
      {"plain text", 404, "404 page not found", Code::not_found, "404 page not found"},
      {"error as text", 400, R"({"error":"bad"})", Code::invalid_request, "bad"},
      {"a code we do not know", 429, R"({"error":{"code":"slow_down","message":"slow"}})",
       Code::queue_full, "slow"},
      {"invalid UTF-8", 500, "\xFF", Code::internal, "\xEF\xBF\xBD"},
      {"wrong types", 500, R"({"error":{"code":1,"message":2}})", Code::internal,
       "the server answered 500 without a reason"}};
  for (const auto& [name, status, body, code, message] : cases) {
    SCOPED_TRACE(name);
    const auto got = decode_error(status, body);
    EXPECT_EQ(got.error.code, code);
    EXPECT_EQ(got.error.message, message);
  }
}

// clause: W-17
TEST(ErrorHeaders, RoundTheWaitUp) {
  using Headers = std::vector<std::pair<std::string, std::string>>;
  EXPECT_EQ(error_headers({.code = Code::queue_full, .message = "", .retry_after_ms = 1001}),
            (Headers{{"Retry-After", "2"},
                     {"retry-after-ms", "1001"},
                     {"X-Backoff-Ms", "1001"},
                     {"x-should-retry", "true"}}));
  EXPECT_EQ(
      error_headers({.code = Code::queue_full, .message = "", .retry_after_ms = 1000})[0].second,
      "1");
  EXPECT_EQ(error_headers({.code = Code::invalid_request, .message = ""}),
            (Headers{{"x-should-retry", "false"}}));
}

}  // namespace
}  // namespace llorch
