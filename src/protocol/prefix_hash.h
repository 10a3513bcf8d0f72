// Names for beginnings of prompts, so that the orchestrator knows which worker has which of them
// computed: a chain of 64-bit hashes, one a full 256-byte block, each covering all before it.
// The bytes are tools, then role, NUL, content, NUL of each message, or the bare prompt; the root
// is scope and model id. The same on every machine; not meant to resist forged collisions.
// Threads: any.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/job.h"

namespace llorch {

inline constexpr std::size_t prefix_block_bytes = 256;

using PrefixHash = std::uint64_t;

// Shape: [bytes / 256]; element k names the first (k + 1) blocks. A prompt of token ids is hashed
// over the ids as little-endian 32-bit words.
std::vector<PrefixHash> prefix_chain(std::string_view cache_scope, std::string_view model_id,
                                     const PromptSource& prompt);

// 16 lower-case hexadecimal digits: JSON numbers lose bits above 2^53.
std::string to_hex(PrefixHash hash);
std::optional<PrefixHash> prefix_hash_from_hex(std::string_view text);

}  // namespace llorch
