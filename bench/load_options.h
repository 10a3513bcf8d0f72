// What one run of llorch-load does: the flags of its command line. Threads: plain values.
#pragma once

#include <cstdint>
#include <string>
#include <variant>

#include "base/result.h"

namespace llorch::bench {

enum class Route { chat, completions, tasks };  // tasks: of orchestratord, submitted and then read

struct LoadOptions {
  std::string url = "http://127.0.0.1:8080";
  std::string model = "default";
  std::string key = {};  // sent as a bearer token; empty: none
  Route route = Route::chat;
  std::uint32_t concurrency = 1;
  std::uint32_t requests = 1;
  std::uint32_t max_tokens = 64;
  std::uint32_t prompt_words = 20;        // of each request's own
  std::uint32_t prompt_repeats = 1;       // how often they are said, one after the other
  std::uint32_t shared_prefix_words = 0;  // before them, the same for all who share a prefix
  std::uint32_t prefixes = 1;             // different shared prefixes, taken in turn
  std::uint64_t seed = 1;                 // of the prompts, and of the sampling
  bool fresh = false;                     // a connection per request
  bool ignore_eos = false;
  bool json = false;
  // With inject_prompt_tokens: this many streams decode, then one prompt of about that many
  // tokens arrives; `concurrency`, `requests` and the prefix fields are not used.
  std::uint32_t background_streams = 0;
  std::uint32_t inject_prompt_tokens = 0;
  std::uint32_t limit_s = 600;  // of the whole run
  std::uint32_t stall_s = 120;  // without a byte: the request has failed
};

// The options, or the exit code to end with (help, version, usage error), already printed.
std::variant<LoadOptions, int> parse_load_options(int argc, const char* const* argv);

}  // namespace llorch::bench
