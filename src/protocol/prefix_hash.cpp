#include "protocol/prefix_hash.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <utility>
#include <variant>

namespace llorch {
namespace {

// Eight bytes a step, after the rounds and the final mix of xxHash64, whose primes these are.
constexpr std::uint64_t prime_1 = 0x9E3779B185EBCA87;
constexpr std::uint64_t prime_2 = 0xC2B2AE3D27D4EB4F;
constexpr std::uint64_t prime_3 = 0x165667B19E3779F9;

std::uint64_t mix(std::uint64_t hash, std::uint64_t word) {
  return std::rotl(hash ^ (word * prime_2), 31) * prime_1;
}

std::uint64_t finish(std::uint64_t hash) {
  hash = (hash ^ (hash >> 33)) * prime_2;
  hash = (hash ^ (hash >> 29)) * prime_3;
  return hash ^ (hash >> 32);
}

std::uint64_t word_at(const char* bytes) {
  std::uint64_t word = 0;  // little-endian whatever the machine is
  for (int i = 7; i >= 0; --i) word = (word << 8) | static_cast<unsigned char>(bytes[i]);
  return word;
}

std::uint64_t hash_block(std::uint64_t before, const char* block) {
  std::uint64_t hash = before;
  for (std::size_t i = 0; i < prefix_block_bytes; i += 8) hash = mix(hash, word_at(block + i));
  return finish(hash);
}

std::uint64_t hash_root(std::string_view text) {
  std::uint64_t hash = prime_3 ^ text.size();
  for (const char c : text) hash = mix(hash, static_cast<unsigned char>(c));
  return finish(hash);
}

// Cuts a stream of bytes into blocks and keeps the chain.
class Chain {
 public:
  explicit Chain(std::uint64_t root) : hash_(root) {}

  void add(std::string_view bytes) {
    while (!bytes.empty()) {
      if (used_ == 0 && bytes.size() >= prefix_block_bytes) {  // without a copy
        push(bytes.data());
        bytes.remove_prefix(prefix_block_bytes);
        continue;
      }
      const std::size_t taken = std::min(bytes.size(), prefix_block_bytes - used_);
      std::copy_n(bytes.data(), taken, block_.data() + used_);
      bytes.remove_prefix(taken);
      used_ += taken;
      if (used_ < prefix_block_bytes) return;
      push(block_.data());
      used_ = 0;
    }
  }

  void add_field(std::string_view bytes) {
    add(bytes);
    add(std::string_view("\0", 1));
  }

  std::vector<PrefixHash> take() { return std::move(hashes_); }

 private:
  void push(const char* block) {
    hash_ = hash_block(hash_, block);
    hashes_.push_back(hash_);
  }

  std::uint64_t hash_;
  std::array<char, prefix_block_bytes> block_{};
  std::size_t used_ = 0;
  std::vector<PrefixHash> hashes_;
};

void add_prompt(Chain& chain, const std::string& text) {
  chain.add(text);
}

void add_prompt(Chain& chain, const ChatPrompt& chat) {
  for (const auto& tool : chat.tools) {
    chain.add_field(tool.name);
    chain.add_field(tool.description);
    chain.add_field(tool.parameters_json);
  }
  for (const auto& message : chat.messages) {
    chain.add_field(message.role);
    chain.add_field(message.content);
    for (const auto& call : message.tool_calls) {
      chain.add_field(call.name);
      chain.add_field(call.arguments_json);
    }
  }
}

void add_prompt(Chain& chain, const std::vector<Token>& tokens) {
  for (const Token token : tokens) {
    const auto word = static_cast<std::uint32_t>(token);
    const std::array<char, 4> bytes = {
        static_cast<char>(word & 0xFF), static_cast<char>((word >> 8) & 0xFF),
        static_cast<char>((word >> 16) & 0xFF), static_cast<char>(word >> 24)};
    chain.add({bytes.data(), bytes.size()});
  }
}

}  // namespace

std::vector<PrefixHash> prefix_chain(std::string_view cache_scope, std::string_view model_id,
                                     const PromptSource& prompt) {
  // The kind of prompt is part of the root: a bare prompt is no conversation that looks like it.
  std::string root(cache_scope);
  root.append(1, '\0').append(model_id).append(1, '\0');
  root += static_cast<char>('0' + prompt.index());
  Chain chain(hash_root(root));
  std::visit([&](const auto& source) { add_prompt(chain, source); }, prompt);
  return chain.take();
}

std::string to_hex(PrefixHash hash) {
  std::string text(16, '0');
  for (std::size_t i = text.size(); i-- > 0; hash >>= 4) text[i] = "0123456789abcdef"[hash & 15];
  return text;
}

std::optional<PrefixHash> prefix_hash_from_hex(std::string_view text) {
  constexpr std::string_view digits = "0123456789abcdef";
  if (text.size() != 16 || text.find_first_not_of(digits) != text.npos) return std::nullopt;
  PrefixHash hash = 0;
  std::from_chars(text.data(), text.data() + text.size(), hash, 16);
  return hash;
}

}  // namespace llorch
