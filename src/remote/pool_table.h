// [pools.NAME] tables of an llorch.toml, added and removed as text, so that comments and everything
// else in the file stay as they were. Pure. Threads: any.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "base/settings.h"

namespace llorch {

// The file's text with one more table at its end.
// Errors: conflict (there is one), invalid_request (a name that is no bare key of 1..64 letters,
// digits, "_" and "-"; fields that no ssh could be given; a file that is not llorch.toml's).
Result<std::string> with_pool(std::string_view text, const std::string& name,
                              const PoolSettings& pool);
// The text without it. Comments inside the table go with it.
// Errors: not_found, invalid_request (written in a way this does not take apart; a bad file).
Result<std::string> without_pool(std::string_view text, const std::string& name);

}  // namespace llorch
