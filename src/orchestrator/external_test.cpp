#include <gtest/gtest.h>
#include <string>

#include "base/limits.h"
#include "orchestrator/external_reply.h"
#include "orchestrator/external_server.h"
#include "protocol/json_parse.h"

namespace llorch {
namespace {

ExternalSettings lab() {
  ExternalSettings told;
  told.name = "lab";
  told.url = "http://lab:8000/v1/";
  told.models = {{"ours", "theirs:7b"}};
  return told;
}

ExternalServer server() {
  return external_servers({lab()}).value().front();
}

// clause: O-30
TEST(ExternalServers, AreEnteredByOurNamesUnderIdsThatNoWorkerCanHave) {
  const auto entry = external_registration(server(), "ours");
  EXPECT_EQ(entry.worker_id, "lab:ours");
  EXPECT_EQ(entry.model, "ours");
  EXPECT_EQ(entry.backend, "external");
  EXPECT_EQ(entry.slots_total, 4);
}

// clause: O-30
TEST(ExternalServers, TakeAUrlWithAndWithoutItsVersion) {
  const struct {
    const char *url, *want;
  } cases[] = {{"http://lab", "/v1/models"},
               {"http://lab/", "/v1/models"},
               {"http://lab:1/v1", "/v1/models"},
               {"https://lab/api/v1/", "/api/v1/models"}};
  for (const auto& [url, want] : cases) {
    SCOPED_TRACE(url);
    auto told = lab();
    told.url = url;
    const auto servers = external_servers({told});
    ASSERT_TRUE(servers);
    EXPECT_EQ(external_url(servers->front(), "/v1/models").target, want);
  }
}

// clause: O-30
TEST(ExternalServers, AreRefusedWithWhatIsWrong) {
  const auto why = [](const auto& change) {
    auto told = lab();
    change(told);
    const auto servers = external_servers({told});
    return servers ? std::string() : servers.error().message;
  };
  EXPECT_NE(why([](auto& it) { it.name = "a:b"; }).find("name"), std::string::npos);
  EXPECT_NE(why([](auto& it) { it.url = "lab:8000"; }).find("url"), std::string::npos);
  EXPECT_NE(why([](auto& it) { it.key_env = "LAB_KEY"; }).find("LAB_KEY"), std::string::npos);
  const auto odd = why([](auto& it) {
    it.key_env = "LAB_KEY";
    it.key = "sec ret";
  });
  EXPECT_NE(odd.find("LAB_KEY"), std::string::npos);
  EXPECT_EQ(odd.find("sec"), std::string::npos) << "a key is never shown";
}

// clause: O-31
TEST(ExternalBodies, CarryTheServersModelAndTheClientsFields) {
  const auto body = external_body(
      R"({"model":"ours","messages":[],"x":{"y":1},"seed":null,"seed":7})", "theirs", true);
  ASSERT_TRUE(body);
  EXPECT_EQ(*body, R"({"model":"theirs","messages":[],"x":{"y":1}})");
  EXPECT_NE(external_body(R"({"seed":7})", "t", false)->find("7"), std::string::npos);
  EXPECT_FALSE(external_body("[]", "t", false));
}

const ReplyIdentity ours{.id = "chatcmpl-1", .created = 5, .model = "ours"};

// clause: O-31
TEST(ExternalReplies, PassUnderOurNamesAndKeepWhatWeDoNotKnow) {
  const auto frame = read_external_reply(
      R"({"id":"x","model":"theirs","timings":{"a":1},"choices":[{"delta":{"content":"Hi"},"finish_reason":null}]})",
      ours, limits::frame_bytes_max);
  ASSERT_TRUE(frame);
  EXPECT_TRUE(frame->output);
  EXPECT_FALSE(frame->finished);
  const auto read = parse_json_object(frame->json);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->at("id").as_string(), "chatcmpl-1");
  EXPECT_EQ(read->at("model").as_string(), "ours");
  EXPECT_EQ(read->at("created").as_int64(), 5);
  EXPECT_TRUE(read->contains("timings"));
}

// clause: O-31
TEST(ExternalReplies, AreToldApartByWhatIsInThem) {
  const struct {
    const char *name, *json;
    bool output, finished;
  } cases[] = {
      {"role", R"({"choices":[{"delta":{"role":"assistant","content":""}}]})", false, false},
      {"role and null", R"({"choices":[{"delta":{"role":"assistant","content":null}}]})", false,
       false},
      {"reasoning", R"({"choices":[{"delta":{"reasoning_content":"hm"}}]})", true, false},
      {"tool call", R"({"choices":[{"delta":{"tool_calls":[{"index":0}]}}]})", true, false},
      {"text", R"({"choices":[{"text":"a","finish_reason":null}]})", true, false},
      {"finish", R"({"choices":[{"delta":{},"finish_reason":"stop"}]})", false, true},
      {"last text", R"({"choices":[{"text":"a","finish_reason":"length"}]})", true, true},
      {"whole", R"({"choices":[{"message":{"content":"a"},"finish_reason":"stop"}]})", true, true},
      {"usage", R"({"choices":[],"usage":{"completion_tokens":3}})", false, false},
      {"odd", R"({"choices":[1,{"delta":2,"finish_reason":3}]})", false, false}};
  for (const auto& [name, text, output, finished] : cases) {
    SCOPED_TRACE(name);
    const auto reply = read_external_reply(text, ours, limits::frame_bytes_max);
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->output, output);
    EXPECT_EQ(reply->finished, finished);
  }
  const auto told = R"({"usage":{"prompt_tokens":4,"completion_tokens":99999999999}})";
  const auto usage = read_external_reply(told, ours, limits::frame_bytes_max);
  EXPECT_EQ(usage->prompt_tokens, 4);
  EXPECT_EQ(usage->completion_tokens, limits::external_tokens_max) << "it is held in memory";
  EXPECT_FALSE(read_external_reply("<html>", ours, 100));
  EXPECT_FALSE(read_external_reply(R"({"error":{"message":"boom"}})", ours, 100));
}

