#include "pool/variant_output.h"

#include <boost/json.hpp>
#include <fmt/format.h>

#include "base/limits.h"
#include "console/table.h"
#include "console/terminal.h"

namespace llorch {
namespace {

namespace json = boost::json;

bool is_original(const VariantRecord& record, const Variant& variant) {
  return variant.path == record.original.path;
}

}  // namespace

std::string state_of(const PoolContext& context, const VariantRecord& record,
                     const Variant& variant, const std::string& in_use) {
  const bool used = variant.path == in_use;
  if (is_original(record, variant)) return used ? "original in use" : "original";
  if (used) return "in use";
  return context.files.exists(context.root.path / variant.path) ? "kept" : "removed";
}

json::array variants_json(const PoolContext& context, const VariantRecord& record,
                          const std::string& in_use) {
  json::array variants;
  for (const auto& variant : record.variants) {
    auto object = to_json(variant, false);
    object["state"] = state_of(context, record, variant, in_use);
    object["in_use"] = variant.path == in_use;
    if (variant.figures) {
      object["within_guard"] = variant.figures->tokens >= limits::perplexity_tokens_min &&
                               variant.figures->rise_percent <= limits::perplexity_rise_percent_max;
    }
    variants.push_back(std::move(object));
  }
  return variants;
}

std::string variants_text(const PoolContext& context, const VariantRecord& record,
                          const std::string& in_use) {
  Table table({{"TYPE"},
               {"SIZE", true},
               {"MEMORY", true},
               {"PREFILL", true},
               {"DECODE", true},
               {"PERPLEXITY", true},
               {"RISE", true},
               {"STATE"}});
  std::int64_t tokens = 0;
  for (const auto& variant : record.variants) {
    std::vector<std::string> cells = {variant.type, human_bytes(variant.size_bytes),
                                      human_bytes(variant.memory_bytes)};
    if (const auto& figures = variant.figures) {
      tokens = figures->tokens;
      cells.push_back(fmt::format("{:.0f}", figures->prefill_tokens_per_second));
      cells.push_back(fmt::format("{:.0f}", figures->decode_tokens_per_second));
      cells.push_back(fmt::format("{:.3f}", figures->perplexity));
      cells.push_back(
          is_original(record, variant) ? "" : fmt::format("{:+.2f}%", figures->rise_percent));
    } else {
      cells.insert(cells.end(), 4, "");
    }
    cells.push_back(state_of(context, record, variant, in_use));
    table.add(std::move(cells));
  }
  return table.render() +
         fmt::format("Speeds in tokens a second, one stream; perplexity over {} tokens.\n", tokens);
}

}  // namespace llorch
