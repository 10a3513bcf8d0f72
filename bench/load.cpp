#include "load.h"

#include <boost/asio/deferred.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <chrono>
#include <fmt/format.h>
#include <memory>
#include <sys/resource.h>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "net/client.h"
#include "net/task_group.h"
#include "prompt_text.h"
#include "stream_reader.h"

namespace llorch::bench {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::uint64_t warm_frames = 8;              // a background stream decodes by then
constexpr milliseconds watch_interval{5};             // of the coroutines that wait for others
constexpr std::uint32_t background_tokens = 100'000;  // longer than any context: they are cut off
constexpr std::uint32_t injected_tokens = 16;

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto as_seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  return as_seconds(usage.ru_utime) + as_seconds(usage.ru_stime);
}

std::string kind_of(const Error& error) {
  switch (error.code) {
    case Code::unreachable:
      return "connection";
    case Code::timeout:
      return "timeout";
    case Code::backend_error:
      return "error_in_stream";
    default:
      return std::string(wire_name(error.code));
  }
}

std::string target_of(Route route) {
  if (route == Route::tasks) return "/v2/tasks";
  return route == Route::chat ? "/v1/chat/completions" : "/v1/completions";
}

// Of the reply to POST /v2/tasks; of a refusal "refused", whose events are a 404.
std::string job_id_in(std::string_view reply) {
  constexpr std::string_view name = R"("job_id":")";
  const auto at = reply.find(name);
  if (at == reply.npos) return "refused";
  const auto value = reply.substr(at + name.size());
  return std::string(value.substr(0, value.find('"')));
}

// How a request ended: empty, or the kind of its failure.
struct Outcome {
  std::string error;
};

class LoadRun {
 public:
  LoadRun(asio::io_context& io, net::Url url, LoadOptions options)
      : io_(io),
        url_(std::move(url)),
        options_(std::move(options)),
        client_(io, client_options(options_)),
        deadline_(clock_.now() + seconds(options_.limit_s)),
        tasks_(io.get_executor()) {}

  Task<Figures> run() {
    const double cpu = cpu_seconds();
    const SteadyTime start = clock_.now();
    if (options_.inject_prompt_tokens > 0) {
      co_await run_injected();
    } else {
      for (std::uint32_t i = 0; i < std::min(options_.concurrency, options_.requests); ++i) {
        tasks_.spawn(run_client());
      }
      co_await tasks_.join();
    }
    figures_.wall_s = elapsed_ms(start, clock_.now()) / 1000;
    figures_.client_cpu_s = cpu_seconds() - cpu;
    co_return std::move(figures_);
  }

 private:
  // A background stream's state, read by the coroutine that injects the prompt.
  struct Background {
    bool warm = false;
    bool ended = false;
  };

  static net::ClientOptions client_options(const LoadOptions& options) {
    net::ClientOptions out;
    out.idle_connections_max = options.fresh ? 0 : options.concurrency + options.background_streams;
    return out;
  }

  milliseconds time_left() const {
    const auto left = std::chrono::duration_cast<milliseconds>(deadline_ - clock_.now());
    return std::min<milliseconds>(left, seconds(options_.stall_s));
  }

  // Sends requests one after another until all are taken.
  Task<void> run_client() {
    while (next_request_ < options_.requests) {
      const std::uint32_t index = next_request_++;
      const std::string body =
          request_body(options_, prompt_of(options_, index), options_.max_tokens);
      StreamReader reader(clock_.now());
      const Outcome outcome = co_await follow(body, reader);
      if (!outcome.error.empty()) {
        ++figures_.errors[outcome.error];
        // A server that is gone must not be asked a million times.
        if (time_left() <= milliseconds::zero()) co_return;
        continue;
      }
      keep(reader);
    }
  }

  void keep(StreamReader& reader) {
    ++figures_.requests_ok;
    figures_.tokens_out += reader.tokens_out();
    figures_.prompt_tokens += reader.prompt_tokens();
    if (const auto ttft = reader.ttft_ms()) figures_.ttft_ms.add(*ttft);
    if (const double speed = reader.tokens_per_s(); speed > 0) {
      figures_.stream_tokens_per_s.add(speed);
    }
    figures_.gap_ms.add(reader.take_gaps());
  }

  net::HttpRequest with_key(net::HttpRequest request) const {
    if (!options_.key.empty()) request.headers.add("Authorization", "Bearer " + options_.key);
    return request;
  }

  Task<Result<std::unique_ptr<net::ResponseStream>>> open(std::string body) {
    auto request = with_key({});
    request.method = "POST";
    request.headers.add("Content-Type", "application/json");
    if (options_.fresh) request.headers.add("Connection", "close");
    request.body = std::move(body);
    net::Url url = url_;
    url.target = target_of(options_.route);
    if (time_left() <= milliseconds::zero()) co_return fail(Code::timeout, "the run's limit");
    if (options_.route == Route::tasks) {
      auto submitting = client_.fetch(url, std::move(request), time_left());
      const auto accepted = co_await std::move(submitting);
      if (!accepted) co_return fail(accepted.error());
      url.target += "/" + job_id_in(accepted->body) + "/events";
      request = with_key({});
    }
    auto opening = client_.open(std::move(url), std::move(request), time_left());
    auto stream = co_await std::move(opening);
    co_return stream;
  }

