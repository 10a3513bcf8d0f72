#include "remote/pool_table.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "ssh/target.h"

namespace llorch {
namespace {

using Pools = std::map<std::string, PoolSettings, std::less<>>;

bool same(const PoolSettings& a, const PoolSettings& b) {
  return a.host == b.host && a.user == b.user && a.root == b.root && a.command == b.command;
}

bool same(const Pools& a, const Pools& b) {
  return std::ranges::equal(a, b, [](const auto& one, const auto& other) {
    return one.first == other.first && same(one.second, other.second);
  });
}

Result<Pools> pools_of(std::string_view text) {
  Settings settings;
  const auto read = read_settings_text(text, "llorch.toml", settings);
  if (!read) return fail(read.error());
  return settings.pools;
}

bool is_bare_key(std::string_view name) {
  constexpr std::size_t name_bytes_max = 64;
  return !name.empty() && name.size() <= name_bytes_max &&
         name.find_first_not_of(
             "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
             "_-") == name.npos;
}

// pool_host() has refused control characters: quotes and backslashes are what is left to escape.
std::string toml_text(std::string_view value) {
  std::string text = "\"";
  for (const char c : value) {
    if (c == '"' || c == '\\') text += '\\';
    text += c;
  }
  return text + '"';
}

std::string_view trimmed(std::string_view line) {
  const auto begin = line.find_first_not_of(" \t\r\n");
  if (begin == line.npos) return {};
  return line.substr(begin, line.find_last_not_of(" \t\r\n") - begin + 1);
}

// With their ends.
std::vector<std::string_view> whole_lines(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const auto end = text.find('\n');
    const auto size = end == text.npos ? text.size() : end + 1;
    lines.push_back(text.substr(0, size));
    text.remove_prefix(size);
  }
  return lines;
}

bool is_header_of(std::string_view line, const std::string& name) {
  const auto text = trimmed(line);
  const auto close = text.find(']');
  if (!text.starts_with("[") || close == text.npos) return false;
  std::string inner(text.substr(1, close - 1));
  std::erase_if(inner, [](char c) { return c == ' ' || c == '\t'; });
  return inner == "pools." + name || inner == "pools.\"" + name + "\"";
}

std::unexpected<Error> by_hand(const std::string& name) {
  return fail(Code::invalid_request,
              "pools." + name + ": is written in a way that cannot be changed safely",
              "edit the file by hand");
}

}  // namespace

Result<std::string> with_pool(std::string_view text, const std::string& name,
                              const PoolSettings& pool) {
  if (!is_bare_key(name)) {
    return fail(Code::invalid_request,
                "name '" + name.substr(0, 64) + "': want 1 to 64 letters, digits, '_' and '-'",
                "llorch host add NAME --host HOST");
  }
  if (const auto checked = pool_host(pool); !checked) return fail(checked.error());
  auto wanted = pools_of(text);
  if (!wanted) return fail(wanted.error());
  if (!wanted->try_emplace(name, pool).second) {
    return fail(Code::conflict, "pools." + name + ": is there already",
                "llorch host remove " + name + ", then add it again");
  }
  std::string changed(text);
  if (!changed.empty() && !changed.ends_with('\n')) changed += '\n';
  if (!changed.empty()) changed += '\n';
  changed += "[pools." + name + "]\n";
  const auto line = [&](const char* key, const std::string& value) {
    if (!value.empty()) changed += std::string(key) + " = " + toml_text(value) + "\n";
  };
  line("host", pool.host);
  line("user", pool.user);
  line("root", pool.root);
  line("command", pool.command);
  const auto got = pools_of(changed);
  if (!got || !same(*got, *wanted)) return by_hand(name);
  return changed;
}

Result<std::string> without_pool(std::string_view text, const std::string& name) {
  auto wanted = pools_of(text);
  if (!wanted) return fail(wanted.error());
  if (wanted->erase(name) == 0) {
    return fail(Code::not_found, "pools." + name + ": is not in this file", "llorch host list");
  }
  const auto lines = whole_lines(text);
  const auto header =
      std::ranges::find_if(lines, [&](std::string_view line) { return is_header_of(line, name); });
  if (header == lines.end()) return by_hand(name);
  // To its last value: comments after that are about what follows.
  auto last = header;
  for (auto at = header + 1; at != lines.end() && !trimmed(*at).starts_with('['); ++at) {
    if (!trimmed(*at).empty() && !trimmed(*at).starts_with('#')) last = at;
  }
  auto next = last + 1;
  if (next != lines.end() && trimmed(*next).empty()) ++next;  // one empty line, of the two around
  auto first = header;
  if (next == lines.end() && first != lines.begin() && trimmed(*(first - 1)).empty()) --first;
  std::string changed;
  for (auto at = lines.begin(); at != lines.end(); ++at) {
    if (at < first || at >= next) changed += *at;
  }
  // Whatever the text held: what is left must say the same about everything else.
  const auto got = pools_of(changed);
  if (!got || !same(*got, *wanted)) return by_hand(name);
  return changed;
}

}  // namespace llorch
