// No host that is let through can be read as an option or by a shell; every argument is one word of
// a shell that says the same.
#include <algorithm>

#include "fuzz.h"
#include "ssh/target.h"

namespace {

// Reads one word as a POSIX shell does; stops the program where it is not exactly one.
std::string unquoted(std::string_view word) {
  using llorch::fuzz::require;
  std::string text;
  for (std::size_t i = 0; i < word.size(); ++i) {
    if (word[i] == '\'') {
      const auto end = word.find('\'', i + 1);
      require(end != word.npos);
      text += word.substr(i + 1, end - i - 1);
      i = end;
    } else {
      require(word[i] == '\\' && i + 1 < word.size());
      text += word[++i];
    }
  }
  return text;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace llorch;
  const auto text = fuzz::text_of(bytes, size);
  const auto target = parse_ssh_target(text);
  fuzz::tried(target);
  if (target) {
    for (const auto& part : {target->user, target->host}) {
      fuzz::require(!part.starts_with("-") && part.size() <= 253);
      fuzz::require(std::ranges::none_of(part, [](unsigned char c) {
        return c <= ' ' || c >= 0x7f ||
               std::string_view("'`\"$\\;&<>|(){}[]*?!~#=@/").find(static_cast<char>(c)) !=
                   std::string_view::npos;
      }));
    }
    fuzz::require(!target->host.empty());
    if (!target->host.contains(':')) fuzz::require(*parse_ssh_target(name_of(*target)) == *target);
  }
  const auto quoted = quote_for_shell(text);
  fuzz::tried(quoted);
  fuzz::require(quoted.has_value() == (text.find('\0') == text.npos));
  if (quoted) fuzz::require(unquoted(*quoted) == text);
  fuzz::tried(pool_host({.host = "h", .root = std::string(text), .command = std::string(text)}));
  return 0;
}
