// One job in the daemon: what is sent to workers for it, and what its readers get.
// Threads: the io thread. Lifetime: shared by its attempt, its readers and the table of jobs.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "net/event.h"
#include "orchestrator/core/job.h"
#include "protocol/execute_request.h"
#include "protocol/job_stream.h"

namespace llorch {

enum class JobKind { task, chat, completions, embeddings };

// A frame that is kept, with its own id line: "id: 3\nevent: token\ndata: …\n\n".
struct KeptFrame {
  std::int64_t seq = 0;
  std::string bytes;
};

struct JobRecord {
  explicit JobRecord(const Executor& executor) : bell(executor), room(executor) {}

  JobId id;
  JobKind kind = JobKind::task;
  std::string correlation_id;
  std::string model;
  std::string tenant;
  std::string key_id;               // whose quota it counts for; empty: nobody's
  std::int64_t tokens_charged = 0;  // before it is known what it uses
  Priority priority = Priority::interactive;
  std::string body;  // of the client; emptied at the end
  // Of a task that has not ended, what /execute is given; else null.
  std::unique_ptr<JobRequest> request;
  std::int64_t created = 0;  // seconds since the epoch, of an OpenAI reply
  bool stream = true;
  bool seed_is_ours = false;  // added to `body`, so that every worker draws the same
  std::int64_t max_tokens = 0;
  std::int64_t queue_position = 0;  // when it was accepted; 0: it began at once
  WallTime accepted_wall;
  SteadyTime accepted_at;
  SteadyTime token_at;           // the newest
  double client_stalled_ms = 0;  // while its one reader took nothing
  std::optional<WallTime> dispatched_wall, first_token_wall, ended_wall;

  // Where it is. Copies of what the decision machine has said.
  JobStatus status = JobStatus::queued;
  std::uint32_t attempt = 0;
  std::string worker_id;
  std::int64_t prompt_tokens = 0, cached_tokens = 0;
  bool admitted = false;  // it was not refused at once: its row stays
  // Whose frames a reader has had, or can have. Of an external server they are -1.
  std::vector<Token> tokens;
  std::int64_t tokens_stored = 0;  // of one that is read back without its frames
  std::optional<JobEnd> end;

  // What came of it. A task keeps its frames for readers that come back; an OpenAI stream has one
  // reader, and hands over bytes.
  std::vector<KeptFrame> frames;
  std::string metrics;  // the newest frame of them; live only
  std::uint64_t metrics_count = 0;
  std::int64_t shown_seq =
      -1;               // of the last of them that has been written down: readers may have it
  std::string pending;  // bytes that the one reader has not taken
  // Gives `pending` to the one reader at once. False: it does not take it, so ring the bell.
  std::function<bool()> hand_over;
  std::string whole;     // the reply of a request that does not stream
  bool started = false;  // its started frame has been kept
  bool opened = false;   // the frame before the first token of an OpenAI stream has been passed on
  bool reader_left = false;  // of an OpenAI reply: nothing is wanted any more
  bool finished = false;     // the finish frame has been passed on
  bool closed = false;       // no more bytes will come
  int readers = 0;
  std::optional<SteadyTime> alone_since;  // no reader any more
  net::Event bell;                        // something above has changed
  net::Event room;                        // the reader has taken `pending`

  // The attempt that runs; asks it to stop.
  std::function<void()> abort;

  // Of one that failed; else null.
  const Error* error() const { return end && end->error ? &*end->error : nullptr; }
  std::int64_t tokens_out() const {
    return std::max(static_cast<std::int64_t>(tokens.size()), tokens_stored);
  }
  void show_frames() { shown_seq = frames.empty() ? -1 : frames.back().seq; }
  bool all_shown() const { return frames.empty() || frames.back().seq <= shown_seq; }
  // Of what stays in memory after its end. The bytes for a reader of /v1 go with its connection.
  std::size_t bytes_kept() const {
    std::size_t bytes = sizeof *this + tokens.capacity() * sizeof(Token) + metrics.size();
    for (const auto& frame : frames) bytes += sizeof frame + frame.bytes.capacity();
    return bytes;
  }
  bool openai() const { return kind == JobKind::chat || kind == JobKind::completions; }
  std::int64_t next_seq() const {
    return first_token_seq + static_cast<std::int64_t>(tokens.size());
  }
};

}  // namespace llorch
