#include "pool/ollama_import.h"

#include <algorithm>
#include <boost/json.hpp>
#include <optional>
#include <utility>

#include "base/limits.h"
#include "pool/model_reference.h"
#include "pool/optimize.h"
#include "pool/text.h"
#include "protocol/json_parse.h"

namespace llorch {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

std::unexpected<Error> bad(const std::string& why) {
  return fail(Code::model_load_failed, why, "ollama pull it again");
}

fs::path store_folder(const PoolContext& context) {
  if (const auto named = context.environment("OLLAMA_MODELS")) return *named;
  return fs::path(context.environment("HOME").value_or("")) / ".ollama/models";
}

// "llama3.2:1b" is "llama3.2-1b": never an id of ours, whose weights may be others.
std::string id_of(const fs::path& relative) {
  const auto part = [&](int at) { return std::next(relative.begin(), at)->string(); };
  const auto space = part(1) == "library" ? std::string() : part(1) + "-";
  return default_model_id(space + part(2) + "-" + part(3));
}

// As `ollama list` prints it: "llama3.2:1b", "hf.co/ORG/REPO:TAG".
std::string reference_of(const fs::path& relative) {
  const auto part = [&](int at) { return std::next(relative.begin(), at)->string(); };
  const bool official = part(0) == "registry.ollama.ai";
  const auto host = official ? std::string() : part(0) + "/";
  const auto space = official && part(1) == "library" ? std::string() : part(1) + "/";
  return host + space + part(2) + ":" + part(3);
}

// HOST/NAMESPACE/NAME/TAG of every manifest, relative to manifests/.
void collect_manifests(const PoolContext& context, const fs::path& manifests, const fs::path& below,
                       int depth, std::vector<fs::path>& into) {
  constexpr std::size_t manifests_max = 10'000;
  const auto names = context.files.list(manifests / below);
  if (!names) return;
  for (const auto& name : *names) {
    const auto found = context.files.stat(manifests / below / name);
    if (!found || into.size() >= manifests_max) continue;
    if (depth == 4 && found->kind == FileStat::Kind::file) into.push_back(below / name);
    if (depth < 4 && found->kind == FileStat::Kind::directory) {
      collect_manifests(context, manifests, below / name, depth + 1, into);
    }
  }
}

// The entry of one manifest, its blob checked.
Result<CatalogEntry> read_entry(const PoolContext& context, const fs::path& store,
                                const fs::path& relative) {
  const auto text =
      context.files.read(store / "manifests" / relative, limits::ollama_manifest_bytes_max);
  if (!text) return fail(text.error());
  const auto model = parse_ollama_manifest(*text);
  if (!model) return fail(model.error());
  const fs::path blob = store / "blobs" / model->blob;
  const auto file = context.files.stat(blob);
  if (!file) return bad("its file " + blob.string() + " is missing");
  if (file->size_bytes != model->size_bytes) {
    return bad("its file " + blob.string() + " has not the size that the manifest says");
  }
  CatalogEntry entry;
  entry.id = id_of(relative);
  if (!is_model_id(entry.id)) return bad("'" + entry.id + "' is no model id");
  entry.name = reference_of(relative);
  entry.file = model->blob;
  entry.path = stored_path(context.root, blob);
  entry.sha256 = model->sha256;
  entry.sources = {"ollama:" + entry.name};
  if (const auto filled = fill_from_file(context, entry); !filled) return fail(filled.error());
  return entry;
}

// The same file is in the catalog already, perhaps serving in another layout.
bool is_known(const PoolContext& context, const Catalog& catalog, const CatalogEntry& entry) {
  const auto* known = catalog.find(entry.id);
  return known != nullptr && known->downloaded &&
         with_original_files(context, *known).path == entry.path;
}

}  // namespace

std::string blob_name(std::string_view digest) {
  constexpr std::string_view prefix = "sha256:";
  constexpr std::size_t digits = 64;
  if (!digest.starts_with(prefix) || digest.size() != prefix.size() + digits) return {};
  const auto hex = digest.substr(prefix.size());
  if (hex.find_first_not_of("0123456789abcdef") != hex.npos) return {};
  return "sha256-" + std::string(hex);
}

Result<OllamaModel> parse_ollama_manifest(std::string_view text) {
  const auto document = parse_json_object(std::string(text), limits::ollama_manifest_bytes_max);
  if (!document) return bad("its manifest is no JSON object");
  const auto* layers = document->if_contains("layers");
  if (layers == nullptr || !layers->is_array()) return bad("its manifest has no layers");
  std::optional<OllamaModel> model;
  for (const auto& layer : layers->get_array()) {
    const auto* object = layer.if_object();
    if (object == nullptr) return bad("a layer of its manifest is no object");
    const auto type = text_at(*object, "mediaType");
    if (type == "application/vnd.ollama.image.adapter") {
      return bad("it is an adapter over another model");
    }
    if (type != "application/vnd.ollama.image.model") continue;
    if (model) return bad("its manifest names several model files");
    const auto blob = blob_name(text_at(*object, "digest"));
    if (blob.empty()) return bad("the digest of its model is not sha256:<64 hex digits>");
    const auto* size = object->if_contains("size");
    boost::system::error_code wrong;
    const auto bytes = size != nullptr && size->is_number() ? size->to_number<std::uint64_t>(wrong)
                                                            : std::uint64_t{0};
    if (wrong || bytes == 0) return bad("its manifest gives no size");
    model = OllamaModel{.blob = blob, .sha256 = blob.substr(7), .size_bytes = bytes};
  }
  if (!model) return bad("its manifest names no model file");
  return *model;
}

Result<Imported> import_ollama(const PoolContext& context) {
  const fs::path store = fs::absolute(store_folder(context)).lexically_normal();
  if (!context.files.exists(store / "manifests")) {
    return fail(Code::not_found, store.string() + ": no Ollama store here",
                "set OLLAMA_MODELS to where it is");
  }
  std::vector<fs::path> manifests;
  collect_manifests(context, store / "manifests", {}, 1, manifests);
  const auto catalog = read_catalog(context.files, context.root);
  if (!catalog) return fail(catalog.error());
  Imported imported;
  for (const auto& relative : manifests) {
    auto entry = read_entry(context, store, relative);
    if (entry && is_known(context, *catalog, *entry)) continue;
    const auto put = entry ? put_entry(context, *entry) : fail(entry.error());
    if (put) {
      imported.added.push_back(std::move(*entry));
    } else {
      imported.refused.push_back("ollama " + reference_of(relative) + ": " + put.error().message);
    }
  }
  return imported;
}

}  // namespace llorch
