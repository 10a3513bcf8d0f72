// The worker's small pure rules: who may call, which route, when a stream speaks, what is cached.
#include <algorithm>
#include <gtest/gtest.h>
#include <map>
#include <vector>

#include "api/auth.h"
#include "base/limits.h"
#include "fakes/fake_clock.h"
#include "worker/cache_record.h"
#include "worker/cadence.h"
#include "worker/options.h"
#include "worker/route_table.h"
#include "worker/service.h"

namespace llorch {
namespace {

using std::chrono::milliseconds;

// Any number of bodies of 8 MiB could wait for the one thread that decodes them.
TEST(Service, AdmitsSoManyLargeBodiesToTheDecoderAndRefusesOneMore) {
  const WorkerOptions options;
  const FakeClock clock;
  Service service(options, clock);
  std::vector<Service::Place> places;
  for (std::size_t n = 0; n < limits::decode_waiting_max; ++n) {
    auto place = service.admit_decode();
    ASSERT_TRUE(place);
    places.push_back(std::move(*place));
  }
  const auto refused = service.admit_decode();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::queue_full);
  EXPECT_EQ(refused.error().retry_after_ms, limits::full_retry_ms);
  places.pop_back();
  EXPECT_TRUE(service.admit_decode());
}

// clause: W-6
TEST(Authorise, WantsExactlyTheTokenWhenThereIsOne) {
  constexpr std::string_view token = "0123456789abcdef";
  struct Case {
    const char* name;
    std::optional<std::string_view> authorization;
    bool allowed;
  };
  const Case cases[] = {{"right", "Bearer 0123456789abcdef", true},
                        {"scheme in lower case", "bearer 0123456789abcdef", true},
                        {"absent", std::nullopt, false},
                        {"empty", "Bearer ", false},
                        {"one byte off", "Bearer 0123456789abcdeg", false},
                        {"prefix", "Bearer 0123456789abcde", false},
                        {"twice", "Bearer 0123456789abcdef0123456789abcdef", false},
                        {"no scheme", "0123456789abcdef", false},
                        {"other scheme", "Basic 0123456789abcdef", false}};
  for (const auto& [name, authorization, allowed] : cases) {
    SCOPED_TRACE(name);
    const auto result =
        authorise({authorization, "evil.example", "http://evil.example"}, token, "m");
    ASSERT_EQ(result.has_value(), allowed);
    if (!allowed) {
      EXPECT_EQ(result.error().code, Code::unauthorized);
    }
  }
}

// clause: W-6
TEST(Authorise, RefusesForeignNamesWithoutAToken) {
  struct Case {
    const char* name;
    std::optional<std::string_view> host, origin;
    bool allowed;
  };
  const Case cases[] = {{"localhost", "localhost:8080", std::nullopt, true},
                        {"address", "127.0.0.1:8080", std::nullopt, true},
                        {"IPv6", "[::1]:8080", std::nullopt, true},
                        {"this machine", "Box:8080", std::nullopt, true},
                        {"any authorization is fine", "localhost", std::nullopt, true},
                        {"own page", "localhost:8080", "http://localhost:3000", true},
                        {"rebound name", "evil.example:8080", std::nullopt, false},
                        {"ends alike", "notlocalhost", std::nullopt, false},
                        {"foreign page", "localhost:8080", "https://evil.example", false},
                        {"sandboxed page", "localhost:8080", "null", false}};
  for (const auto& [name, host, origin, allowed] : cases) {
    SCOPED_TRACE(name);
    const auto result = authorise({"Bearer whatever", host, origin}, "", "box");
    ASSERT_EQ(result.has_value(), allowed);
    if (!allowed) {
      EXPECT_EQ(result.error().code, Code::forbidden);
    }
  }
}

// clause: E-5
TEST(CorrelationId, KeepsAGoodOneAndReplacesTheRest) {
  EXPECT_EQ(correlation_id_of("abc-123"), "abc-123");
  EXPECT_EQ(correlation_id_of(std::string(64, 'a')), std::string(64, 'a'));
  const std::string too_long(65, 'a');
  for (const auto& header : std::vector<std::optional<std::string_view>>{std::nullopt, "", "a b",
                                                                         "a\"b", "a_b", too_long}) {
    const auto made = correlation_id_of(header);
    EXPECT_EQ(made.size(), 36U);
    EXPECT_NE(made, correlation_id_of(header));
  }
}

TEST(FindRoute, FindsEveryRouteByMethodAndPath) {
  for (const auto& route : worker_routes()) {
    SCOPED_TRACE(route.path);
    const auto path = std::string(route.path) + (route.path.ends_with('/') ? "x" : "");
    ASSERT_NE(find_route(route.method, path).route, nullptr);
    EXPECT_EQ(find_route(route.method, path).route->id, route.id);
    const auto wrong = find_route("PUT", path);
    EXPECT_EQ(wrong.route, nullptr);
    EXPECT_TRUE(wrong.allow.starts_with(route.method));
  }
  EXPECT_EQ(find_route("HEAD", "/health").route->id, RouteId::health);
}

TEST(FindRoute, NamesThePathThatWasProbablyMeant) {
  const std::map<std::string, std::string> cases = {{"/v1/chat/completion", "/v1/chat/completions"},
                                                    {"/chat/completions", "/v1/chat/completions"},
                                                    {"/v1/v1/models", "/v1/models"},
                                                    {"/exceute", "/execute"},
                                                    {"/healthz", "/health"},
                                                    {"/", ""},
                                                    {"/something/else/entirely", ""}};
  for (const auto& [path, near] : cases) {
    SCOPED_TRACE(path);
    const auto match = find_route("GET", path);
    EXPECT_EQ(match.route, nullptr);
    EXPECT_EQ(match.allow, "");
    EXPECT_EQ(match.near, near);
  }
}

// clause: W-21, W-24
TEST(Cadence, SpeaksAsOftenAsTheContractSays) {
  FakeClock clock;
  Cadence cadence(clock.now(), true);
  EXPECT_FALSE(cadence.metrics_due(clock.now()));
  EXPECT_EQ(cadence.next(), clock.now() + milliseconds(5'000));
  clock.advance(milliseconds(4'999));
  EXPECT_FALSE(cadence.headers_due(clock.now()));
  clock.advance(milliseconds(1));
  EXPECT_TRUE(cadence.headers_due(clock.now()));
  cadence.headers_written(clock.now());
  EXPECT_FALSE(cadence.headers_due(clock.now()));
  EXPECT_TRUE(cadence.metrics_due(clock.now()));
  cadence.metrics_written(clock.now());
  EXPECT_FALSE(cadence.metrics_due(clock.now()));
  EXPECT_EQ(cadence.next(), clock.now() + milliseconds(1'000));
  cadence.metrics_news();
  EXPECT_EQ(cadence.next(), clock.now() + milliseconds(250));
  clock.advance(milliseconds(250));
  EXPECT_TRUE(cadence.metrics_due(clock.now()));
}

TEST(Cadence, SendsOnlyCommentsWhereNoMetricsGo) {
  FakeClock clock;
  Cadence cadence(clock.now(), false);
  cadence.headers_written(clock.now());
  EXPECT_EQ(cadence.next(), clock.now() + milliseconds(10'000));
  clock.advance(milliseconds(10'000));
  EXPECT_TRUE(cadence.comment_due(clock.now()));
  EXPECT_FALSE(cadence.metrics_due(clock.now()));
  cadence.wrote(clock.now());
  EXPECT_FALSE(cadence.comment_due(clock.now()));
}

// clause: W-44
TEST(CacheRecord, TellsThePeerOnlyWhatChanged) {
  CacheRecord record;
  record.finished(std::vector<std::uint64_t>{1, 2});
  auto change = record.pending();
  EXPECT_EQ(change.added.size(), 2U);
  EXPECT_EQ(record.pending().added.size(), 2U) << "until taken";
  record.taken(change);
  EXPECT_TRUE(record.pending().added.empty());
  record.finished(std::vector<std::uint64_t>{1, 3});
  change = record.pending();
  EXPECT_EQ(change.added, std::vector<std::uint64_t>{3});
  EXPECT_EQ(change.version, 2U);
  record.taken(change);
  record.forget_peer();
  EXPECT_EQ(record.pending().added.size(), 3U);
}

TEST(CacheRecord, KeepsTheNewestEntriesAndReportsTheOldOnesRemoved) {
  CacheRecord record;
  record.finished(std::vector<std::uint64_t>{7});
  record.taken(record.pending());
  for (std::uint64_t i = 100; i < 100 + 1'024; ++i) {
    record.finished(std::vector<std::uint64_t>{i});
  }
  const auto change = record.pending();
  EXPECT_EQ(change.added.size(), 1'024U);
  EXPECT_EQ(change.removed, std::vector<std::uint64_t>{7});
}

// clause: W-1, W-2, W-6, W-7
TEST(WorkerOptions, AreRefusedWithEveryBrokenRule) {
  struct Case {
    const char* name;
    void (*change)(WorkerOptions&);
    std::vector<std::string> fields;
  };
  const Case cases[] = {
      {"fine", [](WorkerOptions&) {}, {}},
      {"no model", [](WorkerOptions& o) { o.model.clear(); }, {"--model"}},
      {"worker id", [](WorkerOptions& o) { o.worker_id = "a b"; }, {"--worker-id"}},
      {"backend", [](WorkerOptions& o) { o.engine.backend = "rocm"; }, {"--backend"}},
      {"short token", [](WorkerOptions& o) { o.worker_token = "short"; }, {"LLORCH_WORKER_TOKEN"}},
      {"public without token",
       [](WorkerOptions& o) { o.host = "192.0.2.1"; },
       {"LLORCH_WORKER_TOKEN"}},
      {"public with token",
       [](WorkerOptions& o) {
         o.host = "192.0.2.1";
         o.worker_token = "0123456789abcdef";
       },
       {}},
      {"wildcard, registered",
       [](WorkerOptions& o) {
         o.host = "0.0.0.0";
         o.orchestrator_url = "http://127.0.0.1:1";
         o.worker_token = "0123456789abcdef";
       },
       {"--advertise"}},
      {"several at once",
       [](WorkerOptions& o) {
         o.model.clear();
         o.host = "::";
         o.engine.backend = "x";
       },
       {"--model", "--backend", "LLORCH_WORKER_TOKEN"}}};
  for (const auto& [name, change, fields] : cases) {
    SCOPED_TRACE(name);
    WorkerOptions options;
    options.model = "m.gguf";
    change(options);
    const auto checked = check_worker_options(options);
    std::vector<std::string> found;
    if (!checked) {
      EXPECT_EQ(checked.error().code, Code::invalid_request);
      for (const auto& violation : checked.error().violations) found.push_back(violation.field);
    }
    EXPECT_EQ(found, fields);
  }
}

TEST(WorkerOptions, KnowLoopbackFromTheRest) {
  for (const char* host : {"localhost", "127.0.0.1", "127.1.2.3", "::1"}) {
    EXPECT_TRUE(is_loopback(host)) << host;
  }
  for (const char* host : {"0.0.0.0", "::", "10.0.0.1", "127.evil.example", "box"}) {
    EXPECT_FALSE(is_loopback(host)) << host;
  }
}

}  // namespace
}  // namespace llorch
