// orchestratord's routes for the commands of `llorch`: one request, one JSON object; or the events
// of a job over as many connections as it takes.
// Threads: the io_context's one thread. Lifetime: outlives its requests.
#pragma once

#include <boost/json/object.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/limits.h"
#include "base/result.h"
#include "net/client.h"
#include "protocol/sse.h"
#include "remote/infer_target.h"

namespace llorch {

class FleetClient {
 public:
  FleetClient(asio::io_context& io, InferTarget target,
              std::chrono::milliseconds reply_wait = std::chrono::milliseconds{
                  limits::fleet_reply_ms});

  const InferTarget& target() const { return target_; }
  // Errors of all four: what orchestratord refused, unreachable, timeout, internal (a reply that
  // is no JSON object).
  Task<Result<boost::json::object>> get(std::string path);
  Task<Result<boost::json::object>> post(std::string path, std::string body = {});
  Task<Result<boost::json::object>> remove(std::string path);
  Task<Result<boost::json::object>> submit(std::string task, std::string idempotency_key);

  // Gives `take` every event of a task once, in order, up to and including its end or error; false
  // from `take` ends it early. `after`: only events past that number.
  // Errors: as above; of a stream that has begun, once no attempt to resume brought a new event.
  Task<Result<void>> follow(std::string job_id, std::optional<std::uint64_t> after,
                            std::function<bool(const SseEvent&)> take);

 private:
  struct Reading;
  Task<Result<boost::json::object>> ask(std::string path, net::HttpRequest request);
  Task<Result<void>> read_events(std::string path, Reading& reading);

  InferTarget target_;
  net::HttpClient http_;
  std::chrono::milliseconds reply_wait_;
};

// "/v2/tasks/" + an id as it may stand in a path. Source: RFC 3986 §2.3.
std::string path_of(std::string_view folder, std::string_view id);
// A value for a query: "status=" + it.
std::string query_of(std::string_view name, std::string_view value);

}  // namespace llorch
