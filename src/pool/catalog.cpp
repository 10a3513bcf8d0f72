#include "pool/catalog.h"

#include <algorithm>
#include <boost/json.hpp>
#include <cmath>
#include <fmt/format.h>

#include "base/clock.h"
#include "base/limits.h"
#include "console/json_output.h"
#include "console/spelling.h"
#include "pool/text.h"
#include "protocol/json_parse.h"
#include "sys/host.h"

namespace llorch {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

constexpr std::string_view schema_version = "1.0";

std::unexpected<Error> broken(const fs::path& path, const std::string& why) {
  return fail(Code::internal, "catalog " + path.string() + ": " + why,
              "move the file away; llorch-pool models import " + path.parent_path().string() +
                  " finds its models again");
}

Result<CatalogEntry> entry_from(const json::value& value, const fs::path& path) {
  const auto* object = value.if_object();
  if (object == nullptr) return broken(path, "a model is not an object");
  CatalogEntry entry;
  entry.id = text_at(*object, "id");
  if (!is_model_id(entry.id)) return broken(path, "'" + entry.id + "' is no model id");
  entry.name = text_at(*object, "name");
  entry.repo = text_at(*object, "repo");
  entry.file = text_at(*object, "file");
  entry.architecture = text_at(*object, "architecture");
  entry.quantization = text_at(*object, "quantization");
  entry.sha256 = text_at(*object, "sha256");
  entry.path = text_at(*object, "path");
  entry.license = text_at(*object, "license");
  entry.sources = texts_at(*object, "sources");
  entry.extra_files = texts_at(*object, "extra_files");
  entry.extra_sha256 = texts_at(*object, "extra_sha256");
  entry.extra_sha256.resize(entry.extra_files.size());  // older catalogs have none
  if (const auto* downloaded = object->if_contains("downloaded")) {
    entry.downloaded = downloaded->is_bool() && downloaded->get_bool();
  }
  if (const auto* size = object->if_contains("size_bytes"); size != nullptr && size->is_number()) {
    boost::system::error_code ignored;
    entry.size_bytes = size->to_number<std::uint64_t>(ignored);
  }
  if (entry.downloaded && entry.path.empty()) {
    return broken(path, "model '" + entry.id + "' is downloaded but has no path");
  }
  return entry;
}

json::array array_of(const std::vector<std::string>& texts) {
  return json::array(texts.begin(), texts.end());
}

}  // namespace

json::object to_json(const CatalogEntry& entry) {
  json::object object = {
      {"id", entry.id},
      {"name", entry.name},
      {"repo", entry.repo},
      {"file", entry.file},
      {"architecture", entry.architecture},
      {"quantization", entry.quantization},
      {"downloaded", entry.downloaded},
      {"size_gb", std::round(static_cast<double>(entry.size_bytes) / 1e7) / 100},
      {"size_bytes", entry.size_bytes},
      {"sha256", entry.sha256},
      {"path", entry.path},
      {"license", entry.license},
      {"sources", array_of(entry.sources)},
  };
  if (!entry.extra_files.empty()) {
    object["extra_files"] = array_of(entry.extra_files);
    object["extra_sha256"] = array_of(entry.extra_sha256);
  }
  return object;
}

const CatalogEntry* Catalog::find(std::string_view id) const {
  const auto found = std::ranges::find(models, id, &CatalogEntry::id);
  return found == models.end() ? nullptr : &*found;
}

bool is_model_id(std::string_view id) {
  const auto alnum = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  };
  if (id.empty() || id.size() > 128 || !alnum(id.front())) return false;
  return std::ranges::all_of(id,
                             [&](char c) { return alnum(c) || c == '.' || c == '_' || c == '-'; });
}

Result<void> check_new_id(std::string_view id) {
  const std::string what = "model id '" + std::string(id) + "': ";
  if (!is_model_id(id)) {
    return fail(Code::invalid_request,
                what + "want letters, digits, '.', '_' and '-', at most 128, the first no sign",
                "choose another id with --as");
  }
  // Also what write_atomic() makes of it, and where the disk knows no case.
  if (lower(id).starts_with("catalog.json")) {
    return fail(Code::invalid_request, what + "the catalog's own file has this name",
                "choose another id with --as");
  }
  return {};
}

