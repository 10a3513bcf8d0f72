#include "worker/tool_modes.h"

#include <boost/json.hpp>
#include <chrono>
#include <filesystem>
#include <fmt/format.h>
#include <utility>

#include "base/limits.h"
#include "base/log.h"
#include "console/json_output.h"
#include "console/progress.h"
#include "console/report.h"
#include "console/table.h"
#include "console/terminal.h"
#include "sys/file_system.h"

namespace llorch {
namespace {

namespace json = boost::json;
using std::chrono::steady_clock;

// "q8_0  45%", redrawn on a terminal, a line each five seconds elsewhere.
class Percentage {
 public:
  explicit Percentage(std::string label) : label_(std::move(label)) {}
  ~Percentage() {
    if (terminal_.interactive && drawn_) write_to_stderr()("\n");
  }
  Percentage(const Percentage&) = delete;
  Percentage& operator=(const Percentage&) = delete;

  void update(double done) {
    const auto now = steady_clock::now();
    const auto pause =
        terminal_.interactive ? std::chrono::milliseconds{100} : std::chrono::milliseconds{5'000};
    if (now - shown_ < pause) return;
    shown_ = now;
    drawn_ = true;
    const auto text = fmt::format("{}  {:3.0f}%", label_, 100 * done);
    write_to_stderr()(terminal_.interactive ? "\r" + text : text + "\n");
  }

 private:
  std::string label_;
  Terminal terminal_ = terminal_of(2);
  steady_clock::time_point shown_ = steady_clock::now();
  bool drawn_ = false;
};

json::object row_json(const CalibrationRow& row, bool chosen) {
  return {{"threads", row.choice.threads},
          {"batch_tokens", row.choice.batch_tokens},
          {"flash_attention", row.choice.flash_attention},
          {"decode_ms", row.decode_ms},
          {"prefill_ms_per_token", row.prefill_ms_per_token},
          {"chosen", chosen}};
}

std::string calibration_table(const Calibration& done) {
  Table table({{.title = "threads", .right = true},
               {.title = "batch", .right = true},
               {.title = "flash attention"},
               {.title = "4 streams, step", .right = true},
               {.title = "prompt", .right = true},
               {.title = ""}});
  for (std::size_t i = 0; i < done.rows.size(); ++i) {
    const auto& row = done.rows[i];
    const bool measured = row.decode_ms > 0;
    table.add({std::to_string(row.choice.threads), std::to_string(row.choice.batch_tokens),
               row.choice.flash_attention ? "on" : "off",
               measured ? fmt::format("{:.1f} ms", row.decode_ms) : "",
               measured ? fmt::format("{:.0f} tok/s", 1000 / row.prefill_ms_per_token) : "",
               i == done.best ? "chosen" : ""});
  }
  return table.render();
}

}  // namespace

int run_requantize(RequantizeModel command, const Settings& settings, const Requantizer& make) {
  const auto files = make_file_system();
  auto& worker = command.worker;
  if (const auto found = find_worker_model(worker, settings); !found) return report(found.error());
  const auto start = steady_clock::now();
  Percentage shown(command.type);
  const auto out = std::filesystem::absolute(command.out_path).lexically_normal().string();
  const auto made = make(*files,
                         {.model_path = worker.engine.model_path,
                          .type = command.type,
                          .out_path = out,
                          .threads = worker.engine.threads},
                         [&](double done) { shown.update(done); });
  if (!made) return report(made.error());
  print_json({{"model", worker.model_id},
              {"type", made->type},
              {"from", made->from},
              {"out", out},
              {"source_bytes", made->source_bytes},
              {"weights_bytes", made->weights_bytes},
              {"file_bytes", made->file_bytes},
              {"seconds", std::chrono::duration<double>(steady_clock::now() - start).count()}});
  return exit_ok;
}

int run_perplexity(MeasurePerplexity command, const Settings& settings,
                   const PerplexityMeter& measure) {
  const auto files = make_file_system();
  auto& worker = command.worker;
  const auto text = files->read(command.text_path, limits::perplexity_text_bytes_max);
  if (!text) return report(text.error());
  worker.engine.slots = 1;
  worker.engine.ctx_tokens = limits::perplexity_chunk_tokens;
  if (const auto found = resolve_worker_model(worker, settings); !found) {
    return report(found.error());
  }
  Percentage shown("perplexity of " + worker.model_id);
  const auto found = measure(worker.engine, *text, [&](double done) { shown.update(done); });
  if (!found) return report(found.error());
  const bool enough = found->tokens >= limits::perplexity_tokens_min;
  if (!enough) {
    print_warning(fmt::format("{} tokens are too few for a verdict: {} are needed", found->tokens,
                              limits::perplexity_tokens_min));
  }
  print_json({{"model", worker.model_id},
              {"text", command.text_path},
              {"tokens", found->tokens},
              {"tokens_scored", found->tokens_scored},
              {"perplexity", found->perplexity},
              {"stderr", found->stderr_},
              {"tokens_per_second", found->tokens_per_second},
              {"enough_for_a_verdict", enough},
              {"prefill_tokens_per_second", found->prefill_tokens_per_second},
              {"decode_tokens_per_second", found->decode_tokens_per_second},
              {"chunk_tokens", limits::perplexity_chunk_tokens},
              {"chunk_loss", json::array(found->chunk_loss.begin(), found->chunk_loss.end())}});
  return exit_ok;
}

int run_calibration(CalibrateModel command, const Settings& settings, const Calibrator& calibrate) {
  auto& worker = command.worker;
  if (const auto found = resolve_worker_model(worker, settings); !found) {
    return report(found.error());
  }
  const auto done = calibrate(worker.engine);
  if (!done) return report(done.error());
  if (!command.json) {
    return exit_with_output(print_text(calibration_table(*done)) ? exit_ok : exit_failure);
  }
  json::array rows;
  for (std::size_t i = 0; i < done->rows.size(); ++i) {
    rows.push_back(row_json(done->rows[i], i == done->best));
  }
  print_json({{"model", worker.model_id}, {"rows", rows}});
  return exit_ok;
}

}  // namespace llorch
