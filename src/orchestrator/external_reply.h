// Between a client of ours and someone else's OpenAI-compatible server: the client's body under the
// server's name for the model, the server's frames and replies under our names, and what its
// refusals mean. Everything else passes as it is, fields that we do not know too. Pure. Threads:
// any.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "orchestrator/core/job.h"
#include "orchestrator/external_server.h"

namespace llorch {

// `without_seed`: the seed in it is ours, for workers that must draw the same; the client gave
// none. Errors: invalid_request (no JSON object).
Result<std::string> external_body(std::string_view body, std::string_view their_model,
                                  bool without_seed);

// What a reply says of itself in our name.
struct ReplyIdentity {
  std::string id;  // empty: it has none (embeddings)
  std::int64_t created = 0;
  std::string model;
};

// A frame of a stream, or a whole reply.
struct ExternalReply {
  std::string json;       // under our names
  bool output = false;    // there is something of the answer in it
  bool finished = false;  // it names the reason for the end
  std::optional<std::int64_t> prompt_tokens, completion_tokens;  // its usage, where it is told
};
// Errors: backend_error (no JSON object, or the server's error in it).
Result<ExternalReply> read_external_reply(std::string_view json, const ReplyIdentity& ours,
                                          std::size_t bytes_max);

struct ExternalRefusal {
  Failure failure = Failure::backend;
  Error error;
};
// What a status that is not 200 means. `retry_after_ms`: of its headers.
ExternalRefusal external_refusal(const ExternalServer& server, unsigned status,
                                 std::string_view body, std::optional<std::int64_t> retry_after_ms);
// Retry-After and retry-after-ms. Absent or a date: nullopt.
std::optional<std::int64_t> retry_after_of(const net::Headers& headers);

}  // namespace llorch
