// The flags of llorch-candled: parsed, merged with environment and llorch.toml, and checked once.
// Threads: one, at start.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "base/result.h"
#include "base/settings.h"
#include "console/option_layers.h"
#include "engine/llama_engine.h"
#include "gguf/model_shape.h"
#include "protocol/worker_api.h"

namespace llorch {

struct WorkerOptions {
  std::string model;      // a GGUF file, or a catalog id of the root
  std::string model_id;   // empty: the catalog id, else the file name without .gguf
  std::string worker_id;  // empty: worker-<backend>-<6 random>
  std::string host = "127.0.0.1";
  std::string advertise;         // the host that is registered; needed with a wildcard `host`
  std::uint16_t port = 0;        // 0: any free one
  std::string pool_host;         // empty: this machine's name
  std::string orchestrator_url;  // empty: registered nowhere
  std::int64_t queue = 64;       // jobs accepted beyond the slots
  std::int64_t drain_ms = 30'000;
  std::string worker_token;  // LLORCH_WORKER_TOKEN: wanted from clients; empty: none
  std::string api_token;     // LLORCH_API_TOKEN: sent to the orchestrator; empty: none
  std::string log_level = "info";
  bool slots_auto = false;            // asked for by name: [models.ID] does not overrule it
  EngineOptions engine;               // model_path is filled in by resolve_worker_model()
  SamplingSettings sampling;          // of [models.ID]: defaults of /v1
  std::string quantization;           // of the file: "Q4_1"; filled in by find_worker_model()
  std::optional<LossyLayout> layout;  // where the file is another model's in a lossy type
};

// What a command line asks for.
struct ListBackends {
  bool json = false;
};
// These work on the model of `worker`, print JSON and exit.
struct RequantizeModel {
  WorkerOptions worker;
  std::string type;
  std::string out_path;
};
struct MeasurePerplexity {
  WorkerOptions worker;
  std::string text_path;
};
struct CalibrateModel {
  WorkerOptions worker;
  bool json = false;
};
using WorkerCommand = std::variant<WorkerOptions, ListBackends, RequantizeModel, MeasurePerplexity,
                                   CalibrateModel, ExitNow>;

// Flag over environment over file over default. Errors: invalid_request with every violation.
Result<WorkerCommand> parse_worker_command(int argc, const char* const* argv,
                                           const Settings& settings);

// The rules that no single flag can check: id grammar, bind and advertise, token length.
// Errors: invalid_request with every violation.
Result<void> check_worker_options(const WorkerOptions& options);

// Finds the model's file, checks its header, and fills in model_path, model_id, worker_id,
// pool_host and what [models.ID] says. Errors: model_not_found, not_found, model_load_failed.
Result<ModelShape> find_worker_model(WorkerOptions& options, const Settings& settings);
// The same, and that the model fits this machine's memory and --kv-dir is a private folder.
// Errors: insufficient_memory and those of prepare_kv_folder() too.
Result<void> resolve_worker_model(WorkerOptions& options, const Settings& settings);

// [A-Za-z0-9_-]{1,256}
bool is_worker_id(std::string_view text);

}  // namespace llorch
