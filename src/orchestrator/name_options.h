// --allowed-hosts and --cors-origins: lists with commas, checked once. Threads: one, at start.
#pragma once

#include <string_view>
#include <vector>

#include "api/auth.h"
#include "base/result.h"

namespace llorch {

// Every violation is added to `found`. `token_set`: then "*" may stand for any origin; without keys
// it would open this machine to every page its user looks at.
AllowedNames allowed_names(std::string_view hosts, std::string_view origins, bool token_set,
                           std::vector<Violation>& found);

}  // namespace llorch
