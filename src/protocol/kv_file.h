// The file of one snapshot of KV cells: what its state depends on, its tokens, and the state, which
// only llama.cpp understands. Whole numbers are little-endian:
//   magic[8] version:u32 fingerprint_bytes:u32 scope_bytes:u32 tokens:u32 state_bytes:u64
//   state_sum:u32 head_sum:u32 fingerprint scope tokens:i32[] state
// Sums are CRC-32C; head_sum is over all of the head but itself. Pure. Threads: any.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "protocol/job.h"

namespace llorch {

struct KvFileHead {
  std::string fingerprint;  // of all that the state depends on besides the tokens
  std::string scope;        // cache_scope of the job that computed it
  std::vector<Token> tokens;
  std::uint64_t state_bytes = 0;
  std::uint32_t state_sum = 0;
  bool operator==(const KvFileHead&) const = default;
};

inline constexpr std::size_t kv_file_start_bytes = 40;

// Shape: fingerprint, scope and tokens within limits, at least one token and one byte of state.
std::string encode_kv_file_head(const KvFileHead& head);

// The size of the head, from its first kv_file_start_bytes or more. Errors: invalid_request (no
// such file, another version, sizes past the limits).
Result<std::size_t> kv_file_head_bytes(std::string_view start);

// Shape: exactly kv_file_head_bytes(head). Errors: invalid_request, with what is wrong.
Result<KvFileHead> decode_kv_file_head(std::string_view head);

// "0123456789abcdef-0123456789abcdef.kv": names the fingerprint with the version, then scope and
// tokens, so that the same snapshot has the same name. Hashes are not meant to resist forged
// collisions: whoever opens a file compares its head.
std::string kv_file_name(std::string_view fingerprint, std::string_view scope,
                         const std::vector<Token>& tokens);
// What the names of all files of a fingerprint begin with.
std::string kv_file_prefix(std::string_view fingerprint);
// The name under which it is written. Shape: `random` is 8 hexadecimal digits.
std::string kv_temporary_name(std::string_view name, std::string_view random);

bool is_kv_file_name(std::string_view name);
bool is_kv_temporary_name(std::string_view name);

}  // namespace llorch
