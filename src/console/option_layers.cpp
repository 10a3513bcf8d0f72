#include "console/option_layers.h"

#include <algorithm>

namespace llorch {
namespace {

// "worker.itl_target_ms" -> "--itl-target-ms"
std::string flag_name(std::string_view key) {
  std::string name = "--" + std::string(key.substr(key.find('.') + 1));
  std::ranges::replace(name, '_', '-');
  return name;
}

}  // namespace

std::size_t OptionLayers::choice(const std::optional<std::string>& flag, const char* key,
                                 std::initializer_list<std::string_view> words) {
  const auto found = flag ? flag : settings_.text(key);
  if (!found) return 0;
  const auto* const at = std::find(words.begin(), words.end(), *found);
  if (at != words.end()) return static_cast<std::size_t>(at - words.begin());
  std::string all;
  for (const auto word : words) all += (all.empty() ? "" : " or ") + std::string(word);
  refuse(flag_name(key), "one of", "must be " + all, *found);
  return 0;
}

void OptionLayers::refuse_range(const char* key, std::int64_t value, std::int64_t least,
                                std::int64_t most) {
  refuse(flag_name(key), "range", "must be " + std::to_string(least) + ".." + std::to_string(most),
         std::to_string(value));
}

Error wrong_values(std::string_view program, std::vector<Violation> violations) {
  Error error{.code = Code::invalid_request, .message = {}};
  error.message = std::string(program) + ": " + std::to_string(violations.size()) +
                  (violations.size() == 1 ? " value is wrong" : " values are wrong");
  error.next = std::string(program) + " --help";
  error.violations = std::move(violations);
  return error;
}

}  // namespace llorch
