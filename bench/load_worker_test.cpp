#include <fmt/format.h>
#include <gtest/gtest.h>

#include "fakes/test_worker.h"
#include "load.h"
#include "net/run.h"

namespace llorch::bench {
namespace {

Figures measure(std::uint16_t port, LoadOptions options) {
  options.url = fmt::format("http://127.0.0.1:{}", port);
  options.limit_s = 60;
  auto figures =
      net::run_blocking<Figures>([&](asio::io_context& io) { return run_load(io, options); });
  EXPECT_TRUE(figures) << figures.error().message;
  return figures ? *figures : Figures{};
}

TEST(RunLoad, CountsEveryRequestAndToken) {
  TestWorker worker;
  for (const auto route : {Route::chat, Route::completions}) {
    for (const bool fresh : {false, true}) {
      SCOPED_TRACE(fmt::format("route {} fresh {}", static_cast<int>(route), fresh));
      const auto figures = measure(worker.port(), {.route = route,
                                                   .concurrency = 4,
                                                   .requests = 12,
                                                   .max_tokens = 10,
                                                   .fresh = fresh,
                                                   .ignore_eos = true});
      EXPECT_TRUE(figures.errors.empty()) << to_json(figures);
      EXPECT_EQ(figures.requests_ok, 12u);
      EXPECT_EQ(figures.tokens_out, 120u);
      EXPECT_EQ(figures.ttft_ms.count(), 12u);
      EXPECT_GT(figures.prompt_tokens, 12u * 20);
    }
  }
}

TEST(RunLoad, MeasuresStreamsBesideAPromptThatArrives) {
  TestWorker worker({.context_tokens = 1'000'000, .step = std::chrono::milliseconds(1)});
  const auto figures =
      measure(worker.port(), {.background_streams = 2, .inject_prompt_tokens = 500});
  EXPECT_TRUE(figures.errors.empty()) << to_json(figures);
  EXPECT_TRUE(figures.injected);
  EXPECT_GT(figures.injected_ttft_ms, 0);
  EXPECT_GT(figures.quiet_gap_ms.count(), 0u);
  EXPECT_GT(figures.loaded_gap_ms.count(), 0u);
}

TEST(RunLoad, SendsItsKey) {
  auto options = TestWorker::default_options();
  options.worker_token = "a-key-of-some-length";
  TestWorker worker(FakeEngineOptions{}, options);
  EXPECT_EQ(measure(worker.port(), {.requests = 2}).errors,
            (std::map<std::string, std::uint32_t>{{"http_401", 2}}));
  EXPECT_EQ(measure(worker.port(), {.key = options.worker_token, .requests = 2}).requests_ok, 2U);
}

TEST(RunLoad, NamesFailuresByTheirKind) {
  TestWorker worker(TestWorker::Loading{});
  EXPECT_EQ(measure(worker.port(), {.requests = 3}).errors,
            (std::map<std::string, std::uint32_t>{{"http_503", 3}}));
  worker.finish_loading();
}

TEST(RunLoad, RefusesAUrlItCannotUse) {
  const auto figures = net::run_blocking<Figures>(
      [](asio::io_context& io) { return run_load(io, {.url = "ftp://x"}); });
  ASSERT_FALSE(figures);
  EXPECT_EQ(figures.error().code, Code::invalid_request);
}

}  // namespace
}  // namespace llorch::bench
