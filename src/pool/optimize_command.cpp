// llorch-pool models optimize
#include <boost/json.hpp>
#include <fmt/format.h>

#include "base/limits.h"
#include "console/json_output.h"
#include "console/report.h"
#include "pool/commands.h"
#include "pool/optimize.h"
#include "pool/variant_output.h"

namespace llorch {
namespace {

struct Options {
  OptimizeOptions optimize;
  bool original = false;
  bool json = false;
};

std::string type_of(const VariantRecord& record, const std::string& path) {
  const auto* variant = record.find(path);
  return variant != nullptr ? variant->type : record.original.quantization;
}

std::string verdict_text(const Optimized& result, const Options& options) {
  const auto& record = result.record;
  const auto in_use = type_of(record, result.in_use);
  const auto& id = record.id;
  if (options.original || !result.verdict) return id + " serves as " + in_use + "\n";
  const auto guard = limits::perplexity_rise_percent_max;
  const auto best = type_of(record, result.best);
  if (result.best == result.in_use) {
    return fmt::format("{} serves as {}, the best with a rise of at most {} %\n", id, in_use,
                       guard);
  }
  return fmt::format(
      "The best with a rise of at most {} % is {}; {} still serves as {}\n"
      "next: llorch-pool models optimize {} --use\n",
      guard, best, id, in_use, id);
}

void print_result(const PoolContext& context, const Optimized& result, const Options& options) {
  const auto& record = result.record;
  if (options.json) {
    print_json({{"id", record.id},
                {"in_use", type_of(record, result.in_use)},
                {"best", type_of(record, result.best)},
                {"verdict", result.verdict},
                {"changed", result.changed},
                {"rise_percent_max", limits::perplexity_rise_percent_max},
                {"variants", variants_json(context, record, result.in_use)}});
    return;
  }
  std::string text;
  if (!record.variants.empty()) text += variants_text(context, record, result.in_use);
  print_text(text + verdict_text(result, options));
}

int optimize_command(const PoolContext& context, const Options& options) {
  const auto& wanted = options.optimize;
  const auto result =
      options.original ? restore_original(context, wanted.model) : optimize_model(context, wanted);
  if (!result) return report(result.error());
  print_result(context, *result, options);
  if (result->changed) {
    context.say("workers that run keep what they have loaded; new ones load the new layout");
  }
  if (options.original || result->verdict) return exit_ok;
  const auto& variants = result->record.variants;
  const auto tokens = variants.front().figures ? variants.front().figures->tokens : 0;
  const auto why = fmt::format("{} tokens are too few for a verdict: {} are needed", tokens,
                               limits::perplexity_tokens_min);
  if (!wanted.use) {
    print_warning(why);
    return exit_ok;
  }
  return report(Error{.code = Code::invalid_request,
                      .message = "model '" + wanted.model + "': not changed: " + why,
                      .next = "measure on the bundled texts: leave out --text"},
                exit_failure);
}

}  // namespace

void add_optimize_command(CLI::App& group, PoolAction& chosen) {
  add_command<Options>(
      group, chosen, "optimize",
      "Make and measure other layouts of a model's weights: speed, memory, perplexity",
      "  llorch-pool models optimize smollm2\n"
      "  llorch-pool models optimize smollm2 --use\n"
      "  llorch-pool models optimize smollm2 --original\n",
      [](CLI::App& command, Options& options) {
        auto& wanted = options.optimize;
        command.add_option("model", wanted.model, "Id")->required();
        auto* const use =
            command.add_flag("--use", wanted.use, "Let the best within the guard serve");
        command.add_flag("--keep", wanted.keep, "Keep the files of the others too");
        command.add_flag("--fresh", wanted.fresh, "Measure again what was measured before");
        command.add_option("--types", wanted.types, "Layouts to try (default q8_0,q4_0)")
            ->delimiter(',');
        command.add_option("--text", wanted.texts, "Texts to measure on (default bench/data)");
        command.add_option("--backend", wanted.backend, "Where to measure (default cpu)");
        command.add_flag("--original", options.original, "Go back to the original file")
            ->excludes(use);
        add_json_flag(command, options.json);
      },
      optimize_command);
}

}  // namespace llorch
