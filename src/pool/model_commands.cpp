// llorch-pool models …
#include <algorithm>
#include <boost/json.hpp>
#include <fmt/format.h>

#include "console/confirm.h"
#include "console/json_output.h"
#include "console/report.h"
#include "console/table.h"
#include "console/terminal.h"
#include "pool/commands.h"
#include "pool/model_store.h"
#include "pool/ollama_import.h"
#include "pool/variant_output.h"

namespace llorch {
namespace {

namespace json = boost::json;

struct ModelOptions {
  std::string model;  // an id, a reference or a path
  std::string as;
  bool json = false;
  bool yes = false;
};

json::object shown(const PoolContext& context, const CatalogEntry& entry) {
  json::object object = to_json(entry);
  object["fits"] = fits_here(context, entry);
  return object;
}

int catalog_command(const PoolContext& context, const ListOptions& options) {
  const auto catalog = read_catalog(context.files, context.root);
  if (!catalog) return report(catalog.error());
  if (options.json) {
    json::array models;
    for (const auto& entry : catalog->models) models.push_back(shown(context, entry));
    print_json({{"version", "1.0"},
                {"root", context.root.path.string()},
                {"pool_id", catalog->pool_id},
                {"models", std::move(models)}});
    return exit_ok;
  }
  Table table(
      {{"ID", false, true}, {"NAME", false, true}, {"DOWNLOADED"}, {"SIZE", true}, {"FITS"}});
  for (const auto& entry : catalog->models) {
    table.add({entry.id, entry.name, entry.downloaded ? "yes" : "no", human_bytes(entry.size_bytes),
               fits_here(context, entry) ? "yes" : "no"});
  }
  print_text("Models in " + context.root.path.string() + "\n" + table.render());
  return exit_ok;
}

int download_command(const PoolContext& context, const ModelOptions& options) {
  const auto entry = download_model(context, options.model, options.as);
  if (!entry) return report(entry.error());
  if (options.json) {
    print_json(shown(context, *entry));
  } else {
    print_text(fmt::format("{}  {}  {}  {}\n", entry->id, entry->quantization,
                           human_bytes(entry->size_bytes),
                           model_path(context.root, *entry).string()));
  }
  return exit_ok;
}

int register_command(const PoolContext& context, const ModelOptions& options) {
  const auto entry = register_model(context, options.model, options.as);
  if (!entry) return report(entry.error());
  print_text("Registered " + entry->id + ": " + model_path(context.root, *entry).string() + "\n");
  return exit_ok;
}

int unregister_command(const PoolContext& context, const ModelOptions& options) {
  const auto entry = unregister_model(context, options.model);
  if (!entry) return report(entry.error());
  print_text("Unregistered " + entry->id + "; its files stay\n");
  return exit_ok;
}

int delete_command(const PoolContext& context, const ModelOptions& options) {
  if (!options.yes && can_ask() && !confirm("Delete " + options.model + " and its files?")) {
    context.say("Nothing deleted");
    return exit_ok;
  }
  const auto deleted = delete_model(context, options.model);
  if (!deleted) return report(deleted.error());
  const auto& entry = deleted->entry;
  if (deleted->unfinished) {
    print_text("Deleted the unfinished download of " + entry.id + ", " +
               human_bytes(entry.size_bytes) + " freed\n");
  } else if (deleted->files_removed) {
    print_text("Deleted " + entry.id + ", " + human_bytes(entry.size_bytes) + " freed\n");
  } else {
    print_text("Unregistered " + entry.id + "; its file lies outside and stays: " +
               model_path(context.root, entry).string() + "\n");
  }
  return exit_ok;
}

int verify_command(const PoolContext& context, const ModelOptions& options) {
  const auto sha256 = verify_model(context, options.model);
  if (!sha256) return report(sha256.error());
  if (options.json) {
    print_json({{"id", options.model}, {"ok", true}, {"sha256", *sha256}});
  } else {
    print_text(options.model + ": ok, sha256 " + *sha256 + "\n");
  }
  return exit_ok;
}

json::object to_json(const PoolContext& context, const ModelDetails& details) {
  json::object object = shown(context, details.entry);
  object["fits"] = details.fits;
  if (details.shape) {
    object["context_tokens"] = details.shape->context_tokens;
    object["parameters"] = details.shape->parameters;
    object["layers"] = details.shape->layers;
    object["embedding_size"] = details.shape->embedding_size;
    object["has_chat_template"] = !details.shape->chat_template.empty();
  }
  if (details.memory) {
    object["memory"] = {{"weights_bytes", details.memory->weights_bytes},
                        {"kv_bytes_per_token", details.memory->kv_bytes_per_token},
                        {"kv_bytes", details.memory->kv_bytes},
                        {"compute_bytes", details.memory->compute_bytes},
                        {"total_bytes", details.memory->total_bytes},
                        {"context_tokens", details.memory_context_tokens}};
  }
  if (details.variants) {
    object["variants"] = variants_json(context, *details.variants, details.entry.path);
  }
  return object;
}

int info_command(const PoolContext& context, const ModelOptions& options) {
  const auto details = describe_model(context, options.model);
  if (!details) return report(details.error());
  if (options.json) {
    print_json(to_json(context, *details));
    return exit_ok;
  }
  const auto& entry = details->entry;
  std::string text;
  const auto line = [&](const char* label, const std::string& value) {
    if (!value.empty()) text += fmt::format("{:<14}{}\n", label, value);
  };
  line("Id", entry.id);
  line("Name", entry.name);
  line("Architecture", entry.architecture);
  line("Quantisation", entry.quantization);
  line("License", entry.license.empty() ? "not given" : entry.license);
  line("Size", human_bytes(entry.size_bytes));
  if (const auto& shape = details->shape; shape) {
    line("Context", fmt::format("{} tokens", shape->context_tokens));
    line("Parameters", fmt::format("{:.1f} M", static_cast<double>(shape->parameters) / 1e6));
  }
  if (const auto& memory = details->memory; memory) {
    line("Memory", fmt::format("{} with one slot of {} tokens", human_bytes(memory->total_bytes),
                               details->memory_context_tokens));
    line("", fmt::format("{} weights, {} KV cache, {} buffers", human_bytes(memory->weights_bytes),
                         human_bytes(memory->kv_bytes), human_bytes(memory->compute_bytes)));
  }
  line("Fits", details->fits ? "yes" : "no");
  line("Downloaded", entry.downloaded ? "yes" : "no");
  line("Path", details->path.string());
  line("SHA-256", entry.sha256);
  for (const auto& source : entry.sources) line("Source", source);
  if (const auto& variants = details->variants; variants) {
    text += "\n" + variants_text(context, *variants, entry.path);
  }
  print_text(text);
  return exit_ok;
}

int import_command(const PoolContext& context, const ModelOptions& options) {
  const auto imported = options.model == "hf"       ? import_hub_cache(context)
                        : options.model == "ollama" ? import_ollama(context)
                                                    : import_folder(context, options.model);
  if (!imported) return report(imported.error());
  for (const auto& refused : imported->refused) print_warning(refused);
  if (options.json) {
    json::array models;
    for (const auto& entry : imported->added) models.push_back(to_json(entry));
    print_json({{"imported", std::move(models)}});
  } else {
    for (const auto& entry : imported->added) {
      print_text("Imported " + entry.id + ": " + model_path(context.root, entry).string() + "\n");
    }
    print_text(fmt::format("Imported {} models\n", imported->added.size()));
  }
  return imported->refused.empty() ? exit_ok : exit_partly_done;
}

using Declare = std::function<void(CLI::App&, ModelOptions&)>;

Declare takes_model(const std::string& name, const std::string& help, bool as, bool with_json) {
  return [=](CLI::App& command, ModelOptions& options) {
    command.add_option(name, options.model, help)->required();
    if (as) command.add_option("--as", options.as, "Id to give it");
    if (with_json) add_json_flag(command, options.json);
  };
}

}  // namespace

void add_model_commands(CLI::App& app, PoolAction& chosen) {
  auto* const group = app.add_subcommand("models", "Models on this host's disk");
  group->require_subcommand(1);
  const auto add = [&](const char* name, const char* help, const char* examples,
                       const Declare& declare,
                       int (*run)(const PoolContext&, const ModelOptions&)) {
    add_command<ModelOptions>(*group, chosen, name, help, examples, declare, run);
  };
  add_command<ListOptions>(
      *group, chosen, "catalog", "List the models: id, name, downloaded, size, fits",
      "  llorch-pool models catalog\n  llorch-pool models catalog --json\n",
      [](CLI::App& command, ListOptions& options) { add_json_flag(command, options.json); },
      catalog_command);
  add("download", "Download a model, or go on with an interrupted download",
      "  llorch-pool models download smollm2\n"
      "  llorch-pool models download hf:Qwen/Qwen2.5-0.5B-Instruct-GGUF:Q8_0 --as qwen-q8\n"
      "  llorch-pool models download file:/mnt/usb/model.gguf\n",
      takes_model("model", "ID | hf:ORG/REPO[:QUANT][@REV][::FILE] | file:/PATH", true, true),
      download_command);
  add("register", "Add a GGUF file where it lies",
      "  llorch-pool models register /data/models/my-model.gguf --as mine\n",
      takes_model("path", "A GGUF file; of a split one the first part", true, false),
      register_command);
  add("unregister", "Forget a model; its files stay", "  llorch-pool models unregister mine\n",
      takes_model("model", "Id", false, false), unregister_command);
  add("info", "Show architecture, context, quantisation, licence and memory",
      "  llorch-pool models info smollm2\n", takes_model("model", "Id", false, true), info_command);
  add("verify", "Check a model's file against its sha256 and header",
      "  llorch-pool models verify smollm2\n", takes_model("model", "Id", false, true),
      verify_command);
  add(
      "delete", "Delete a model and its files; asks first on a terminal",
      "  llorch-pool models delete tinyllama\n  llorch-pool models delete tinyllama --yes\n",
      [](CLI::App& command, ModelOptions& options) {
        command.add_option("model", options.model, "Id")->required();
        command.add_flag("--yes,-y", options.yes, "Do not ask");
      },
      delete_command);
  add("import", "Add every model of Ollama's store, the hub's cache or a folder, copying nothing",
      "  llorch-pool models import ollama\n  llorch-pool models import hf\n"
      "  llorch-pool models import /data/models\n",
      takes_model("from", "ollama, hf, or a folder", false, true), import_command);
  add_optimize_command(*group, chosen);
}

}  // namespace llorch
