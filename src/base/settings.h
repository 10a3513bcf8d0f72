// Settings in one layered view: flag > LLORCH_* environment > llorch.toml > default. Flags and
// defaults belong to each program's options struct; this holds the two layers between them.
// Threads: immutable after load. Lifetime: a plain value.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace llorch {

// Sampling defaults of [models.ID.sampling]; ranges are those of a request.
struct SamplingSettings {
  std::optional<double> temperature, top_p, min_p;
  std::optional<double> repetition_penalty, presence_penalty, frequency_penalty;
  std::optional<std::uint32_t> top_k;
};

// [models.ID]. An absent field leaves the choice to the program that loads the model.
struct ModelSettings {
  std::optional<std::int64_t> ctx_tokens;  // per slot, 1 or more
  std::optional<std::int32_t> slots;       // 1..256
  std::optional<std::int32_t> gpu_layers;  // absent = "auto"
  std::string kv_type;                     // f32, f16, bf16, q8_0 …; empty = f16
  SamplingSettings sampling;
  std::optional<std::int64_t> idle_ttl_ms;  // idle_ttl = "10m", "90s", "500ms" or seconds
  std::optional<std::int32_t> keep;         // workers kept although idle
  bool pin = false;                         // never unloaded
};

// [pools.NAME]: a host that `llorch` and orchestratord may reach over ssh.
struct PoolSettings {
  std::string host;
  std::string user;     // empty = ssh's own default
  std::string root;     // LLORCH_ROOT there; empty = its own default
  std::string command;  // path of llorch-pool there; empty = found by the usual places
};

// [[external]]: an OpenAI-compatible server beside the workers.
struct ExternalSettings {
  std::string name;
  std::string url;                            // with or without the "/v1" at its end
  std::string key_env;                        // the variable that holds its key: no secrets here
  std::optional<std::string> key;             // what that variable holds; absent: it is not set
  std::map<std::string, std::string> models;  // our name → the server's own
  std::int32_t slots = 4;                     // jobs that it is sent at once, all models together
  bool fallback = false;                      // used only when no own worker can serve
};

// Where values come from; tests give their own.
struct SettingsSources {
  std::function<std::optional<std::string>(const char* name)> environment;
  // Nearest first: it wins key by key, in [models.ID] too, and with a whole [pools.NAME] or list of
  // [[external]]. Absent ones are skipped.
  std::vector<std::filesystem::path> files;
  bool files_required = false;  // set when $LLORCH_CONFIG named the file
};

class Settings {
 public:
  // The value of a plain key, by its name in llorch.toml: "orchestrator_url" or, in a program's
  // table, "worker.slots". The variable is LLORCH_ORCHESTRATOR_URL or LLORCH_WORKER_SLOTS, and
  // wins over the file. The key must be one of setting_keys(); nullopt = set nowhere.
  std::optional<std::string> text(std::string_view key) const;
  std::optional<std::int64_t> integer(std::string_view key) const;
  std::optional<double> number(std::string_view key) const;
  std::optional<bool> flag(std::string_view key) const;
  // "environment LLORCH_WORKER_SLOTS" or "/etc/llorch/llorch.toml:12", for messages.
  std::string origin(std::string_view key) const;

  // The table [models.ID]; empty when there is none.
  ModelSettings model(std::string_view id) const;
  // The id an alias stands for, else `name` itself. Aliases do not chain.
  std::string resolve_alias(std::string_view name) const;

  std::map<std::string, ModelSettings, std::less<>> models;
  std::map<std::string, std::string, std::less<>> aliases;
  std::map<std::string, PoolSettings, std::less<>> pools;
  std::vector<ExternalSettings> external;

  struct Value {
    std::string text;
    std::string origin;
  };
  std::map<std::string, Value, std::less<>> values;
  // Which keys of [models.ID] a file has set: "models.qwen.pin". An absent field does not tell.
  std::set<std::string, std::less<>> model_keys;
};

enum class SettingType { text, integer, number, flag };
struct SettingKey {
  std::string_view key;
  SettingType type;
};
// Every plain key that llorch.toml and the environment may set.
const std::vector<SettingKey>& setting_keys();

// $LLORCH_CONFIG alone when set; else the root's llorch.toml, ~/.config/llorch/, /etc/llorch/.
SettingsSources default_settings_sources(const std::filesystem::path& root);

// Reads and checks both layers. Errors: invalid_request with file and line (or the variable) for
// an unknown key, a wrong type, a value out of range, text that is not TOML; not_found when
// $LLORCH_CONFIG names no file; forbidden for one that cannot be read.
Result<Settings> load_settings(const SettingsSources& sources);

// Reads one file's text into `into`, where keys already set stay as they are. `file` is its name in
// messages. Errors: invalid_request, as above.
Result<void> read_settings_text(std::string_view text, const std::string& file, Settings& into);

}  // namespace llorch
