// llorch-candled: one model on this machine, served over HTTP. Wiring only.
#include <boost/asio/io_context.hpp>
#include <utility>
#include <variant>

#include "base/log.h"
#include "console/report.h"
#include "engine/llama_engine.h"
#include "engine/perplexity.h"
#include "engine/requantize.h"
#include "pool/root.h"
#include "sys/file_system.h"
#include "worker/backend_list.h"
#include "worker/options.h"
#include "worker/serve.h"
#include "worker/tool_modes.h"

int main(int argc, char** argv) {
  using namespace llorch;
  const auto settings =
      load_settings(default_settings_sources(find_root(*make_file_system()).path));
  if (!settings) return report(settings.error());
  auto command = parse_worker_command(argc, argv, *settings);
  if (!command) return report(command.error());
  if (const auto* done = std::get_if<ExitNow>(&*command)) return done->code;
  if (const auto* list = std::get_if<ListBackends>(&*command)) {
    return print_backends(list_backend_devices(), list->json);
  }
  if (auto* tool = std::get_if<RequantizeModel>(&*command)) {
    return run_requantize(std::move(*tool), *settings, requantize);
  }
  if (auto* tool = std::get_if<MeasurePerplexity>(&*command)) {
    return run_perplexity(std::move(*tool), *settings, measure_perplexity);
  }
  if (auto* tool = std::get_if<CalibrateModel>(&*command)) {
    return run_calibration(std::move(*tool), *settings, calibrate_thoroughly);
  }
  auto& options = std::get<WorkerOptions>(*command);
  if (const auto found = resolve_worker_model(options, *settings); !found) {
    return report(found.error());
  }
  const auto engine = options.engine;
  const EngineLoader loader = [engine](const std::function<void(double)>& progress) {
    return load_llama_engine(engine, progress);
  };
  return serve_until_stopped(std::move(options), loader);
}
