#include "engine/library.h"

#include <cstdlib>
#include <llama.h>
#include <utility>

#include "base/log.h"
#include "engine/memory_commit.h"

namespace llorch {
namespace {

std::string_view without_line_end(const char* text) {
  std::string_view line(text);
  while (line.ends_with('\n')) line.remove_suffix(1);
  return line;
}

void log_line(ggml_log_level level, const char* text, void*) {
  if (level != GGML_LOG_LEVEL_ERROR && level != GGML_LOG_LEVEL_WARN) return;
  const bool error = level == GGML_LOG_LEVEL_ERROR;
  log_event(error ? LogLevel::warn : LogLevel::debug, "llama.cpp", "message",
            {{"text", without_line_end(text)}});
}

}  // namespace

void start_library() {
  static const bool started = [] {
    // A crash must not fork a debugger under a service. Source: ggml.c, GGML_NO_BACKTRACE.
    setenv("GGML_NO_BACKTRACE", "1", 0);
    llama_log_set(log_line, nullptr);
    llama_backend_init();
    leave_memory_untouched();
    return true;
  }();
  static_cast<void>(started);
}

LibraryLog::LibraryLog(Line line) : line_(std::move(line)) {
  start_library();
  llama_log_set(take, this);
}

LibraryLog::~LibraryLog() {
  llama_log_set(log_line, nullptr);
}

void LibraryLog::take(ggml_log_level level, const char* text, void* self) {
  log_line(level, text, nullptr);
  static_cast<LibraryLog*>(self)->line_(level, without_line_end(text));
}

}  // namespace llorch
