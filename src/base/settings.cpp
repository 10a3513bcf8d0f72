#include "base/settings.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <charconv>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "base/checked_toml.h"
#include "base/limits.h"

namespace llorch {
namespace {

namespace fs = std::filesystem;

// "worker.slots" -> "LLORCH_WORKER_SLOTS"
std::string variable_of(std::string_view key) {
  std::string name = "LLORCH_";
  for (const char c : key) {
    name += c == '.' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  return name;
}

const SettingKey* find_key(std::string_view key) {
  const auto found = std::ranges::find(setting_keys(), key, &SettingKey::key);
  return found == setting_keys().end() ? nullptr : &*found;
}

template <class T>
std::optional<T> parse_whole(std::string_view text) {
  T value{};
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (status != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<bool> parse_flag(std::string_view text) {
  if (text == "true" || text == "1" || text == "yes" || text == "on") return true;
  if (text == "false" || text == "0" || text == "no" || text == "off") return false;
  return std::nullopt;
}

const char* wanted(SettingType type) {
  switch (type) {
    case SettingType::text:
      return "text";
    case SettingType::integer:
      return "a whole number";
    case SettingType::number:
      return "a number";
    case SettingType::flag:
      return "true or false";
  }
  return "";
}

bool fits_type(std::string_view text, SettingType type) {
  switch (type) {
    case SettingType::text:
      return true;
    case SettingType::integer:
      return parse_whole<std::int64_t>(text).has_value();
    case SettingType::number:
      return parse_whole<double>(text).has_value();
    case SettingType::flag:
      return parse_flag(text).has_value();
  }
  return false;
}

// "10m", "90s", "500ms", "2h" or a bare number of seconds.
std::optional<std::int64_t> parse_duration_ms(std::string_view text) {
  struct Unit {
    std::string_view suffix;
    std::int64_t ms;
  };
  constexpr std::array units = {Unit{"ms", 1}, Unit{"s", 1'000}, Unit{"m", 60'000},
                                Unit{"h", 3'600'000}, Unit{"", 1'000}};
  constexpr std::int64_t longest_ms = 366LL * 24 * 3'600'000;
  for (const auto& [suffix, ms] : units) {
    if (!text.ends_with(suffix)) continue;
    const auto count = parse_whole<std::int64_t>(text.substr(0, text.size() - suffix.size()));
    if (!count || *count < 0 || *count > longest_ms / ms) return std::nullopt;
    return *count * ms;
  }
  return std::nullopt;
}

// Reads one file into a Settings. Throws Refusal, caught in load_file(): the walk is deep, and
// every refusal ends it.
struct Refusal {
  std::string message;
};

class FileReader {
 public:
  FileReader(std::string file, Settings& into) : file_(std::move(file)), into_(into) {}

  void read(const toml::table& top) {
    for (const auto& [key, node] : top) {
      const std::string name(key.str());
      if (name == "models") {
        each_table(name, node,
                   [&](const std::string& id, const toml::table& table) { read_model(id, table); });
      } else if (name == "aliases") {
        for (const auto& [alias, target] : table_of(name, node)) {
          into_.aliases.try_emplace(std::string(alias.str()), text_of(name, target));
        }
      } else if (name == "pools") {
        each_table(name, node,
                   [&](const std::string& id, const toml::table& table) { read_pool(id, table); });
      } else if (name == "external") {
        read_externals(node);
      } else if (const auto* section = node.as_table()) {
        for (const auto& [inner, value] : *section) {
          read_plain(name + "." + std::string(inner.str()), value);
        }
      } else {
        read_plain(name, node);
      }
    }
  }

 private:
  [[noreturn]] void refuse(const toml::node& at, const std::string& why) const {
    throw Refusal{file_ + ":" + std::to_string(at.source().begin.line) + ": " + why};
  }
  [[noreturn]] void unknown(const toml::node& at, const std::string& key) const {
    refuse(at, "unknown key '" + key + "'");
  }

  const toml::table& table_of(const std::string& key, const toml::node& node) const {
    if (const auto* table = node.as_table()) return *table;
    refuse(node, "'" + key + "' must be a table");
  }
  std::string text_of(const std::string& key, const toml::node& node) const {
    if (const auto text = node.value_exact<std::string>()) return *text;
    refuse(node, "'" + key + "' must be text");
  }
  bool truth_of(const std::string& key, const toml::node& node) const {
    if (!node.is_boolean()) refuse(node, "'" + key + "' must be true or false");
    return node.value_or(false);
  }
  std::int64_t integer_of(const std::string& key, const toml::node& node, std::int64_t least,
                          std::int64_t most) const {
    const auto value = node.value_exact<std::int64_t>();
    if (!value || *value < least || *value > most) {
      refuse(node, "'" + key + "' must be a whole number in " + std::to_string(least) + ".." +
                       std::to_string(most));
    }
    return *value;
  }
  double number_of(const std::string& key, const toml::node& node, double least,
                   double most) const {
    const auto value = node.value<double>();
    if (!node.is_number() || !value || !(*value >= least && *value <= most)) {
      std::ostringstream why;
      why << "'" << key << "' must be a number in " << least << ".." << most;
      refuse(node, why.str());
    }
    return *value;
  }

  template <class Visit>
  void each_table(const std::string& key, const toml::node& node, const Visit& visit) const {
    for (const auto& [id, inner] : table_of(key, node)) {
      visit(std::string(id.str()), table_of(key + "." + std::string(id.str()), inner));
    }
  }

  void read_plain(const std::string& key, const toml::node& node) {
    const auto* known = find_key(key);
    if (known == nullptr) unknown(node, key);
    std::string text;
    if (known->type == SettingType::text) {
      text = text_of(key, node);
    } else if (known->type == SettingType::flag && node.is_boolean()) {
      text = node.value_or(false) ? "true" : "false";
    } else if (known->type == SettingType::integer && node.is_integer()) {
      text = std::to_string(node.value_or(std::int64_t{0}));
    } else if (known->type == SettingType::number && node.is_number()) {
      std::ostringstream out;
      out.precision(17);
      out << node.value_or(0.0);
      text = out.str();
    } else {
      refuse(node, "'" + key + "' must be " + wanted(known->type));
    }
    const std::string origin = file_ + ":" + std::to_string(node.source().begin.line);
    into_.values.try_emplace(key, Settings::Value{std::move(text), origin});
  }

  // Whether this file is the nearest that sets that key of a model; what others say is checked
  // only.
  bool is_first(const std::string& key) { return into_.model_keys.insert(key).second; }

  void read_sampling(const std::string& prefix, const toml::table& table, SamplingSettings& model) {
    for (const auto& [key, node] : table) {
      const std::string name(key.str());
      const std::string full = prefix + "." + name;
      SamplingSettings checked;
      SamplingSettings& into = is_first(full) ? model : checked;
      if (name == "temperature")
        into.temperature = number_of(full, node, 0, 2);
      else if (name == "top_p")
        into.top_p = number_of(full, node, 0, 1);
      else if (name == "min_p")
        into.min_p = number_of(full, node, 0, 1);
      else if (name == "repetition_penalty")
        into.repetition_penalty = number_of(full, node, 1e-6, 2);
      else if (name == "presence_penalty")
        into.presence_penalty = number_of(full, node, -2, 2);
      else if (name == "frequency_penalty")
        into.frequency_penalty = number_of(full, node, -2, 2);
      else if (name == "top_k")
        into.top_k = static_cast<std::uint32_t>(integer_of(full, node, 0, 1'000'000));
      else
        unknown(node, full);
    }
  }

  void read_model(const std::string& id, const toml::table& table) {
    ModelSettings& model = into_.models[id];
    for (const auto& [key, node] : table) {
      const std::string name(key.str());
      const std::string full = "models." + id + "." + name;
      if (name == "sampling") {
        read_sampling(full, table_of(full, node), model.sampling);
      } else {
        ModelSettings checked;
        read_model_key(name, full, node, is_first(full) ? model : checked);
      }
    }
  }

  void read_model_key(const std::string& name, const std::string& full, const toml::node& node,
                      ModelSettings& model) const {
    if (name == "ctx_tokens") {
      model.ctx_tokens = integer_of(full, node, 1, 1LL << 31);
    } else if (name == "slots") {
      model.slots = static_cast<std::int32_t>(integer_of(full, node, 1, limits::slots_max));
    } else if (name == "gpu_layers") {
      if (node.is_string() && node.value_or<std::string_view>("") == "auto") return;
      if (!node.is_integer()) refuse(node, "'" + full + "' must be \"auto\" or a whole number");
      model.gpu_layers = static_cast<std::int32_t>(integer_of(full, node, 0, 10'000));
    } else if (name == "kv_type") {
      model.kv_type = text_of(full, node);
      constexpr std::array known = {"f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"};
      if (std::ranges::find(known, model.kv_type) == known.end()) {
        refuse(node, "'" + full + "' must be one of f32 f16 bf16 q8_0 q5_1 q5_0 q4_1 q4_0");
      }
    } else if (name == "idle_ttl") {
      const auto text =
          node.is_integer() ? std::to_string(node.value_or(std::int64_t{-1})) : text_of(full, node);
      model.idle_ttl_ms = parse_duration_ms(text);
      if (!model.idle_ttl_ms) refuse(node, "'" + full + "' must be like \"10m\", \"90s\" or 60");
    } else if (name == "keep") {
      model.keep = static_cast<std::int32_t>(integer_of(full, node, 0, 1'000));
    } else if (name == "pin") {
      model.pin = truth_of(full, node);
    } else {
      unknown(node, full);
    }
  }

  void read_pool(const std::string& id, const toml::table& table) {
    PoolSettings pool;
    for (const auto& [key, node] : table) {
      const std::string name(key.str());
      const std::string full = "pools." + id + "." + name;
      if (name == "host")
        pool.host = text_of(full, node);
      else if (name == "user")
        pool.user = text_of(full, node);
      else if (name == "root")
        pool.root = text_of(full, node);
      else if (name == "command")
        pool.command = text_of(full, node);
      else
        unknown(node, full);
    }
    if (pool.host.empty()) refuse(table, "'pools." + id + "' needs a host");
    into_.pools.try_emplace(id, pool);
  }

  void read_externals(const toml::node& node) {
    const auto* list = node.as_array();
    if (list == nullptr) refuse(node, "'external' must be an array of tables: [[external]]");
    std::vector<ExternalSettings> servers;
    for (const auto& entry : *list) {
      auto external = read_external(table_of("external", entry));
      const bool named_before = std::ranges::any_of(
          servers, [&](const auto& other) { return other.name == external.name; });
      if (named_before) refuse(entry, "two [[external]] are named '" + external.name + "'");
      servers.push_back(std::move(external));
    }
    if (into_.external.empty()) into_.external = std::move(servers);
  }

  ExternalSettings read_external(const toml::table& table) const {
    ExternalSettings external;
    for (const auto& [key, value] : table) {
      const std::string name(key.str());
      const std::string full = "external." + name;
      if (name == "name")
        external.name = text_of(full, value);
      else if (name == "url")
        external.url = text_of(full, value);
      else if (name == "key_env")
        external.key_env = text_of(full, value);
      else if (name == "models")
        external.models = external_models(full, value);
      else if (name == "slots")
        external.slots =
            static_cast<std::int32_t>(integer_of(full, value, 1, limits::queue_jobs_max));
      else if (name == "fallback")
        external.fallback = truth_of(full, value);
      else
        unknown(value, full);
    }
    if (external.name.empty()) refuse(table, "[[external]] needs a name");
    if (external.url.empty()) refuse(table, "[[external]] needs a url");
    if (external.models.empty()) {
      refuse(table, "[[external]] needs models = [\"theirs\"] or models = { ours = \"theirs\" }");
    }
    return external;
  }

  std::map<std::string, std::string> external_models(const std::string& key,
                                                     const toml::node& node) const {
    std::map<std::string, std::string> models;
    if (const auto* const list = node.as_array()) {
      for (const auto& entry : *list) models[text_of(key, entry)] = text_of(key, entry);
      return models;
    }
    for (const auto& [ours, theirs] : table_of(key, node)) {
      models[std::string(ours.str())] = text_of(key, theirs);
    }
    return models;
  }

  std::string file_;
  Settings& into_;
};

Result<void> load_file(const fs::path& path, Settings& into) {
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) {
    return fail(Code::invalid_request, "settings: " + path.string() + ": is a folder, not a file",
                "set LLORCH_CONFIG to the llorch.toml in it, or unset it");
  }
  std::error_code unknown;  // of what is no plain file, such as /dev/null
  const auto bytes = fs::file_size(path, unknown);
  if (!unknown && bytes > limits::settings_bytes_max) {
    return fail(Code::invalid_request, "settings: " + path.string() + ": larger than 1 MiB",
                "edit " + path.string());
  }
  std::ifstream stream(path, std::ios::binary);
  std::ostringstream text;
  text << stream.rdbuf();  // an iterator would throw where reading fails
  const bool nothing = !text && !unknown && bytes > 0;
  if (!stream || nothing) {
    return fail(Code::forbidden, "settings: " + path.string() + ": cannot be read",
                "make it readable for this user, or set LLORCH_CONFIG to another file");
  }
  return read_settings_text(text.str(), path.string(), into);
}

Result<void> read_environment(const SettingsSources& sources, Settings& into) {
  for (const auto& [key, type] : setting_keys()) {
    const std::string variable = variable_of(key);
    const auto text = sources.environment(variable.c_str());
    if (!text || text->empty()) continue;
    if (!fits_type(*text, type)) {
      return fail(Code::invalid_request,
                  "settings: environment " + variable + ": must be " + wanted(type),
                  "unset " + variable + " or give it " + wanted(type));
    }
    into.values.insert_or_assign(std::string(key),
                                 Settings::Value{*text, "environment " + variable});
  }
  return {};
}

const Settings::Value* value_of(const Settings& settings, std::string_view key,
                                [[maybe_unused]] SettingType type) {
  assert(find_key(key) != nullptr && find_key(key)->type == type);
  const auto found = settings.values.find(key);
  return found == settings.values.end() ? nullptr : &found->second;
}

}  // namespace

const std::vector<SettingKey>& setting_keys() {
  using enum SettingType;
  static const std::vector<SettingKey> keys = {
      {"orchestrator_url", text},
      {"api_token", text},
      {"worker.host", text},
      {"worker.advertise", text},
      {"worker.port", integer},
      {"worker.pool_host", text},
      {"worker.backend", text},
      {"worker.gpu", integer},
      {"worker.slots", integer},
      {"worker.ctx_tokens", integer},
      {"worker.threads", integer},
      {"worker.itl_target_ms", integer},
      {"worker.kv_ram_mib", integer},
      {"worker.draft_tokens", integer},
      {"worker.kv_dir", text},
      {"worker.kv_disk_mib", integer},
      {"worker.queue", integer},
      {"worker.drain_ms", integer},
      {"worker.token", text},
      {"worker.log_level", text},
      {"orchestrator.host", text},
      {"orchestrator.port", integer},
      {"orchestrator.db", text},
      {"orchestrator.policy", text},
      {"orchestrator.queue_capacity", integer},
      {"orchestrator.queue_policy", text},
      {"orchestrator.placement", text},
      {"orchestrator.order", text},
      {"orchestrator.queue_timeout_ms", integer},
      {"orchestrator.job_timeout_ms", integer},
      {"orchestrator.stall_ms", integer},
      {"orchestrator.disconnect_grace_ms", integer},
      {"orchestrator.drain_ms", integer},
      {"orchestrator.tls_cert", text},
      {"orchestrator.tls_key", text},
      {"orchestrator.allowed_hosts", text},
      {"orchestrator.cors_origins", text},
      {"orchestrator.log_level", text},
      {"orchestrator.worker_dead_ms", integer},
      {"orchestrator.policy_operations", integer},
      {"orchestrator.policy_time_ms", integer},
  };
  return keys;
}

SettingsSources default_settings_sources(const fs::path& root) {
  SettingsSources sources;
  sources.environment = [](const char* name) -> std::optional<std::string> {
    const char* const value = std::getenv(name);
    if (value == nullptr || *value == '\0') return std::nullopt;
    return value;
  };
  if (const auto named = sources.environment("LLORCH_CONFIG")) {
    sources.files = {*named};
    sources.files_required = true;
    return sources;
  }
  sources.files.push_back(root / "llorch.toml");
  if (const auto home = sources.environment("HOME")) {
    sources.files.push_back(fs::path(*home) / ".config/llorch/llorch.toml");
  }
  sources.files.emplace_back("/etc/llorch/llorch.toml");
  return sources;
}

Result<void> read_settings_text(std::string_view text, const std::string& file, Settings& into) {
  const auto refuse = [&](const std::string& why) {
    return fail(Code::invalid_request, "settings: " + why, "edit " + file);
  };
  try {
    const toml::table top = toml::parse(text, file);
    FileReader(file, into).read(top);
  } catch (const toml::parse_error& error) {
    return refuse(file + ":" + std::to_string(error.source().begin.line) + ": " +
                  std::string(error.description()));
  } catch (const MalformedToml&) {
    return refuse(file + ": not TOML");
  } catch (const Refusal& refusal) {
    return refuse(refusal.message);
  }
  return {};
}

Result<Settings> load_settings(const SettingsSources& sources) {
  Settings settings;
  for (const auto& path : sources.files) {
    std::error_code ignored;
    if (!fs::exists(path, ignored)) {
      if (!sources.files_required) continue;
      return fail(Code::not_found, "settings: " + path.string() + ": no such file",
                  "set LLORCH_CONFIG to an existing file, or unset it");
    }
    if (const auto loaded = load_file(path, settings); !loaded) return fail(loaded.error());
  }
  // Last, because the environment wins over every file.
  if (const auto read = read_environment(sources, settings); !read) return fail(read.error());
  for (auto& external : settings.external) {
    if (!external.key_env.empty()) external.key = sources.environment(external.key_env.c_str());
  }
  return settings;
}

std::optional<std::string> Settings::text(std::string_view key) const {
  const auto* found = value_of(*this, key, SettingType::text);
  return found ? std::optional(found->text) : std::nullopt;
}
std::optional<std::int64_t> Settings::integer(std::string_view key) const {
  const auto* found = value_of(*this, key, SettingType::integer);
  return found ? parse_whole<std::int64_t>(found->text) : std::nullopt;
}
std::optional<double> Settings::number(std::string_view key) const {
  const auto* found = value_of(*this, key, SettingType::number);
  return found ? parse_whole<double>(found->text) : std::nullopt;
}
std::optional<bool> Settings::flag(std::string_view key) const {
  const auto* found = value_of(*this, key, SettingType::flag);
  return found ? parse_flag(found->text) : std::nullopt;
}
std::string Settings::origin(std::string_view key) const {
  const auto found = values.find(key);
  return found == values.end() ? "default" : found->second.origin;
}

ModelSettings Settings::model(std::string_view id) const {
  const auto found = models.find(id);
  return found == models.end() ? ModelSettings{} : found->second;
}
std::string Settings::resolve_alias(std::string_view name) const {
  const auto found = aliases.find(name);
  return found == aliases.end() ? std::string(name) : found->second;
}

}  // namespace llorch
