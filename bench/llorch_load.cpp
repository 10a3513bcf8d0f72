// llorch-load: a load client for any OpenAI-compatible server. Wiring only.
#include "console/json_output.h"
#include "console/report.h"
#include "figures.h"
#include "load.h"
#include "load_options.h"
#include "net/run.h"

int main(int argc, char** argv) {
  using namespace llorch;
  const auto parsed = bench::parse_load_options(argc, argv);
  if (const auto* code = std::get_if<int>(&parsed)) return *code;
  const auto& options = std::get<bench::LoadOptions>(parsed);
  const auto figures = net::run_blocking<bench::Figures>(
      [&](asio::io_context& io) { return bench::run_load(io, options); });
  if (!figures) return report(figures.error());
  print_text(options.json ? bench::to_json(*figures) + "\n" : bench::to_text(*figures));
  return figures->errors.empty() ? exit_ok : exit_partly_done;
}
