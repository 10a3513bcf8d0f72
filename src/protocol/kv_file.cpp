#include "protocol/kv_file.h"

#include <algorithm>
#include <bit>

#include "base/crc32c.h"
#include "base/limits.h"
#include "base/little_endian.h"
#include "protocol/prefix_hash.h"

namespace llorch {
namespace {

constexpr std::string_view magic = "llorchKV";
constexpr std::uint32_t version = 1;
constexpr std::size_t version_at = 8;
constexpr std::size_t fingerprint_bytes_at = 12;
constexpr std::size_t scope_bytes_at = 16;
constexpr std::size_t tokens_at = 20;
constexpr std::size_t state_bytes_at = 24;
constexpr std::size_t state_sum_at = 32;
constexpr std::size_t head_sum_at = 36;
constexpr std::string_view suffix = ".kv";
constexpr std::string_view temporary_suffix = ".tmp";
constexpr std::size_t hash_digits = 16;
constexpr std::size_t random_digits = 8;

std::unexpected<Error> refuse(const char* why) {
  return fail(Code::invalid_request, why);
}

std::uint32_t sum_of(std::string_view head) {
  return crc32c(head.substr(kv_file_start_bytes), crc32c(head.substr(0, head_sum_at)));
}

// FNV-1a.
std::uint64_t hash_of(std::string_view bytes, std::uint64_t before = 0xcbf29ce484222325) {
  for (const char c : bytes) before = (before ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return before;
}

void append_tokens(std::string& out, const std::vector<Token>& tokens) {
  for (const Token token : tokens) append_little_endian(out, std::bit_cast<std::uint32_t>(token));
}

bool is_hex(std::string_view text) {
  return text.find_first_not_of("0123456789abcdef") == text.npos;
}

}  // namespace

std::string encode_kv_file_head(const KvFileHead& head) {
  std::string out(magic);
  append_little_endian(out, version);
  append_little_endian(out, static_cast<std::uint32_t>(head.fingerprint.size()));
  append_little_endian(out, static_cast<std::uint32_t>(head.scope.size()));
  append_little_endian(out, static_cast<std::uint32_t>(head.tokens.size()));
  append_little_endian(out, head.state_bytes);
  append_little_endian(out, head.state_sum);
  append_little_endian(out, std::uint32_t{0});
  out += head.fingerprint;
  out += head.scope;
  append_tokens(out, head.tokens);
  std::string sum;
  append_little_endian(sum, sum_of(out));
  return out.replace(head_sum_at, sum.size(), sum);
}

Result<std::size_t> kv_file_head_bytes(std::string_view start) {
  if (start.size() < kv_file_start_bytes) return refuse("is cut off");
  if (!start.starts_with(magic)) return refuse("is no snapshot of KV cells");
  if (read_little_endian<std::uint32_t>(start, version_at) != version) {
    return refuse("is of another version");
  }
  const std::size_t fingerprint = read_little_endian<std::uint32_t>(start, fingerprint_bytes_at);
  const std::size_t scope = read_little_endian<std::uint32_t>(start, scope_bytes_at);
  const std::size_t tokens = read_little_endian<std::uint32_t>(start, tokens_at);
  const bool plausible = fingerprint >= 1 && fingerprint <= limits::kv_fingerprint_bytes_max &&
                         scope <= limits::cache_scope_bytes_max && tokens >= 1 &&
                         tokens <= limits::kv_file_tokens_max &&
                         read_little_endian<std::uint64_t>(start, state_bytes_at) >= 1;
  if (!plausible) return refuse("has sizes that no snapshot has");
  return kv_file_start_bytes + fingerprint + scope + tokens * sizeof(Token);
}

Result<KvFileHead> decode_kv_file_head(std::string_view head) {
  const auto size = kv_file_head_bytes(head);
  if (!size) return fail(size.error());
  if (*size != head.size()) return refuse("is cut off");
  if (read_little_endian<std::uint32_t>(head, head_sum_at) != sum_of(head)) {
    return refuse("has a head whose checksum is wrong");
  }
  const std::size_t fingerprint = read_little_endian<std::uint32_t>(head, fingerprint_bytes_at);
  const std::size_t scope = read_little_endian<std::uint32_t>(head, scope_bytes_at);
  KvFileHead out;
  out.state_bytes = read_little_endian<std::uint64_t>(head, state_bytes_at);
  out.state_sum = read_little_endian<std::uint32_t>(head, state_sum_at);
  out.fingerprint = head.substr(kv_file_start_bytes, fingerprint);
  out.scope = head.substr(kv_file_start_bytes + fingerprint, scope);
  out.tokens.resize(read_little_endian<std::uint32_t>(head, tokens_at));
  std::size_t at = kv_file_start_bytes + fingerprint + scope;
  for (auto& token : out.tokens) {
    token = std::bit_cast<Token>(read_little_endian<std::uint32_t>(head, at));
    at += sizeof(Token);
  }
  return out;
}

std::string kv_file_prefix(std::string_view fingerprint) {
  std::string bytes;
  append_little_endian(bytes, version);
  return to_hex(hash_of(fingerprint, hash_of(bytes))) + "-";
}

std::string kv_file_name(std::string_view fingerprint, std::string_view scope,
                         const std::vector<Token>& tokens) {
  std::string bytes(scope);
  bytes += '\0';
  append_tokens(bytes, tokens);
  return kv_file_prefix(fingerprint) + to_hex(hash_of(bytes)) + std::string(suffix);
}

std::string kv_temporary_name(std::string_view name, std::string_view random) {
  return std::string(name).append(".").append(random).append(temporary_suffix);
}

bool is_kv_file_name(std::string_view name) {
  return name.size() == 2 * hash_digits + 1 + suffix.size() && name.ends_with(suffix) &&
         name[hash_digits] == '-' && is_hex(name.substr(0, hash_digits)) &&
         is_hex(name.substr(hash_digits + 1, hash_digits));
}

bool is_kv_temporary_name(std::string_view name) {
  if (!name.ends_with(temporary_suffix)) return false;
  name.remove_suffix(temporary_suffix.size());
  if (name.size() <= random_digits + 1 || name[name.size() - random_digits - 1] != '.') {
    return false;
  }
  return is_hex(name.substr(name.size() - random_digits)) &&
         is_kv_file_name(name.substr(0, name.size() - random_digits - 1));
}

}  // namespace llorch
