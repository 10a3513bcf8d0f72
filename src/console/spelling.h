// The word someone meant: nearest by edit distance. Threads: any. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace llorch {

// Insertions, deletions, replacements and swaps of neighbours that turn one into the other.
std::size_t edit_distance(std::string_view from, std::string_view to);
// Empty when none is near: more than a third of the longer word differs.
std::string nearest_word(std::string_view word, const std::vector<std::string>& known);

}  // namespace llorch
