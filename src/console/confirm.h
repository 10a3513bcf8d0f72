// A question before something is lost: asked only where a person can answer. Threads: one.
#pragma once

#include <string_view>

namespace llorch {

// Whether stdin and stderr are a terminal, so that someone reads and can answer.
bool can_ask();
// Prints "QUESTION [y/N] " on stderr and reads a line; only y or yes is consent.
bool confirm(std::string_view question);
// What a line of answer says.
bool is_consent(std::string_view answer);

}  // namespace llorch