// clause: O-32
TEST(ExternalRefusals, MeanWhatTheirStatusSays) {
  const struct {
    unsigned status;
    const char* body;
    Failure failure;
    Code code;
  } cases[] = {
      {302, "", Failure::internal, Code::backend_error},
      {401, R"({"error":{"message":"bad key"}})", Failure::internal, Code::backend_error},
      {403, "", Failure::internal, Code::backend_error},
      {404, R"({"error":{"message":"model not found"}})", Failure::internal, Code::backend_error},
      {400, R"({"error":{"message":"no","code":"unauthorized"}})", Failure::backend,
       Code::invalid_request},
      {400, R"({"error":{"message":"long","type":"exceed_context_size_error"}})", Failure::backend,
       Code::context_length_exceeded},
      {413, "", Failure::backend, Code::too_large},
      {422, "", Failure::backend, Code::invalid_request},
      {429, "", Failure::overloaded, Code::queue_full},
      {500, "", Failure::backend, Code::backend_error},
      {503, "", Failure::overloaded, Code::worker_lost},
      {504, "", Failure::backend, Code::worker_timeout}};
  for (const auto& [status, body, failure, code] : cases) {
    SCOPED_TRACE(status);
    const auto refusal = external_refusal(server(), status, body, 1'500);
    EXPECT_EQ(refusal.failure, failure);
    EXPECT_EQ(refusal.error.code, code);
    EXPECT_NE(refusal.error.message.find("'lab'"), std::string::npos);
  }
  EXPECT_EQ(external_refusal(server(), 429, "", 1'500).error.retry_after_ms, 1'500);
}

// clause: O-32
TEST(ExternalRefusals, SayHowLongToWait) {
  EXPECT_EQ(retry_after_of({{"Retry-After", "2"}}), 2'000);
  EXPECT_EQ(retry_after_of({{"Retry-After", "2"}, {"retry-after-ms", "150"}}), 150);
  EXPECT_EQ(retry_after_of({{"Retry-After", "Wed, 21 Oct 2015 07:28:00 GMT"}}), std::nullopt);
  EXPECT_EQ(retry_after_of({{"Retry-After", "99999999999999999999"}}), std::nullopt);
  EXPECT_EQ(retry_after_of({}), std::nullopt);
}

}  // namespace
}  // namespace llorch
