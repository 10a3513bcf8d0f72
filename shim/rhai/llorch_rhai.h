/* Rhai scripts as a policy: the whole of what crosses between C++ and Rust.
 * Threads: any, but a script is used by one at a time. Texts given are read during the call only.
 * Texts received live until this thread's next call of llorch_rhai_compile or llorch_rhai_call.
 * No function lets a panic out. Only src/policy includes this. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LLORCH_RHAI_ABI 1u

typedef struct {
  const char* bytes; /* UTF-8, may be null when length is 0 */
  size_t length;
} llorch_rhai_text;

typedef struct {
  llorch_rhai_text id, model, priority, tenant, session_id;
  int64_t prompt_tokens_estimate, max_tokens, age_ms, attempt;
  double temperature;
} llorch_rhai_job;

typedef struct {
  llorch_rhai_text id, host, model, backend, status;
  int64_t slots_total, slots_free, queue_depth, cached_tokens, memory_free_bytes;
  double cost_ms, prefill_tokens_per_second, decode_tokens_per_second;
} llorch_rhai_worker;

/* What a script may use. A limit of 0 is refused. */
typedef struct {
  uint64_t operations;   /* per call */
  uint64_t memory_bytes; /* per call, and left behind by all calls of a script together */
  uint32_t string_bytes, elements, call_depth, expression_depth, variables, functions;
  uint32_t log_lines, log_line_bytes, reason_bytes;
} llorch_rhai_limits;

/* What the caller does for a running script. The functions must not throw. */
typedef struct {
  void* context;
  int64_t now_ms;                 /* what now_ms() says */
  bool (*is_over)(void* context); /* asked all the time: true stops the script */
  uint64_t (*last_turn)(void* context, size_t worker); /* of its last placement; 0: none */
} llorch_rhai_host;

enum { LLORCH_RHAI_SCHEDULE_JOB = 1, LLORCH_RHAI_SHOULD_ADMIT = 2, LLORCH_RHAI_SHOULD_RETRY = 4 };

typedef struct {
  uint32_t hook;       /* one of the three above; they are bits */
  int64_t attempt;     /* should_retry */
  int64_t queue_depth; /* should_admit */
  const llorch_rhai_job* job;
  const llorch_rhai_worker* workers; /* schedule_job */
  size_t workers_count;
  llorch_rhai_text error_kind, error_code, error_message; /* should_retry */
  llorch_rhai_host host;
} llorch_rhai_question;

enum {                           /* llorch_rhai_answer.kind */
       LLORCH_RHAI_BUILT_IN = 0, /* () */
       LLORCH_RHAI_WORKER = 1,   /* .worker */
       LLORCH_RHAI_WAIT = 2,
       LLORCH_RHAI_REJECT = 3, /* .text: the reason */
       LLORCH_RHAI_YES = 4,
       LLORCH_RHAI_NO = 5,
       LLORCH_RHAI_FAILED = 6 /* .error, .text: the message */
};

enum { /* llorch_rhai_answer.error */
       LLORCH_RHAI_OK = 0,
       LLORCH_RHAI_SYNTAX = 1,     /* it does not compile */
       LLORCH_RHAI_RUNTIME = 2,    /* a missing function, a wrong type, a division by zero */
       LLORCH_RHAI_THROWN = 3,     /* by the script itself */
       LLORCH_RHAI_OPERATIONS = 4, /* a limit, as the next three */
       LLORCH_RHAI_TIME = 5,
       LLORCH_RHAI_SIZE = 6, /* of one value, or of all together */
       LLORCH_RHAI_DEPTH = 7,
       LLORCH_RHAI_NONSENSE = 8, /* an answer of a kind or value that the hook cannot give */
       LLORCH_RHAI_PANIC = 9
};

typedef struct {
  uint32_t level; /* 1 info, 2 warn, 3 error */
  llorch_rhai_text text;
} llorch_rhai_log_line;

typedef struct {
  uint32_t kind;
  uint32_t error;
  uint32_t line, column; /* from 1; 0: unknown. Of the error, or of what decided */
  uint32_t hooks;        /* of compile: the hooks that the script defines */
  uint64_t worker;       /* an index */
  llorch_rhai_text text;
  const llorch_rhai_log_line* log;
  size_t log_count;
} llorch_rhai_answer;

typedef struct llorch_rhai_script llorch_rhai_script;

/* The version of Rhai; null when the two sides were not built from the same header. Asked first. */
const char* llorch_rhai_version(uint32_t abi, size_t job_bytes, size_t worker_bytes,
                                size_t limits_bytes, size_t question_bytes, size_t answer_bytes);

/* Compiles, and evaluates what stands outside of functions once: its values are constants of the
 * script. Null on failure; `answer` says why, or which hooks there are. */
llorch_rhai_script* llorch_rhai_compile(llorch_rhai_text source, const llorch_rhai_limits* limits,
                                        const llorch_rhai_host* host, llorch_rhai_answer* answer);

/* Asks one hook that the script defines. */
void llorch_rhai_call(llorch_rhai_script* script, const llorch_rhai_question* question,
                      llorch_rhai_answer* answer);

/* Null is fine. */
void llorch_rhai_free(llorch_rhai_script* script);

#ifdef __cplusplus
}
#endif
