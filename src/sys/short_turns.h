// The calling thread from now on asks for short turns: it runs often and for a moment, and waits
// less for those that compute. What it gets in all stays the same. Linux 6.12 and later; elsewhere
// nothing happens. Threads: any, each for itself.
#pragma once

namespace llorch {

void ask_for_short_turns();

}  // namespace llorch
