// The words after `llorch pool` and `llorch host`. They are taken apart by hand: what llorch-pool
// there understands is its own business, so that an older or newer one can be driven, too.
// Pure. Threads: any.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"

namespace llorch {

// Runs llorch-pool on a host.
struct PoolCommand {
  std::string host;                // what --host says; empty: this machine
  std::vector<std::string> words;  // for llorch-pool there
  // `worker spawn --gpu N` without a backend: where in `words` it belongs once it is known; 0: no.
  std::size_t backend_missing_at = 0;
  std::string gpu = {};  // N of that
  // `worker spawn` without --listen: it can be reached on that machine only.
  bool spawns_for_itself = false;
};

// Puts the programs of this machine onto a host.
struct InstallCommand {
  std::string host;
  bool upgrade = false;  // over another version
};

// Copies a model from host to host, through this machine; an empty name is this machine.
struct CopyCommand {
  std::string model;
  std::string from;
  std::string to;
};

struct PoolHelp {};

using PoolRequest = std::variant<PoolHelp, PoolCommand, InstallCommand, CopyCommand>;

// `--host H` and `--host=H` count wherever they stand before a `--`. Of `worker spawn`, --listen
// becomes llorch-pool's own --host, the address to listen on.
// Errors: invalid_request (an unknown group, a flag without its value, two hosts).
Result<PoolRequest> parse_pool_words(std::vector<std::string> words);

// The backend that `--gpu N` means on a host, from its `backends list --json`: the first available
// one that is not the CPU and has this device. `host` is for the message.
// Errors: not_found (none, with each one's reason), invalid_request (no such device), internal.
Result<std::string> choose_gpu_backend(std::string_view backends_json, std::string_view gpu,
                                       std::string_view host);

// The best available backend: that of the lowest priority number, from the same document.
// Errors: not_found (none, with each one's reason), internal.
Result<std::string> choose_backend(std::string_view backends_json, std::string_view host);

// What may follow `llorch pool`, for completion and suggestions.
const std::vector<std::string>& pool_words();
// The text of `llorch pool --help`.
std::string_view pool_help();

}  // namespace llorch
