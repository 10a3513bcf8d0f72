#include "base/log.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <deque>
#include <fmt/format.h>
#include <future>
#include <iterator>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "base/clock.h"
#include "base/limits.h"

namespace llorch {
namespace {

constexpr std::string_view level_names[] = {"debug", "info", "warn", "error"};

// A line waits so long for others: a busy daemon writes a hundred at once, and its log thread is
// woken a few hundred times a second and not for each of them.
constexpr std::chrono::milliseconds gather{2};

void write_out(const std::string& bytes) {
  // What a full or closed stderr does not take is lost; there is nowhere to say so.
  static_cast<void>(std::fwrite(bytes.data(), 1, bytes.size(), stderr));
}

// Writes lines on a thread of its own. A full queue drops the oldest line: a slow terminal must not
// stop the engine.
class LineWriter {
 public:
  LineWriter() : thread_([this] { run(); }) {}
  ~LineWriter() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_one();
    thread_.join();
  }
  LineWriter(const LineWriter&) = delete;
  LineWriter& operator=(const LineWriter&) = delete;

  void push(std::string line) {
    bool first = false;
    {
      const std::lock_guard lock(mutex_);
      if (lines_.size() >= limits::log_lines_queued_max) lines_.pop_front();
      lines_.push_back(std::move(line));
      first = lines_.size() == 1;
    }
    if (first) changed_.notify_one();
  }

 private:
  void run() {
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [this] { return stopping_ || !lines_.empty(); });
      changed_.wait_for(lock, gather, [this] { return stopping_; });
      const auto lines = std::exchange(lines_, {});
      if (lines.empty()) return;
      lock.unlock();
      std::string bytes;
      for (const auto& line : lines) bytes += line;
      write_out(bytes);
      lock.lock();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::string> lines_;
  bool stopping_ = false;
  std::thread thread_;  // last: it uses the others
};

std::atomic<LogLevel> lowest_level{LogLevel::info};

struct OpenWriter {
  std::mutex mutex;
  std::shared_ptr<LineWriter> writer;  // shared: log_close() takes none away that is in use
};
OpenWriter& open_writer() {
  static OpenWriter open;
  return open;
}
std::shared_ptr<LineWriter> writer() {
  auto& open = open_writer();
  const std::lock_guard lock(open.mutex);
  return open.writer;
}

void append_quoted(std::string& out, std::string_view text) {
  const auto is_special = [](char c) {
    return c == '"' || c == '\\' || static_cast<unsigned char>(c) < 0x20;
  };
  out += '"';
  while (!text.empty()) {
    const auto plain = std::ranges::find_if(text, is_special) - text.begin();
    out += text.substr(0, static_cast<std::size_t>(plain));
    text.remove_prefix(static_cast<std::size_t>(plain));
    if (text.empty()) break;
    const auto byte = static_cast<unsigned char>(text.front());
    if (byte < 0x20) {
      fmt::format_to(std::back_inserter(out), "\\u{:04x}", byte);
    } else {
      out += '\\';
      out += text.front();
    }
    text.remove_prefix(1);
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
  lowest_level = lowest;
  auto opened = std::make_shared<LineWriter>();
  auto& open = open_writer();
  const std::lock_guard lock(open.mutex);
  open.writer = std::move(opened);
}

void log_close() {
  std::shared_ptr<LineWriter> closing;
  auto& open = open_writer();
  {
    const std::lock_guard lock(open.mutex);
    closing = std::exchange(open.writer, nullptr);
  }
  lowest_level = LogLevel::info;
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
  if (level < lowest_level.load(std::memory_order_relaxed)) return;
  std::string line = fmt::format(R"({{"timestamp":"{}","level":"{}","component":"{}","event":"{}")",
                                 rfc3339(std::chrono::system_clock::now()),
                                 level_names[static_cast<int>(level)], component, event);
  constexpr std::size_t usual_bytes = 384;
  line.reserve(usual_bytes);
  for (const auto& field : fields) {
    line += ',';
    append_quoted(line, field.key);
    line += ':';
    append_value(line, field);
  }
  line += "}\n";
  if (const auto opened = writer()) return opened->push(std::move(line));
  write_out(line);
}

}  // namespace llorch
