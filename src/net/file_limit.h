// How many files this process may have open, and how many connections that leaves room for.
// Threads: one, at start.
#pragma once

#include <cstddef>

namespace llorch::net {

// Raises the soft limit of this process to its hard one: shells start programs with 1024. Returns
// the limit that is in force then.
std::size_t raise_file_limit();

// limits::connections_max, or less where `files` leave no room for more. Past it a client can
// still be told so; out of files nobody could.
std::size_t connections_within(std::size_t files);

}  // namespace llorch::net
