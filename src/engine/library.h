// llama.cpp as a whole: started once in a process, its log lines ours.
// Threads: start_library() any; LibraryLog on one thread at a time, for llama.cpp has one log.
#pragma once

#include <functional>
#include <ggml.h>
#include <string_view>

namespace llorch {

void start_library();

// While it lives every line of llama.cpp's log goes to `line` too, without its line end.
// Source: llama.h llama_log_set.
class LibraryLog {
 public:
  using Line = std::function<void(ggml_log_level level, std::string_view text)>;
  explicit LibraryLog(Line line);
  ~LibraryLog();
  LibraryLog(const LibraryLog&) = delete;
  LibraryLog& operator=(const LibraryLog&) = delete;

 private:
  static void take(ggml_log_level level, const char* text, void* self);
  Line line_;
};

}  // namespace llorch
