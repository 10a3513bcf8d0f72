// The bounds of what serves many workers: the orchestrator, its policies, its store, ssh. Part of
// base/limits.h, which includes it. Sizes in bytes, times in ms.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/limits.h"

namespace llorch::limits {

// Orchestrator: jobs and streams
inline constexpr std::int64_t job_timeout_ms = 300'000;        // of a task, from acceptance
inline constexpr std::int64_t job_timeout_ms_max = 1'800'000;  // half an hour on a slow machine
inline constexpr std::int64_t tick_ms = 100;                   // deadlines are seconds
inline constexpr std::int64_t progress_ms = 100;               // the decision machine's news
inline constexpr std::size_t unrelayed_bytes_max = 256 * kib;  // of a client that reads slowly
inline constexpr std::int64_t jobs_kept_ms = 604'800'000;  // a week, for explain and late readers
inline constexpr std::int64_t sweep_ms = 3'600'000;        // old ones go once an hour
// Of a week, for explain and replay: one a second and a half; some 2 GB with four workers offered.
inline constexpr std::int64_t decisions_max = 1'000'000;
inline constexpr std::size_t decision_candidates_max = 64;  // of one decision: 24 KiB
inline constexpr std::size_t refusals_kept_max = 1;    // a second, by a policy: others are a week's
inline constexpr std::size_t failure_bytes_max = 256;  // of what a failed try's worker said
inline constexpr std::size_t ended_tasks_max = 1'024;  // kept in memory, for late readers
inline constexpr std::size_t ended_replies_max = 128;  // of /v1: nobody reads them again
inline constexpr std::size_t frame_bytes_max = sse_event_bytes_max;
inline constexpr std::int64_t queued_comment_ms = 2'000;   // a person watches the place change
inline constexpr std::int64_t worker_head_ms = 30'000;     // six times first_event_wait_ms
inline constexpr std::int64_t worker_silence_ms = 35'000;  // three comments have been missed
inline constexpr std::int64_t worker_end_ms = 5'000;       // from a whole answer to its last frame
inline constexpr std::int64_t worker_tail_ms = 200;        // what follows the last frame
inline constexpr std::int64_t probe_wait_ms = 2'000;       // /health answers in 5
inline constexpr std::int64_t external_probe_ms = 5'000;   // a list of models across the world
inline constexpr std::int64_t external_tokens_max = 1'048'576;  // of one answer, as it tells them
// Of a job that may go on to the end of the context: more than any context served in practice.
inline constexpr std::int64_t answer_tokens_max = 16'777'216;
inline constexpr std::size_t workers_max = 4'096;  // registered at once

// Orchestrator: keys
inline constexpr std::size_t keys_max = 4'096;      // revoked ones too; all are in memory
inline constexpr std::size_t key_models_max = 256;  // of one allow-list
inline constexpr std::int64_t key_lifetime_s_max = 315'360'000;  // ten years
inline constexpr std::int64_t charges_restored_ms = 600'000;     // debts are seldom of more minutes
inline constexpr std::int64_t key_tokens_per_minute_max = 1'000'000'000;  // a thousand fast cards
inline constexpr std::size_t allowed_names_max = 64;  // hosts, and origins: compared one by one
inline constexpr int preflight_kept_s = 600;          // a browser asks again after a change

// Orchestrator: choices
inline constexpr double external_extra_ms = 1'000;         // what another's server may do besides
inline constexpr std::int64_t promote_batch_ms = 120'000;  // then a batch job counts as interactive
inline constexpr std::size_t prefix_entries_max = 262'144;  // 20 MiB; 64 workers of 1 024, fourfold
inline constexpr std::size_t estimates_max = 4'096;         // tenants times models
inline constexpr std::size_t policy_waits_max = 16;         // answers of a script in one pass
inline constexpr unsigned attempts_max = 5;                 // of one job
inline constexpr std::int64_t retry_ms = 1'000;             // doubles
inline constexpr std::int64_t retry_ms_max = 60'000;
inline constexpr std::int64_t retry_told_ms_least = 10;      // sooner, asking costs more
inline constexpr std::int64_t heartbeats_missed_ms = 3'500;  // three, and half a one for the way
inline constexpr std::int64_t standstill_ms = 2'000;         // twenty ticks missed: we were away
inline constexpr std::int64_t probe_healthy_ms = 30'000;     // beside heartbeats
inline constexpr std::int64_t probe_unhealthy_ms = 1'000;    // back soon after a restart
inline constexpr std::int64_t worker_dead_ms = 300'000;      // a reboot with a file system check
inline constexpr std::size_t cleanups_waiting_max = 64;      // workers that wait for a cleanup
inline constexpr std::int64_t cleanup_retry_ms = 300'000;    // of a host that may have been down
inline constexpr unsigned cleanup_tries_max = 12;            // an hour; then by hand

// The database and the event log
inline constexpr std::size_t store_inbox_writes_max = 65'536;     // 4 s of the commits measured
inline constexpr std::size_t store_inbox_bytes_max = 256 * mib;   // 32 of the largest bodies
inline constexpr std::size_t store_batch_writes_max = 4'096;      // one transaction: some 40 ms
inline constexpr std::size_t store_batch_bytes_max = 32 * mib;    // one transaction: 0.1 s of disk
inline constexpr std::size_t store_probe_writes_max = 16;         // a full disk is tried with few
inline constexpr std::size_t store_reads_max = 1'024;             // each holds a request
inline constexpr std::size_t store_list_max = 1'000;              // jobs on one page
inline constexpr std::size_t store_retention_jobs = 100;          // deleted in one transaction
inline constexpr std::size_t store_frames_bytes_max = 128 * mib;  // 131 072 tokens, 1 KiB each
inline constexpr std::int64_t store_write_behind_ms = 4;          // promised are 5, with the commit
inline constexpr std::int64_t store_retry_ms = 250;               // a full disk is asked this often
inline constexpr std::int64_t store_busy_ms = 2'000;      // for a person's sqlite3 beside us
inline constexpr std::int64_t store_read_ms_max = 2'000;  // one scan must not hold up the others
inline constexpr std::int64_t store_wipe_ms = 10'000;     // prompts leave the log of the database
inline constexpr std::size_t store_memory_bytes = 16 * mib;       // page cache of each connection
inline constexpr std::size_t event_log_segment_bytes = 64 * mib;  // read in 0.3 s at a start
inline constexpr std::size_t event_log_segments_max = 128;        // open files; 8 GiB in all
inline constexpr std::size_t event_log_pending_bytes_max = 64 * mib;  // one turn of the loop
inline constexpr std::size_t event_log_frame_bytes_max = 17 * mib;    // sse_event_bytes_max and ids
inline constexpr std::size_t event_log_read_bytes_max = 1 * mib;      // of one replay step
inline constexpr std::size_t event_log_reports_max = 64;              // damaged places told apart

// Other hosts over ssh
inline constexpr std::size_t ssh_host_bytes_max = 253;          // the longest name of the DNS
inline constexpr std::size_t ssh_user_bytes_max = 64;           // Linux allows 32, directories more
inline constexpr std::size_t ssh_command_bytes_max = 96 * kib;  // Linux: 128 KiB an argument
inline constexpr int ssh_persist_s = 60;         // a shared connection that nobody uses is closed
inline constexpr int ssh_socket_bytes_max = 86;  // 104 on macOS, less the 17 ssh appends to it
inline constexpr std::size_t ssh_log_bytes_max = 16 * kib;     // a changed host key takes 1 KiB
inline constexpr std::size_t ssh_output_bytes_max = 16 * mib;  // a catalog of 5 000 models
inline constexpr std::int64_t ssh_answer_ms = 60'000;          // connect, nvidia-smi, and to spare
inline constexpr std::int64_t ssh_stop_ms = 5'000;             // a command there tidies up first
inline constexpr std::int64_t ssh_install_ms = 1'800'000;      // 100 MB at 60 KB/s
inline constexpr std::int64_t ssh_copy_ms = 43'200'000;        // 100 GB at 2.3 MB/s

// Policy scripts
inline constexpr std::uint64_t policy_operations = 100'000;  // a loop over 1 000 workers: 10 000
inline constexpr std::uint64_t policy_operations_max = 1'000'000;  // of the setting
inline constexpr std::int64_t policy_time_ms = 2;       // one decision; streams wait that long
inline constexpr std::int64_t policy_time_ms_max = 50;  // of the setting; a stream shows it
inline constexpr std::int64_t policy_load_ms = 50;      // constants are evaluated, once
inline constexpr std::size_t policy_source_bytes_max = 256 * kib;  // compiled in 10 ms
inline constexpr std::uint32_t policy_string_bytes_max = 64 * kib;
// Of one call, all values. Closures in closures are freed one inside the other: 2 MiB of stack.
inline constexpr std::uint64_t policy_memory_bytes_max = 1 * mib;
inline constexpr std::uint32_t policy_elements_max = 1'000;  // of an array or a map
inline constexpr std::uint32_t policy_call_depth_max = 32;
inline constexpr std::uint32_t policy_expression_depth_max = 64;  // the parser recurses
inline constexpr std::uint32_t policy_variables_max = 256;
inline constexpr std::uint32_t policy_functions_max = 256;
inline constexpr std::uint32_t policy_log_lines_max = 16;            // of one call
inline constexpr std::uint32_t policy_log_line_bytes_max = 1 * kib;  // cut there
inline constexpr std::uint32_t policy_reason_bytes_max = 512;        // goes to the client
inline constexpr std::size_t policy_fault_lines_max = 10;            // logged in a second
inline constexpr std::size_t policy_limit_hits_max = 3;              // in the window: then it rests
inline constexpr std::int64_t policy_hits_window_ms = 10'000;
inline constexpr std::int64_t policy_rest_ms = 30'000;
inline constexpr std::int64_t policy_poll_ms = 500;         // an edited file counts within a second
inline constexpr std::size_t policy_turns_max = 8'192;      // twice workers_max: some come and go
inline constexpr std::size_t decision_bytes_max = 4 * mib;  // 4 096 workers of 1 KiB
inline constexpr std::size_t replay_differences_max = 1'000;  // listed; the rest is counted
inline constexpr std::size_t replay_workers_max = 1'000;      // told apart; the rest is counted
inline constexpr std::int64_t replay_decisions = 10'000;  // the newest; some seconds of a script
inline constexpr std::int64_t replay_decisions_max = 100'000;
inline constexpr std::int64_t replay_page = 200;  // read at once: 5 MiB of the largest decisions
inline constexpr std::int64_t replay_ms =
    20'000;  // then it tells what it has; fleet_reply_ms is more
inline constexpr std::size_t policy_cases_max = 1'000;  // in one file

}  // namespace llorch::limits
