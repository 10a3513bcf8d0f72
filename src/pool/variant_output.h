// The layouts of a model's weights as `models info` and `models optimize` show them. Threads: any.
#pragma once

#include <boost/json/fwd.hpp>
#include <string>

#include "pool/context.h"
#include "pool/variants.h"

namespace llorch {

// "original", "in use", "original in use", "kept", or "removed": made again on demand.
std::string state_of(const PoolContext& context, const VariantRecord& record,
                     const Variant& variant, const std::string& in_use);

// [{type, path, size_bytes, memory_bytes, …figures, state, in_use, within_guard}]
boost::json::array variants_json(const PoolContext& context, const VariantRecord& record,
                                 const std::string& in_use);
// A table with a line a layout, and what its columns mean.
std::string variants_text(const PoolContext& context, const VariantRecord& record,
                          const std::string& in_use);

}  // namespace llorch
