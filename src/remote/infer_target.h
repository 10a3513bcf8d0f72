// Where a job goes and how one speaks there: a worker itself, or orchestratord.
// Pure values. Threads: any.
#pragma once

#include <string>

#include "base/result.h"
#include "net/client.h"
#include "remote/infer_options.h"

namespace llorch {

struct InferTarget {
  enum class Kind { worker, orchestrator };
  Kind kind = Kind::worker;
  net::Url base;      // target is "/"
  std::string token;  // sent as Bearer; empty: none

  net::Url at(std::string path) const;
  // A request with the token and, where there is a body, its content type.
  net::HttpRequest request(std::string method, std::string body = {}) const;
  // "worker 127.0.0.1:8001" or "orchestratord http://127.0.0.1:8080", for messages.
  std::string name() const;
};

// Errors: invalid_request (no HOST:PORT, no URL, a token that no header can carry).
Result<InferTarget> infer_target(const InferOptions& options);

// The error as a user of `llorch infer` should read it: where it came from, and what to do next.
Error explain(Error error, const InferTarget& target);
// The same prompt on a worker: for someone who asked orchestratord where a worker answers.
std::string infer_on_worker(const std::string& authority);

}  // namespace llorch