Result<Catalog> read_catalog(FileSystem& files, const Root& root) {
  Catalog catalog;
  catalog.pool_id = read_host_facts().name;
  catalog.models = built_in_models();
  const auto text = files.read(root.catalog(), limits::catalog_bytes_max);
  if (!text && text.error().code == Code::not_found) return catalog;
  if (!text) return fail(text.error());

  const auto document = parse_json_object(*text, limits::catalog_bytes_max);
  if (!document) return broken(root.catalog(), document.error().message);
  const auto* models = document->if_contains("models");
  if (models == nullptr || !models->is_array()) return broken(root.catalog(), "has no models");
  if (text_at(*document, "version") != schema_version) {
    return broken(root.catalog(), "version '" + text_at(*document, "version") +
                                      "' is not known to this llorch-pool (1.0)");
  }
  if (const auto pool = text_at(*document, "pool_id"); !pool.empty()) catalog.pool_id = pool;
  catalog.updated_at = text_at(*document, "updated_at");
  for (const auto& value : models->get_array()) {
    auto entry = entry_from(value, root.catalog());
    if (!entry) return fail(entry.error());
    const auto known = std::ranges::find(catalog.models, entry->id, &CatalogEntry::id);
    if (known == catalog.models.end()) {
      catalog.models.push_back(std::move(*entry));
    } else {
      *known = std::move(*entry);
    }
  }
  return catalog;
}

Result<void> update_catalog(FileSystem& files, const Root& root,
                            const std::function<Result<void>(Catalog&)>& change) {
  if (const auto made = files.make_directories(root.models()); !made) return made;
  const auto lock = files.lock(root.models() / ".catalog.lock", limits::lock_wait_ms);
  if (!lock) return fail(lock.error());
  auto catalog = read_catalog(files, root);
  if (!catalog) return fail(catalog.error());
  if (const auto changed = change(*catalog); !changed) return changed;

  json::array models;
  for (const auto& entry : catalog->models) models.push_back(to_json(entry));
  const json::object document = {
      {"version", schema_version},
      {"pool_id", catalog->pool_id},
      {"updated_at", rfc3339(SystemClock{}.wall())},
      {"models", std::move(models)},
  };
  return files.write_atomic(root.catalog(), pretty_json(document) + "\n");
}

Result<CatalogEntry> find_model(const Catalog& catalog, const Settings& settings,
                                std::string_view name) {
  std::string id = settings.resolve_alias(name);
  if (catalog.find(id) == nullptr && id == "qwen-0.5b") id = "qwen";
  if (const auto* found = catalog.find(id)) return *found;
  std::vector<std::string> known;
  for (const auto& entry : catalog.models) known.push_back(entry.id);
  const std::string near = nearest_word(id, known);
  return fail(Code::model_not_found,
              fmt::format("model '{}': not in the catalog{}", name,
                          near.empty() ? "" : "; did you mean '" + near + "'?"),
              "llorch-pool models catalog");
}

fs::path model_path(const Root& root, const CatalogEntry& entry) {
  return (root.path / entry.path).lexically_normal();  // an absolute `path` replaces the root
}

Result<ResolvedModel> resolve_model(FileSystem& files, const Root& root, const Settings& settings,
                                    std::string_view name) {
  // Something with a slash or the suffix is meant as a file even where it is missing.
  if (name.find('/') != name.npos || name.ends_with(".gguf")) {
    const fs::path path = fs::absolute(name);
    if (const auto found = files.stat(path); !found) {
      return fail(Code::model_not_found, "model " + path.string() + ": no such file",
                  "llorch-pool models catalog");
    }
    return ResolvedModel{"", path};
  }
  const auto catalog = read_catalog(files, root);
  if (!catalog) return fail(catalog.error());
  const auto entry = find_model(*catalog, settings, name);
  if (!entry) return fail(entry.error());
  const std::string download = "llorch-pool models download " + entry->id;
  if (!entry->downloaded) {
    return fail(Code::model_not_found, "model '" + entry->id + "': not downloaded yet", download);
  }
  const fs::path path = model_path(root, *entry);
  if (!files.exists(path)) {
    return fail(Code::model_not_found,
                "model '" + entry->id + "': its file " + path.string() + " is gone", download);
  }
  return ResolvedModel{entry->id, path};
}

}  // namespace llorch
