// The version of the programs, as set in the root CMakeLists.txt. Threads: any.
#pragma once

#include <string_view>

namespace llorch {

std::string_view version();  // "0.1.0"

}  // namespace llorch
