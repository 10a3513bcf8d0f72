// llorch-candled: one model on this machine, served over HTTP. Wiring only.
#include <boost/asio/io_context.hpp>
#include <variant>

#include "base/log.h"
#include "console/report.h"
#include "engine/llama_engine.h"
#include "pool/root.h"
#include "sys/file_system.h"
#include "worker/backend_list.h"
#include "worker/options.h"
#include "worker/serve.h"

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
