// What ssh's own messages mean to a person: which error it is, and what to do next.
// Pure. Threads: any.
#pragma once

#include <string_view>

#include "base/result.h"
#include "ssh/target.h"

namespace llorch {

// Of an ssh that ended with 255, from what it wrote to its log. Never empty.
// Codes: forbidden (host key unknown or changed, key refused), unreachable (no such name, refused,
// no route, connection lost), timeout (nobody answers), invalid_request (ssh's own configuration).
Error explain_ssh_failure(const SshTarget& target, std::string_view log);
// Of a command line that found no llorch-pool there (status 127) or may not run it (126).
Error explain_no_pool(const PoolHost& host, int status);

}  // namespace llorch
