// From token bytes to text that may be shown: whole UTF-8 characters only, nothing that could turn
// out to be a stop string. What has come out after token i is a pure function of tokens 0..i.
// Threads: one owner.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace llorch {

class TextStream {
 public:
  // Shape: stops as in the contract, none empty.
  explicit TextStream(std::vector<std::string> stops);

  struct Step {
    std::string text;     // to be shown now; valid UTF-8, bad bytes became U+FFFD
    bool held = false;    // something is kept back
    int stop_index = -1;  // >= 0: this stop string is complete; nothing more will come
  };
  // Adds the bytes of one token.
  Step feed(std::string_view piece);
  // The end without a stop string: everything kept back, valid UTF-8.
  std::string flush();
  const std::string& stop(int index) const { return stops_[static_cast<std::size_t>(index)]; }

 private:
  std::size_t held_from(std::size_t size) const;

  std::vector<std::string> stops_;
  std::string kept_;  // not shown yet
};

}  // namespace llorch
