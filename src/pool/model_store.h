// What `llorch-pool models` does: get, add, check and remove models of the catalog.
// Threads: one; processes exclude each other by a lock per model and one on the catalog.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "pool/catalog.h"
#include "pool/context.h"
#include "pool/model_memory.h"
#include "pool/variants.h"

namespace llorch {

// Makes the model of a reference (ID | hf:… | file:/PATH) available; already there and whole is
// success at once. `as` names it (empty: the id, or one from the file name).
// Errors: invalid_request, model_not_found, conflict (the id is another model's, or another
// process is downloading it), insufficient_memory, insufficient_storage, unauthorized, forbidden,
// unreachable (no source could be reached), timeout.
Result<CatalogEntry> download_model(const PoolContext& context, const std::string& reference,
                                    const std::string& as);

// Adds a GGUF where it lies, nothing copied. Errors: model_load_failed (it would not load),
// conflict (the id is another model's), not_found.
Result<CatalogEntry> register_model(const PoolContext& context, const std::filesystem::path& path,
                                    const std::string& as);

// Every GGUF below a folder, or in the hub's cache. One that will not load is a warning.
struct Imported {
  std::vector<CatalogEntry> added;
  std::vector<std::string> refused;  // "PATH: WHY"
};
Result<Imported> import_folder(const PoolContext& context, const std::filesystem::path& folder);
Result<Imported> import_hub_cache(const PoolContext& context);

// Forgets a model; its files stay. Built-in ones become "not downloaded".
Result<CatalogEntry> unregister_model(const PoolContext& context, const std::string& name);
// The same, and removes its files where they lie below the root; of a model that is not downloaded
// what an unfinished download left. Errors: conflict while a worker serves it.
struct Deleted {
  CatalogEntry entry;
  bool files_removed = false;  // false: they lie elsewhere and were only forgotten
  bool unfinished = false;     // only id and size are known of it
};
Result<Deleted> delete_model(const PoolContext& context, const std::string& name);

// Hashes every part again and checks the header. Gives the sha256 of the first part.
// Errors: conflict (it differs from the catalog), model_load_failed, model_not_found.
Result<std::string> verify_model(const PoolContext& context, const std::string& name);

// One model with what its header says; `shape` is empty while it is not downloaded.
struct ModelDetails {
  CatalogEntry entry;
  std::filesystem::path path;
  std::optional<ModelShape> shape;
  std::optional<MemoryEstimate> memory;  // of one slot with 4 096 tokens, or the model's own fewer
  std::uint64_t memory_context_tokens = 0;
  bool fits = false;
  std::optional<VariantRecord> variants;  // what `models optimize` made
};
Result<ModelDetails> describe_model(const PoolContext& context, const std::string& name);

// Whether a model of the catalog fits this machine, by its size.
bool fits_here(const PoolContext& context, const CatalogEntry& entry);

// Fills in the catalog's fields from the file itself. Errors: model_load_failed.
Result<void> fill_from_file(const PoolContext& context, CatalogEntry& entry);
// Held while the model's folder is written. Errors: conflict (another process is downloading it),
// those of the file system.
Result<std::unique_ptr<FileLock>> lock_model(const PoolContext& context, const std::string& id);
// Puts the entry into the catalog, where one of its id gives way when it is the same file, comes
// from the same sources or is not downloaded. Errors: conflict, those of update_catalog().
Result<void> put_entry(const PoolContext& context, const CatalogEntry& entry);
// `path` as the catalog stores it: relative where it lies below the root.
std::string stored_path(const Root& root, const std::filesystem::path& path);

}  // namespace llorch
