// What `llorch infer` and `llorch jobs submit` were asked for: flags, environment and settings,
// checked once. Pure values. Threads: any.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/limits.h"

namespace llorch {

struct InferOptions {
  std::string worker;  // HOST:PORT or a URL; empty: through orchestratord
  std::string orchestrator_url = "http://127.0.0.1:8080";
  std::string model;   // orchestratord only; empty: the one it has
  std::string prompt;  // the text itself, 1 byte..1 MiB, stdin already read
  std::string system;  // empty: no system message
  std::uint64_t max_tokens = limits::max_tokens_default;
  std::optional<double> temperature;  // 0..2
  std::optional<std::uint64_t> seed;
  std::vector<std::string> stop;
  bool raw = false;   // the prompt goes past the chat template
  bool json = false;  // one object at the end in place of the text
  // Of a task, through orchestratord only.
  bool batch = false;
  std::string tenant;                        // empty: none
  std::optional<std::uint64_t> deadline_ms;  // from acceptance
  std::string idempotency_key;               // empty: one is made
  std::string worker_token;                  // LLORCH_WORKER_TOKEN, or worker.token of llorch.toml
  std::string api_token;                     // LLORCH_API_TOKEN, or api_token of llorch.toml
};

}  // namespace llorch
