// How every command line speaks of failure: "error: WHAT: WHY", then "next: WHAT TO DO", on
// stderr; "next: PROGRAM --help" where the error knows nothing better. Threads: one. Exit codes
// come from base/result.h.
#pragma once

#include <string_view>

#include "base/result.h"

namespace llorch {

// Prints the error and gives the exit code that goes with its code.
int report(const Error& error);
// The same with an exit code of the caller's choice.
int report(const Error& error, ExitCode code);
void print_warning(std::string_view text);  // "warning: …" on stderr
void print_next(std::string_view text);     // "next: …" on stderr

}  // namespace llorch
