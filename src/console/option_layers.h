// The values of a daemon's options: flag over environment over file over default, every one that is
// out of range noted. Threads: one, at start.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/settings.h"

namespace llorch {

class OptionLayers {
 public:
  explicit OptionLayers(const Settings& settings) : settings_(settings) {}

  // `key`: the setting, "worker.itl_target_ms"; its flag is then "--itl-target-ms".
  void text(std::string& into, const std::optional<std::string>& flag, const char* key) {
    if (const auto found = flag ? flag : settings_.text(key)) into = *found;
  }
  template <class T>
  void integer(T& into, std::optional<std::int64_t> flag, const char* key, std::int64_t least,
               std::int64_t most) {
    const auto found = flag ? flag : settings_.integer(key);
    if (!found) return;
    if (*found < least || *found > most) return refuse_range(key, *found, least, most);
    into = static_cast<typename Bare<T>::type>(*found);
  }
  // The index of the word that was chosen among `words`; the first is the default.
  std::size_t choice(const std::optional<std::string>& flag, const char* key,
                     std::initializer_list<std::string_view> words);
  void refuse(std::string field, std::string constraint, std::string message, std::string value) {
    violations_.push_back({std::move(field), std::move(constraint), std::move(message), value});
  }
  std::vector<Violation> take() { return std::move(violations_); }

 private:
  template <class T>
  struct Bare {
    using type = T;
  };
  template <class T>
  struct Bare<std::optional<T>> {
    using type = T;
  };
  void refuse_range(const char* key, std::int64_t value, std::int64_t least, std::int64_t most);

  const Settings& settings_;
  std::vector<Violation> violations_;
};

struct ExitNow {  // --help, --version or a usage error, already printed
  int code = 0;
};

// The one error of a command line with such values.
Error wrong_values(std::string_view program, std::vector<Violation> violations);

}  // namespace llorch
