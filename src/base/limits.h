// Every bound of the programs in one place, each with its reason. Sizes in bytes, times in ms.
#pragma once

#include <cstddef>
#include <cstdint>

namespace llorch::limits {

inline constexpr std::size_t kib = 1024;
inline constexpr std::size_t mib = 1024 * kib;

// Requests
inline constexpr std::size_t body_bytes_max = 8 * mib;    // a 1 MiB prompt, escaped, with room
inline constexpr std::size_t prompt_bytes_max = 1 * mib;  // far past any context we can hold
inline constexpr std::size_t head_bytes_max = 16 * kib;   // what nginx and Node allow, or more
inline constexpr std::size_t json_depth_max = 64;         // deeper schemas are attacks, not data
inline constexpr std::size_t job_id_bytes_max = 256;
inline constexpr std::size_t cache_scope_bytes_max = 256;  // a tenant's name
inline constexpr std::size_t stop_strings_max = 16;
inline constexpr std::size_t stop_bytes_max = 256;
inline constexpr std::size_t messages_max = 4096;  // longer talks do not fit a context
inline constexpr std::size_t tools_max = 128;      // OpenAI's own bound
inline constexpr std::size_t embedding_inputs_max = 2048;
inline constexpr std::size_t top_logprobs_max = 20;         // OpenAI's own bound
inline constexpr std::size_t grammar_bytes_max = 64 * kib;  // a larger one takes seconds to compile
inline constexpr std::size_t schema_bytes_max = 64 * kib;
inline constexpr std::uint64_t max_tokens_default = 512;
inline constexpr std::size_t violations_max = 64;             // more help nobody
inline constexpr std::size_t sse_event_bytes_max = 16 * mib;  // a whole reply as one frame, escaped

// Connections
inline constexpr std::size_t connections_max = 16'000;      // below a common limit of 20 000 files
inline constexpr std::int64_t keep_alive_ms = 80'000;       // clients' pools keep 60..75 s
inline constexpr std::int64_t keep_alive_spare_ms = 5'000;  // announced that much shorter
inline constexpr std::int64_t head_read_ms = 10'000;        // slowloris
inline constexpr std::int64_t body_read_ms = 60'000;        // 8 MiB at 140 KiB/s
inline constexpr std::int64_t write_stall_ms = 60'000;      // a reader that takes nothing is gone
inline constexpr std::int64_t linger_ms = 2'000;            // so that a refused peer can read why
inline constexpr std::int64_t accept_pause_ms = 100;        // out of files: some close meanwhile
inline constexpr std::size_t header_fields_max = 128;       // browsers send 20
inline constexpr std::size_t unsent_bytes_max = 64 * kib;   // in the kernel, per slow reader
inline constexpr std::size_t pipelined_bytes_max = 16 * kib;  // kept of a next request
inline constexpr std::int64_t first_event_wait_ms = 5'000;    // then headers go out anyway
inline constexpr std::int64_t sse_comment_ms = 10'000;        // proxies drop silent streams

// More than there is room for
inline constexpr std::size_t turned_away_max = 256;     // over connections_max: they are told so
inline constexpr std::int64_t turned_away_ms = 1'000;   // for the head that says why they came
inline constexpr std::int64_t full_retry_ms = 1'000;    // a place, a body or a thread comes free
inline constexpr std::size_t files_reserved = 512;      // the turned away, a model, logs, peers
inline constexpr std::size_t received_max = 256 * mib;  // of bodies on their way: 32 of the largest
inline constexpr std::size_t decode_waiting_max = 32;   // large bodies at the decoder: 256 MiB

// A host that vanished says nothing, so the kernel asks: after so long in silence, and again.
inline constexpr int probe_after_s = 10;
inline constexpr int probe_interval_s = 5;
inline constexpr int probes_max = 3;
// Without an answer to bytes or probes. No sooner than a slow reader is cut: Linux counts the time
// in which a living peer has no room for more, too.
inline constexpr std::int64_t unanswered_ms = write_stall_ms;

// As a client
inline constexpr std::int64_t connect_ms = 10'000;      // name, TCP and TLS across the world
inline constexpr std::int64_t client_idle_ms = 55'000;  // below what common servers keep, 60 s
inline constexpr std::size_t client_idle_connections_max = 256;
inline constexpr std::size_t response_bytes_max = 256 * mib;  // 2048 embeddings as JSON text
inline constexpr int lookups_max = 16;  // each holds a thread, which cannot be stopped

// Worker
inline constexpr std::size_t slots_max = 256;           // LLAMA_MAX_SEQ
inline constexpr std::size_t kv_snapshots_max = 1'024;  // each is looked at when one must go
inline constexpr std::int64_t kv_ram_mib = 2'048;  // snapshots: 22 prompts of 4k of a 135M model
inline constexpr std::int64_t kv_ram_share = 4;    // but no more than this part of the free memory
inline constexpr double calibration_ms = 500;      // of the first start with a model
inline constexpr double calibration_thorough_ms = 30'000;
// Guessed and checked in one step: more at once is rarely right to the end.
inline constexpr std::int32_t draft_tokens_max = 15;
inline constexpr std::size_t outbox_events_max = 256;  // then the slot is parked
inline constexpr std::int64_t frames_hold_ms_max = 8;  // half of what a screen takes for a picture
inline constexpr std::size_t penalty_window_tokens = 64;
inline constexpr std::int64_t metrics_event_ms = 250;      // at most 4 a second
inline constexpr std::int64_t metrics_silence_ms = 1'000;  // at least one a second
inline constexpr std::int64_t prefill_event_ms = 1'000;
inline constexpr std::int64_t template_ms_max = 250;          // a template that loops is refused
inline constexpr std::size_t template_bytes_max = 256 * mib;  // all it may allocate, freed or not
inline constexpr std::size_t template_source_bytes_max = 128 * kib;  // published ones stay below 32
inline constexpr std::size_t prepare_stack_bytes =
    512 * mib;  // address space: deep templates recurse
inline constexpr std::int64_t cancelled_memory_ms = 300'000;  // a cancel is idempotent this long
inline constexpr std::size_t cancelled_ids_max = 16'384;      // at most 4 MiB of ids
inline constexpr std::size_t side_requests_max = 64;          // each may hold an 8 MiB body
inline constexpr std::size_t decode_inline_bytes_max = 64 * kib;  // more would hold up streams
inline constexpr std::int64_t queue_jobs_max = 65'536;    // of --queue; past the connections
inline constexpr std::int64_t drain_ms_max = 86'400'000;  // a day
inline constexpr std::int64_t cancel_wait_ms = 10'000;    // one slow decode step, and to spare
inline constexpr std::int64_t close_wait_ms = 1'000;      // idle peers; the jobs have ended by then
inline constexpr std::int64_t heartbeat_ms = 1'000;
inline constexpr std::int64_t heartbeat_wait_ms = 5'000;         // then that beat is lost
inline constexpr std::int64_t register_backoff_ms_max = 10'000;  // back soon after a restart
inline constexpr std::int64_t deregister_wait_ms = 2'000;  // a stop must not hang on a dead peer
inline constexpr std::size_t orchestrator_reply_bytes_max = 64 * kib;
inline constexpr std::size_t heartbeat_cache_entries_max = 1'024;

// Prompts computed before, on disk
inline constexpr std::int64_t kv_disk_mib = 2'048;            // as much as in memory
inline constexpr std::size_t kv_files_max = 4'096;            // all are looked at for a new one
inline constexpr std::size_t kv_file_tokens_max = 2'097'152;  // longer contexts are not served
inline constexpr std::size_t kv_fingerprint_bytes_max = 16 * kib;  // of a model in 128 parts: 8 000
inline constexpr std::int64_t kv_disk_tokens_least = 128;  // fewer new ones: computed in a second
inline constexpr std::int64_t kv_disk_new_share = 16;  // nor a longer one for less than this part
inline constexpr std::size_t kv_writes_waiting_max = 4;
inline constexpr std::size_t kv_writes_bytes_max = 1'024 * mib;  // memory of states to be written
inline constexpr std::int64_t kv_write_share = 10;  // writing takes at most this part of the time
inline constexpr std::size_t kv_reads_max = 4;      // states read at once that no slot has yet
inline constexpr std::int64_t kv_read_ms_max = 5'000;      // a disk that is slower than computing
inline constexpr std::int64_t kv_idle_ms = 250;            // left alone so long: a slot is written
inline constexpr std::int64_t kv_flush_ms = 5'000;         // to write what is left at a stop
inline constexpr std::int64_t kv_unused_s = 86'400;        // then a file goes: prompts at rest
inline constexpr std::int64_t kv_scan_ms = 600'000;        // between looks for files that go
inline constexpr std::int64_t kv_touch_ms = 60'000;        // a file's time of use is that coarse
inline constexpr std::uint64_t kv_free_least = 256 * mib;  // left to others on the same disk

// Settings and the pool
inline constexpr std::size_t settings_bytes_max = 1 * mib;      // written by hand
inline constexpr std::size_t catalog_bytes_max = 4 * mib;       // some 5 000 models
inline constexpr std::size_t worker_file_bytes_max = 64 * kib;  // one small JSON object
inline constexpr std::int64_t lock_wait_ms = 10'000;            // holders write one small file
inline constexpr std::int64_t connect_ms_max = 3'000;           // then the next source is tried
inline constexpr std::int64_t download_stall_ms = 30'000;       // no byte at all: try again
inline constexpr int download_attempts_max = 6;                 // without progress, per source
inline constexpr int early_attempts_max = 3;                    // of one that gave no byte yet
inline constexpr std::int64_t retry_after_ms_max = 120'000;     // a hub that says longer is off
inline constexpr std::size_t hub_reply_bytes_max = 16 * mib;    // file lists of large repositories
inline constexpr int split_parts_max = 128;                     // 128 parts of 50 GB
inline constexpr std::int64_t wheel_ms_max = 1'800'000;         // 93 MB at 52 KB/s
inline constexpr std::int64_t child_stop_ms = 2'000;     // SIGTERM to SIGKILL of a child we run
inline constexpr std::int64_t gpu_query_ms_max = 5'000;  // nvidia-smi hangs on a sick driver
inline constexpr std::int64_t worker_ready_ms_max = 600'000;  // 40 GB from a slow disk
inline constexpr std::int64_t worker_answer_ms_max = 2'000;   // /health answers in 5 ms
inline constexpr std::int64_t worker_kill_wait_ms = 5'000;    // SIGKILL to gone
inline constexpr std::size_t log_tail_lines = 20;             // of a worker that failed

// Other programs that are run
inline constexpr std::int64_t run_kill_wait_ms = 1'000;  // SIGKILL to gone; else stuck in a driver

// llorch infer
inline constexpr std::int64_t stream_head_ms = 30'000;        // six times first_event_wait_ms
inline constexpr std::int64_t stream_silence_ms = 35'000;     // three comments have been missed
inline constexpr std::int64_t infer_cancel_ms = 2'000;        // whoever pressed Ctrl-C is waiting
inline constexpr std::int64_t resume_backoff_ms = 200;        // doubles with each attempt
inline constexpr int resume_attempts_max = 6;                 // without a new event: 12 s in all
inline constexpr std::size_t error_bytes_max = 64 * kib;      // of a refusal's body
inline constexpr std::int64_t daemon_answer_ms = 1'000;       // /health takes 5
inline constexpr std::int64_t daemon_ready_ms = 15'000;       // a restart with many tasks
inline constexpr std::int64_t daemon_stop_ms = 40'000;        // its --drain-ms, and to spare
inline constexpr std::size_t daemon_log_bytes_max = 1 * mib;  // of a start that failed
inline constexpr std::int64_t pool_answer_ms = 60'000;        // each worker is asked for its state
inline constexpr std::int64_t silent_wait_ms = 300;           // longer, and a person wonders

// llorch as a client of orchestratord
inline constexpr std::int64_t fleet_reply_ms = 30'000;   // it answers in 5; its disk may be busy
inline constexpr std::int64_t top_period_ms = 1'000;     // what an eye can follow
inline constexpr std::uint64_t jobs_listed_max = 1'000;  // of one GET /v2/tasks
inline constexpr std::size_t idempotency_key_bytes_max = 256;  // of POST /v2/tasks

// Model files
inline constexpr std::uint64_t gguf_header_bytes_max = 256 * mib;  // the largest known: 30 MiB
inline constexpr std::uint64_t gguf_tensors_max = 65'536;          // the largest known: 2 000
inline constexpr std::uint64_t gguf_keys_max = 65'536;
inline constexpr std::uint64_t gguf_key_bytes_max = 65'535;      // the format's own bound
inline constexpr std::uint64_t gguf_string_bytes_max = 8 * mib;  // chat templates reach 100 KiB
inline constexpr std::uint64_t gguf_elements_max = 4'194'304;    // vocabularies reach 262 144
inline constexpr std::uint64_t gguf_alignment_max = 65'536;      // pages of 64 KiB exist
inline constexpr std::uint32_t model_layers_max = 512;           // LLAMA_MAX_LAYERS
inline constexpr std::uint32_t model_experts_max = 1'024;        // LLAMA_MAX_EXPERTS
inline constexpr std::uint32_t model_heads_max = 4'096;
inline constexpr std::uint32_t model_width_max = 1'048'576;       // embedding and feed forward
inline constexpr std::uint32_t model_context_max = 268'435'456;   // the largest known: 10 M
inline constexpr std::uint64_t memory_reserve_bytes = 256 * mib;  // left to the machine itself

// Requantising and measuring
inline constexpr std::size_t requantize_buffer_bytes = 512 * mib;   // of rows as 32-bit floats
inline constexpr std::size_t perplexity_text_bytes_max = 16 * mib;  // hours on a processor
inline constexpr std::int64_t perplexity_chunk_tokens = 512;        // as llama-perplexity
inline constexpr std::int64_t perplexity_tokens_min = 20'000;       // fewer prove nothing
inline constexpr double perplexity_rise_percent_max = 0.5;          // what a faster layout may cost
inline constexpr double optimize_gain_min = 1.05;                   // less is within the noise
inline constexpr std::int64_t requantize_ms_max = 3'600'000;   // 70 billion weights on two cores
inline constexpr std::int64_t perplexity_ms_max = 14'400'000;  // 24 000 tokens at 2 a second
inline constexpr std::size_t optimize_record_bytes_max = 1 * mib;
inline constexpr std::size_t ollama_manifest_bytes_max = 1 * mib;  // they have some 1 KiB

// Logs
inline constexpr std::size_t log_lines_queued_max = 8'192;

// Ways out
inline constexpr std::int64_t log_close_ms = 1'000;  // then a stderr that nobody reads is left

}  // namespace llorch::limits

#include "base/fleet_limits.h"  // IWYU pragma: export
