// Runs the load that the options describe and gives what it measured.
// Threads: the io_context's one thread.
#pragma once

#include "base/result.h"
#include "figures.h"
#include "load_options.h"
#include "net/asio.h"

namespace llorch::bench {

// Ends by itself at the latest after limit_s; what is unfinished then counts as an error.
// Errors: invalid_request (the URL). Failures of requests are figures, not errors.
Task<Result<Figures>> run_load(asio::io_context& io, LoadOptions options);

}  // namespace llorch::bench
