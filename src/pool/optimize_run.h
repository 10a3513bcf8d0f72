// The two runs of llorch-candled that `models optimize` is made of. Threads: one, blocks.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "pool/context.h"
#include "pool/variants.h"

namespace llorch {

struct CandledRun {
  std::string id;
  std::filesystem::path model;
  std::string backend;
};

// Errors: those that llorch-candled prints, not_found (it is not beside llorch-pool), timeout.
Result<void> run_requantize(const PoolContext& context, const CandledRun& run,
                            const std::string& type, const std::filesystem::path& out);

// Figures over all texts together: losses side by side, the best speeds.
Result<VariantFigures> run_measure(const PoolContext& context, const CandledRun& run,
                                   const std::string& type,
                                   const std::vector<std::filesystem::path>& texts);

}  // namespace llorch
