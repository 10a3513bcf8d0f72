#include "pool/optimize_run.h"

#include <algorithm>
#include <boost/json.hpp>
#include <cmath>
#include <fmt/format.h>

#include "base/limits.h"
#include "console/waiting_line.h"
#include "protocol/json_parse.h"

namespace llorch {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

Code code_of_exit(int status) {
  switch (status) {
    case exit_usage:
      return Code::invalid_request;
    case exit_not_found:
      return Code::not_found;
    case exit_denied:
      return Code::forbidden;
    case exit_conflict:
      return Code::conflict;
    default:
      return Code::backend_error;
  }
}

// What llorch-candled itself said of its failure: its "error:" and "next:" lines.
Error failure_of(const RunOutcome& outcome, const std::string& what) {
  Error error{.code = code_of_exit(outcome.exit_status), .message = what + ": it ended early"};
  if (outcome.exit_status == exit_no_room) {
    const bool disk = outcome.err.contains("disk") || outcome.err.contains("space");
    error.code = disk ? Code::insufficient_storage : Code::insufficient_memory;
  }
  for (std::size_t at = 0; at < outcome.err.size();) {
    const auto end = std::min(outcome.err.find('\n', at), outcome.err.size());
    const auto line = outcome.err.substr(at, end - at);
    if (line.starts_with("error: ")) error.message = what + ": " + line.substr(7);
    if (line.starts_with("next: ")) error.next = line.substr(6);
    at = end + 1;
  }
  return error;
}

// Runs it to its end with a sign of life meanwhile. Gives its JSON.
Result<json::object> run_candled(const PoolContext& context, const CandledRun& run,
                                 const std::vector<std::string>& extra, const std::string& what,
                                 std::int64_t limit_ms) {
  RunRequest request;
  request.argv = {(context.program_folder / "llorch-candled").string(),
                  "--model",
                  run.model.string(),
                  "--model-id",
                  run.id,
                  "--backend",
                  run.backend};
  request.argv.insert(request.argv.end(), extra.begin(), extra.end());
  request.limit_ms = limit_ms;
  request.environment = {{"LLORCH_ROOT", context.root.path.string()}};
  const bool live = context.messages.interactive;
  const auto start = context.clock.now();
  WaitingLine waiting([&](std::string_view bytes) { context.draw(std::string(bytes)); }, live);
  if (!live) context.say(what);
  request.tick = [&] {
    const auto seconds = static_cast<int>(elapsed_ms(start, context.clock.now()) / 1000);
    waiting.show(fmt::format("{}  {} s", what, seconds));
  };
  const auto outcome = context.processes.run(request);
  waiting.clear();
  if (!outcome) {
    Error error = outcome.error();
    error.next = "build llorch-candled; it belongs into " + context.program_folder.string();
    return fail(std::move(error));
  }
  if (outcome->timed_out) {
    return fail(Code::timeout, fmt::format("{}: longer than {} minutes", what, limit_ms / 60'000),
                "try a smaller model or shorter texts");
  }
  if (outcome->exit_status != exit_ok) return fail(failure_of(*outcome, what));
  auto document = parse_json_object(outcome->out, limits::optimize_record_bytes_max);
  if (!document) return fail(Code::internal, what + ": llorch-candled printed no JSON");
  return document;
}

double number_of(const json::object& object, std::string_view key) {
  const auto* value = object.if_contains(key);
  boost::system::error_code ignored;
  return value != nullptr && value->is_number() ? value->to_number<double>(ignored) : 0;
}

// Adds one text's report; `squares` gathers what the standard error needs.
void add_report(const json::object& report, VariantFigures& figures, double& squares) {
  const auto scored = static_cast<std::int64_t>(number_of(report, "tokens_scored"));
  const double perplexity = number_of(report, "perplexity");
  const double error = perplexity > 0 ? number_of(report, "stderr") / perplexity : 0;
  squares += std::pow(error * static_cast<double>(scored), 2);
  figures.tokens += static_cast<std::int64_t>(number_of(report, "tokens"));
  figures.tokens_scored += scored;
  figures.prefill_tokens_per_second =
      std::max(figures.prefill_tokens_per_second, number_of(report, "prefill_tokens_per_second"));
  figures.decode_tokens_per_second =
      std::max(figures.decode_tokens_per_second, number_of(report, "decode_tokens_per_second"));
  const auto* losses = report.if_contains("chunk_loss");
  if (losses == nullptr || !losses->is_array()) return;
  for (const auto& loss : losses->get_array()) {
    boost::system::error_code ignored;
    if (loss.is_number()) figures.losses.push_back(loss.to_number<double>(ignored));
  }
}

}  // namespace

Result<void> run_requantize(const PoolContext& context, const CandledRun& run,
                            const std::string& type, const fs::path& out) {
  const auto made = run_candled(context, run, {"--optimize", type, "--out", out.string()},
                                "making " + run.id + " as " + type, limits::requantize_ms_max);
  if (!made) return fail(made.error());
  return {};
}

Result<VariantFigures> run_measure(const PoolContext& context, const CandledRun& run,
                                   const std::string& type, const std::vector<fs::path>& texts) {
  VariantFigures figures;
  double squares = 0;
  for (const auto& text : texts) {
    const auto report =
        run_candled(context, run, {"--perplexity", text.string()},
                    fmt::format("measuring {} as {} on {}", run.id, type, text.filename().string()),
                    limits::perplexity_ms_max);
    if (!report) return fail(report.error());
    add_report(*report, figures, squares);
  }
  double sum = 0;
  for (const double loss : figures.losses) sum += loss;
  if (figures.tokens_scored <= 0 || figures.losses.empty()) {
    return fail(Code::internal, "measuring " + run.id + ": llorch-candled scored no token");
  }
  const auto scored = static_cast<double>(figures.tokens_scored);
  figures.perplexity = std::exp(sum / scored);
  figures.perplexity_error = figures.perplexity * std::sqrt(squares) / scored;
  return figures;
}

}  // namespace llorch
