#include "engine/protected_text.h"

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <charconv>
#include <utility>

#include "protocol/json_parse.h"

namespace llorch {

namespace json = boost::json;

namespace {

constexpr std::string_view mark_open = "llorch0mark0";
constexpr char mark_close = 'e';

// `value` with every string and name in it protected.
json::value protected_copy(const json::value& value, ProtectedText& guard) {
  if (value.is_string()) return json::value(guard.protect(value.get_string()));
  if (value.is_array()) {
    json::array items;
    for (const auto& item : value.get_array()) items.push_back(protected_copy(item, guard));
    return items;
  }
  if (!value.is_object()) return value;
  json::object members;
  for (const auto& [name, member] : value.get_object()) {
    members.insert_or_assign(guard.protect(name), protected_copy(member, guard));
  }
  return members;
}

}  // namespace

ControlTexts::ControlTexts(std::vector<std::string> texts) : sorted_(std::move(texts)) {
  std::erase_if(sorted_, [](const auto& text) { return text.empty(); });
  std::ranges::sort(sorted_);  // bytes compare as unsigned char
  const auto again = std::ranges::unique(sorted_);
  sorted_.erase(again.begin(), again.end());
  std::size_t at = 0;
  for (std::size_t byte = 0; byte < 256; ++byte) {
    first_[byte] = static_cast<std::uint32_t>(at);
    while (at < sorted_.size() && static_cast<unsigned char>(sorted_[at].front()) == byte) ++at;
  }
  first_[256] = static_cast<std::uint32_t>(at);
}

std::size_t ControlTexts::match(std::string_view text) const {
  if (text.empty()) return 0;
  const auto byte = static_cast<unsigned char>(text.front());
  auto from = sorted_.begin() + first_[byte];
  auto to = sorted_.begin() + first_[byte + 1U];
  std::size_t longest = 0;
  // Among texts that agree with the first `size` bytes the one that is just those comes first.
  for (std::size_t size = 1; from != to; ++size) {
    if (from->size() == size) {
      longest = size;
      ++from;
    }
    if (size == text.size()) break;
    const auto next = static_cast<unsigned char>(text[size]);
    const auto byte_at = [size](const std::string& s) {
      return static_cast<unsigned char>(s[size]);
    };
    const auto same = std::ranges::equal_range(from, to, next, {}, byte_at);
    from = same.begin();
    to = same.end();
  }
  return longest;
}

ProtectedText::ProtectedText(const ControlTexts& controls, const std::string& nonce)
    : controls_(controls), begin_(std::string(mark_open) + nonce + "n") {}

std::string ProtectedText::protect(std::string_view text) {
  std::string safe;
  safe.reserve(text.size());
  while (!text.empty()) {
    const auto matched = controls_.match(text);
    if (matched == 0) {
      safe += text.front();
      text.remove_prefix(1);
      continue;
    }
    safe += begin_ + std::to_string(replaced_.size());
    safe += mark_close;
    replaced_.emplace_back(text.substr(0, matched));
    text.remove_prefix(matched);
  }
  return safe;
}

std::string ProtectedText::protect_json(std::string_view text) {
  const auto parsed = parse_json(text);
  if (!parsed) return protect(text);
  const auto before = replaced_.size();
  const auto safe = protected_copy(*parsed, *this);
  // Unchanged values keep the client's own spelling, of numbers above all.
  return replaced_.size() == before ? std::string(text) : json::serialize(safe);
}

std::vector<prompt::Segment> ProtectedText::split(std::string_view rendered) const {
  std::vector<prompt::Segment> segments;
  const auto add = [&](std::string_view text, bool special) {
    if (!text.empty()) segments.push_back({std::string(text), special});
  };
  while (true) {
    const auto at = rendered.find(begin_);
    if (at == rendered.npos) break;
    add(rendered.substr(0, at), true);
    rendered.remove_prefix(at + begin_.size());
    std::size_t index = replaced_.size();
    const auto [stop, status] =
        std::from_chars(rendered.data(), rendered.data() + rendered.size(), index);
    rendered.remove_prefix(static_cast<std::size_t>(stop - rendered.data()));
    if (status == std::errc{} && index < replaced_.size()) add(replaced_[index], false);
    if (rendered.starts_with(mark_close)) rendered.remove_prefix(1);
  }
  add(rendered, true);
  return segments;
}

}  // namespace llorch