  // Reads one answer to its end.
  Task<Outcome> follow(std::string body, StreamReader& reader) {
    auto opening = open(std::move(body));
    auto stream = co_await std::move(opening);
    if (!stream) co_return Outcome{kind_of(stream.error())};
    if ((*stream)->status() != 200) {
      co_return Outcome{fmt::format("http_{}", (*stream)->status())};
    }
    for (;;) {
      const milliseconds left = time_left();
      if (left <= milliseconds::zero()) co_return Outcome{"timeout"};
      auto reading = (*stream)->read(left);
      const auto bytes = co_await std::move(reading);
      if (!bytes) co_return Outcome{kind_of(bytes.error())};
      if (bytes->empty()) break;
      if (const auto ok = reader.feed(*bytes, clock_.now()); !ok) {
        co_return Outcome{kind_of(ok.error())};
      }
    }
    co_return Outcome{reader.done() ? "" : "cut_off"};
  }

  // Streams until the injected prompt has been answered.
  Task<void> run_background(std::uint32_t index, Background& state) {
    LoadOptions options = options_;
    options.ignore_eos = true;
    auto opening = open(request_body(options, prompt_of(options, index), background_tokens));
    auto stream = co_await std::move(opening);
    StreamReader reader(clock_.now());
    std::string error = stream ? "" : kind_of(stream.error());
    if (stream && (*stream)->status() != 200) error = fmt::format("http_{}", (*stream)->status());
    while (error.empty() && !injection_over_) {
      const milliseconds left = time_left();
      if (left <= milliseconds::zero()) {
        error = "timeout";
        break;
      }
      auto reading = (*stream)->read(left);
      const auto bytes = co_await std::move(reading);
      const auto ok = bytes ? reader.feed(*bytes, clock_.now()) : Result<void>{};
      if (!bytes || !ok) {
        error = kind_of(bytes ? ok.error() : bytes.error());
      } else if (bytes->empty()) {
        error = "ended_early";
      }
      state.warm = reader.frames() >= warm_frames;
      const Samples gaps = reader.take_gaps();
      (injection_started_ ? figures_.loaded_gap_ms : figures_.quiet_gap_ms).add(gaps);
    }
    if (!error.empty()) ++figures_.errors["background_" + error];
    figures_.tokens_out += reader.frames();
    state.ended = true;
  }

  Task<void> pause(milliseconds time) {
    asio::steady_timer timer(io_, time);
    co_await timer.async_wait(asio::deferred);
  }

  Task<void> run_injected() {
    std::vector<Background> states(options_.background_streams);
    for (std::uint32_t i = 0; i < states.size(); ++i) tasks_.spawn(run_background(i, states[i]));
    const auto waiting = [&] {
      return std::ranges::any_of(states, [](const auto& s) { return !s.warm && !s.ended; });
    };
    while (waiting() && clock_.now() < deadline_) co_await pause(watch_interval);
    co_await pause(seconds(1));  // of quiet decoding, to compare with

    injection_started_ = true;
    LoadOptions options = options_;
    options.ignore_eos = true;
    const std::uint64_t seed = options_.seed * 10'000'000'000 + 1;
    const std::string prompt = words_of(seed, options_.inject_prompt_tokens);
    StreamReader reader(clock_.now());
    const Outcome outcome = co_await follow(request_body(options, prompt, injected_tokens), reader);
    injection_over_ = true;
    if (!outcome.error.empty()) ++figures_.errors["injected_" + outcome.error];
    figures_.injected = outcome.error.empty();
    figures_.injected_ttft_ms = reader.ttft_ms().value_or(0);
    figures_.injected_prompt_tokens = reader.prompt_tokens();
    if (figures_.injected) keep(reader);
    co_await tasks_.join();
  }

  asio::io_context& io_;
  net::Url url_;
  LoadOptions options_;
  SystemClock clock_;
  net::HttpClient client_;
  SteadyTime deadline_;
  Figures figures_;
  std::uint32_t next_request_ = 0;
  bool injection_started_ = false;
  bool injection_over_ = false;
  net::TaskGroup tasks_;  // last: its tasks use all of the above
};

}  // namespace

Task<Result<Figures>> run_load(asio::io_context& io, LoadOptions options) {
  auto url = net::parse_url(options.url);
  if (!url) co_return fail(url.error());
  LoadRun run(io, std::move(*url), std::move(options));
  auto running = run.run();
  Figures figures = co_await std::move(running);
  co_return figures;
}

}  // namespace llorch::bench
