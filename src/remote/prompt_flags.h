// Flags that describe a prompt and its answer: the same for `llorch infer` and `llorch jobs
// submit`. Threads: one. CLI11 is heavy: include only from files that declare flags.
#pragma once

#include "base/result.h"
#include "console/command_line.h"
#include "remote/infer_options.h"

namespace llorch {

// --prompt (required), --max-tokens, --temperature, --seed, --system, --stop, --raw, --json.
// What shapes the answer: all but the prompt itself.
void declare_answer_flags(CLI::App& command, InferOptions& to);
void declare_prompt_flags(CLI::App& command, InferOptions& to);

// Reads stdin where the prompt is "-", and checks what flags alone cannot. `help` is the command
// that tells more. Errors: invalid_request, too_large (a text over 1 MiB), internal (stdin).
Result<void> finish_prompt(InferOptions& options, const char* help);

}  // namespace llorch
