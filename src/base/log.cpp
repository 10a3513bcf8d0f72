#include "base/log.h"

#include <chrono>
#include <fmt/format.h>
#include <future>
#include <iterator>
#include <memory>
#include <spdlog/async.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <string>
#include <thread>
#include <utility>

#include "base/clock.h"
#include "base/limits.h"

namespace llorch {
namespace {

constexpr std::string_view level_names[] = {"debug", "info", "warn", "error"};

spdlog::level::level_enum spdlog_level(LogLevel level) {
  constexpr spdlog::level::level_enum levels[] = {spdlog::level::debug, spdlog::level::info,
                                                  spdlog::level::warn, spdlog::level::err};
  return levels[static_cast<int>(level)];
}

// Shared, so that log_close() on another thread takes no logger away that is in use.
std::shared_ptr<spdlog::logger> logger() {
  static const auto direct = [] {
    auto made = std::make_shared<spdlog::logger>("llorch",
                                                 std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made->set_pattern("%v");
    return made;
  }();
  auto opened = spdlog::get("llorch-async");
  return opened ? opened : direct;
}

void append_quoted(std::string& out, std::string_view text) {
  out += '"';
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20) {
      fmt::format_to(std::back_inserter(out), "\\u{:04x}", byte);
    } else {
      out += c;
    }
  }
  out += '"';
}

void append_value(std::string& out, const LogField& field) {
  if (const auto* text = std::get_if<std::string_view>(&field.value)) {
    append_quoted(out, *text);
  } else if (const auto* whole = std::get_if<std::int64_t>(&field.value)) {
    fmt::format_to(std::back_inserter(out), "{}", *whole);
  } else if (const auto* real = std::get_if<double>(&field.value)) {
    fmt::format_to(std::back_inserter(out), "{:.3f}", *real);
  } else {
    out += std::get<bool>(field.value) ? "true" : "false";
  }
}

}  // namespace

void log_open(LogLevel lowest) {
  // A full queue drops the oldest line: a slow terminal must not stop the engine.
  spdlog::init_thread_pool(limits::log_lines_queued_max, 1);
  auto made = std::make_shared<spdlog::async_logger>(
      "llorch-async", std::make_shared<spdlog::sinks::stderr_sink_mt>(), spdlog::thread_pool(),
      spdlog::async_overflow_policy::overrun_oldest);
  made->set_pattern("%v");
  made->set_level(spdlog_level(lowest));
  made->flush_on(spdlog::level::info);
  spdlog::register_logger(made);
}

void log_close() {
  spdlog::shutdown();
}

bool log_close_in_time() {
  std::promise<void> closing;
  const auto closed = closing.get_future();
  // Left to itself: a write to a pipe that nobody reads cannot be stopped.
  std::thread([closing = std::move(closing)]() mutable {
    log_close();
    closing.set_value();
  }).detach();
  return closed.wait_for(std::chrono::milliseconds(limits::log_close_ms)) ==
         std::future_status::ready;
}

void log_event(LogLevel level, std::string_view component, std::string_view event,
               std::initializer_list<LogField> fields) {
  const auto sink = logger();
  if (!sink->should_log(spdlog_level(level))) return;
  std::string line = fmt::format(R"({{"timestamp":"{}","level":"{}","component":"{}","event":"{}")",
                                 rfc3339(std::chrono::system_clock::now()),
                                 level_names[static_cast<int>(level)], component, event);
  for (const auto& field : fields) {
    line += ',';
    append_quoted(line, field.key);
    line += ':';
    append_value(line, field);
  }
  line += '}';
  sink->log(spdlog_level(level), spdlog::string_view_t(line));
}

}  // namespace llorch
