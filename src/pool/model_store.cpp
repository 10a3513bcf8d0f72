#include "pool/model_store.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/limits.h"
#include "console/progress.h"
#include "pool/download.h"
#include "pool/hub.h"
#include "pool/model_reference.h"
#include "pool/optimize.h"
#include "pool/remove_tree.h"
#include "pool/text.h"
#include "pool/worker_files.h"

namespace llorch {
namespace {

namespace fs = std::filesystem;

Error with_next(Error error, const std::string& next) {
  if (error.next.empty()) error.next = next;
  return error;
}

std::vector<std::string> further_parts(const fs::path& first) {
  const auto split = parse_split_name(first.filename().string());
  std::vector<std::string> parts;
  for (int number = 2; number <= split.count; ++number) {
    parts.push_back(split_part_name(split, number));
  }
  return parts;
}

std::uint64_t bytes_of(const PoolContext& context, const CatalogEntry& entry) {
  const fs::path first = model_path(context.root, entry);
  const auto size = [&](const fs::path& path) {
    const auto found = context.files.stat(path);
    return found ? found->size_bytes : 0;
  };
  std::uint64_t sum = size(first);
  for (const auto& name : entry.extra_files) sum += size(first.parent_path() / name);
  return sum;
}

Result<CatalogEntry> known_entry(const PoolContext& context, const std::string& name) {
  const auto catalog = read_catalog(context.files, context.root);
  if (!catalog) return fail(catalog.error());
  return find_model(*catalog, context.settings, name);
}

Result<CatalogEntry> downloaded_entry(const PoolContext& context, const std::string& name) {
  auto entry = known_entry(context, name);
  if (!entry || entry->downloaded) return entry;
  return fail(Code::model_not_found, "model '" + entry->id + "': not downloaded",
              "llorch-pool models download " + entry->id);
}

// What downloads leave in a model's folder when they are cut off: files that grow, parts that a
// split model beside them had finished, pip's folder.
Result<Removed> remove_leftovers(const PoolContext& context, const fs::path& folder) {
  Removed removed;
  const auto remove = [&](const fs::path& path) -> Result<void> {
    const auto found = context.files.stat_link(path);
    if (!found) return {};
    if (const auto gone = context.files.remove(path); !gone) return gone;
    removed.files += 1;
    removed.bytes += found->size_bytes;
    return {};
  };
  constexpr std::string_view growing = ".part";
  for (const auto& name : context.files.list(folder).value_or(std::vector<std::string>{})) {
    std::vector<std::string> gone = {name};
    if (name.ends_with(growing)) {
      const auto split = parse_split_name(name.substr(0, name.size() - growing.size()));
      for (int part = 1; part <= split.count; ++part) gone.push_back(split_part_name(split, part));
    } else if (name == ".wheel") {
      const auto inside = remove_below(context.files, folder / name);
      if (!inside) return fail(inside.error());
      removed.files += inside->files;
      removed.bytes += inside->bytes;
    } else if (!name.ends_with(".part.json") && !name.ends_with(".unpacked")) {
      continue;
    }
    for (const auto& each : gone) {
      if (const auto done = remove(folder / each); !done) return fail(done.error());
    }
  }
  return removed;
}

// A GGUF that is the first of its parts.
bool starts_a_model(const fs::path& path) {
  const std::string name = path.filename().string();
  return name.ends_with(".gguf") && !name.starts_with("mmproj") &&
         parse_split_name(name).number <= 1;
}

Result<Imported> import_files(const PoolContext& context, const std::vector<fs::path>& paths) {
  const auto catalog = read_catalog(context.files, context.root);
  if (!catalog) return fail(catalog.error());
  Imported imported;
  for (const auto& path : paths) {
    const std::string stored = stored_path(context.root, path);
    const auto known = std::ranges::find(catalog->models, stored, &CatalogEntry::path);
    if (known != catalog->models.end() && known->downloaded) continue;  // from an earlier import
    const auto added = register_model(context, path, "");
    if (added) {
      imported.added.push_back(*added);
    } else {
      imported.refused.push_back(path.string() + ": " + added.error().message);
    }
  }
  return imported;
}

// Folders deeper than this, or more files, are no model collection but someone's whole disk.
constexpr int import_depth_max = 8;
constexpr std::size_t import_files_max = 10'000;

void collect_models(const PoolContext& context, const fs::path& folder, int depth,
                    std::vector<fs::path>& into) {
  const auto names = context.files.list(folder);
  if (!names) return;
  for (const auto& name : *names) {
    if (into.size() >= import_files_max) return;
    const fs::path path = folder / name;
    const auto found = context.files.stat(path);
    if (!found) continue;
    if (found->kind == FileStat::Kind::directory && depth < import_depth_max) {
      collect_models(context, path, depth + 1, into);
    } else if (found->kind == FileStat::Kind::file && starts_a_model(path)) {
      into.push_back(path);
    }
  }
}

}  // namespace

std::string stored_path(const Root& root, const fs::path& path) {
  const fs::path relative = path.lexically_normal().lexically_relative(root.path);
  const bool below = !relative.empty() && *relative.begin() != "..";
  return below ? relative.string() : path.string();
}

bool fits_here(const PoolContext& context, const CatalogEntry& entry) {
  return fits_memory(entry.size_bytes, context.host.memory_total_bytes);
}

Result<std::unique_ptr<FileLock>> lock_model(const PoolContext& context, const std::string& id) {
  auto lock = context.files.lock(context.root.models() / ("." + id + ".lock"), 0);
  if (lock || lock.error().code != Code::conflict) return lock;
  return fail(Code::conflict, "model '" + id + "': another llorch-pool is at work on it",
              "wait for it; what it does is shared");
}

Result<void> fill_from_file(const PoolContext& context, CatalogEntry& entry) {
  const fs::path path = model_path(context.root, entry);
  const auto shape = read_model_shape(context.files, path, entry.extra_files);
  if (!shape) return fail(shape.error());
  entry.architecture = shape->architecture;
  if (entry.name.empty()) entry.name = shape->name.empty() ? entry.id : shape->name;
  // The file name tells Q4_K_M where the header only tells the type of most tensors.
  const std::string named = quantization_of(path.filename().string());
  entry.quantization = named.empty() ? upper(shape->quantization) : named;
  if (entry.license.empty()) entry.license = shape->license;
  entry.size_bytes = bytes_of(context, entry);
  entry.downloaded = true;
  return {};
}

Result<void> put_entry(const PoolContext& context, const CatalogEntry& entry) {
  return update_catalog(context.files, context.root, [&](Catalog& catalog) -> Result<void> {
    const auto known = std::ranges::find(catalog.models, entry.id, &CatalogEntry::id);
    if (known == catalog.models.end()) {
      catalog.models.push_back(entry);
      return {};
    }
    const bool same = known->path == entry.path || known->sources == entry.sources;
    if (known->downloaded && !same) {
      return fail(Code::conflict, "model '" + entry.id + "': the id is taken by " + known->path,
                  "choose another id with --as");
    }
    *known = entry;
    return {};
  });
}

Result<CatalogEntry> register_model(const PoolContext& context, const fs::path& path,
                                    const std::string& as) {
  const fs::path absolute = fs::absolute(path).lexically_normal();
  if (const auto found = context.files.stat(absolute); !found) {
    return fail(with_next(found.error(), "give the path of a GGUF file"));
  }
  CatalogEntry entry;
  entry.id = as.empty() ? default_model_id(absolute.filename().string()) : as;
  if (const auto good = check_new_id(entry.id); !good) return fail(good.error());
  entry.file = absolute.filename().string();
  entry.path = stored_path(context.root, absolute);
  entry.extra_files = further_parts(absolute);
  entry.sources = {"file:" + absolute.string()};
  if (const auto filled = fill_from_file(context, entry); !filled) return fail(filled.error());
  if (const auto put = put_entry(context, entry); !put) return fail(put.error());
  return entry;
}

Result<Imported> import_folder(const PoolContext& context, const fs::path& folder) {
  const auto found = context.files.stat(folder);
  if (!found) return fail(with_next(found.error(), "give hf or the path of a folder"));
  if (found->kind != FileStat::Kind::directory) {
    return fail(Code::invalid_request, folder.string() + ": not a folder",
                "llorch-pool models register " + folder.string());
  }
  std::vector<fs::path> paths;
  collect_models(context, fs::absolute(folder).lexically_normal(), 0, paths);
  return import_files(context, paths);
}

Result<Imported> import_hub_cache(const PoolContext& context) {
  const fs::path cache = hub_cache_folder(context);
  const auto repositories = context.files.list(cache);
  if (!repositories) {
    return fail(Code::not_found, cache.string() + ": no hub cache here",
                "set HF_HOME or HF_HUB_CACHE to where it is");
  }
  std::vector<fs::path> paths;
  for (const auto& repository : *repositories) {
    if (!repository.starts_with("models--")) continue;
    const auto snapshot = current_snapshot(context, cache / repository);
    if (snapshot) collect_models(context, *snapshot, 0, paths);
  }
  return import_files(context, paths);
}

Result<CatalogEntry> unregister_model(const PoolContext& context, const std::string& name) {
  const auto entry = known_entry(context, name);
  if (!entry) return fail(entry.error());
  const auto updated =
      update_catalog(context.files, context.root, [&](Catalog& catalog) -> Result<void> {
        std::erase_if(catalog.models, [&](const auto& each) { return each.id == entry->id; });
        const auto& built_in = built_in_models();
        const auto original = std::ranges::find(built_in, entry->id, &CatalogEntry::id);
        if (original != built_in.end()) {
          catalog.models.insert(catalog.models.begin(), *original);
        }
        return {};
      });
  if (!updated) return fail(updated.error());
  return *entry;
}

// A download that was never finished: its model is not in the catalog, or not as downloaded.
Result<Deleted> delete_unfinished(const PoolContext& context, const std::string& id,
                                  const Error& unknown) {
  const fs::path own = context.root.models() / id;
  if (!is_model_id(id) || !context.files.exists(own)) return fail(unknown);
  const auto lock = lock_model(context, id);
  if (!lock) return fail(lock.error());
  const auto removed = remove_leftovers(context, own);
  if (!removed) return fail(removed.error());
  if (removed->files == 0) return fail(unknown);
  (void)context.files.remove(own);
  return Deleted{.entry = {.id = id, .size_bytes = removed->bytes}, .unfinished = true};
}

Result<Deleted> delete_model(const PoolContext& context, const std::string& name) {
  const auto known = known_entry(context, name);
  const auto entry = downloaded_entry(context, name);
  if (!entry) return delete_unfinished(context, known ? known->id : name, entry.error());
  for (const auto& worker : list_workers(context).workers) {
    if (worker.record.model == entry->id && worker.alive) {
      return fail(Code::conflict,
                  "model '" + entry->id + "': " + worker.record.worker_id + " serves it",
                  "llorch-pool worker stop " + worker.record.worker_id);
    }
  }
  const auto lock = lock_model(context, entry->id);
  if (!lock) return fail(lock.error());
  // The catalog first: a file without an entry is clutter, an entry without its file is a lie.
  if (const auto gone = unregister_model(context, entry->id); !gone) return fail(gone.error());
  // Of a model that serves in another layout, the original is what its folder holds.
  const auto files = with_original_files(context, *entry);
  const fs::path first = model_path(context.root, files);
  const fs::path own = context.root.models() / entry->id;
  remove_variants(context, files);
  Deleted deleted{.entry = files};
  if (first.parent_path() != own) return deleted;
  if (const auto removed = context.files.remove(first); !removed) return fail(removed.error());
  for (const auto& part : files.extra_files) {
    if (const auto removed = context.files.remove(own / part); !removed) {
      return fail(removed.error());
    }
  }
  if (const auto removed = remove_leftovers(context, own); !removed) return fail(removed.error());
  (void)context.files.remove(own);  // stays when something else lies in it
  deleted.files_removed = true;
  return deleted;
}

Result<std::string> verify_model(const PoolContext& context, const std::string& name) {
  const auto entry = downloaded_entry(context, name);
  if (!entry) return fail(entry.error());
  const fs::path path = model_path(context.root, *entry);
  const auto shape = read_model_shape(context.files, path, entry->extra_files);
  if (!shape) return fail(shape.error());
  auto known = *entry;
  known.extra_sha256.resize(known.extra_files.size());
  Progress progress("checking " + entry->id, context.messages, context.clock, context.draw);
  std::uint64_t before = 0;
  for (std::size_t part = 0; part <= known.extra_files.size(); ++part) {
    const fs::path file = part == 0 ? path : path.parent_path() / known.extra_files[part - 1];
    std::uint64_t bytes = 0;
    const auto found = hash_file(context.files, file, [&](auto done, auto) {
      bytes = done;
      progress.update(before + done, known.size_bytes);
    });
    if (!found) return fail(found.error());
    before += bytes;
    std::string& promised = part == 0 ? known.sha256 : known.extra_sha256[part - 1];
    // Added without one: from now on this is what it must be.
    if (promised.empty()) promised = *found;
    if (*found == promised) continue;
    return fail(
        Code::conflict,
        fmt::format("model '{}': {} has sha256 {}, the catalog says {}", entry->id, file.string(),
                    *found, promised),
        "llorch-pool models delete " + entry->id + " && llorch-pool models download " + entry->id);
  }
  progress.finish();
  const bool learnt = known.sha256 != entry->sha256 || known.extra_sha256 != entry->extra_sha256;
  if (!learnt) return known.sha256;
  if (const auto put = put_entry(context, known); !put) return fail(put.error());
  return known.sha256;
}

Result<ModelDetails> describe_model(const PoolContext& context, const std::string& name) {
  const auto entry = known_entry(context, name);
  if (!entry) return fail(entry.error());
  ModelDetails details{.entry = *entry};
  details.fits = fits_here(context, *entry);
  if (!entry->downloaded) return details;
  auto variants = read_variants(context.files, variants_folder(context.root, entry->id));
  if (!variants) return fail(variants.error());
  details.variants = std::move(*variants);
  details.path = model_path(context.root, *entry);
  auto shape = read_model_shape(context.files, details.path, entry->extra_files);
  if (!shape) return fail(shape.error());
  details.memory_context_tokens = std::min<std::uint64_t>(4096, shape->context_tokens);
  const auto memory = estimate_memory(*shape, {.context_tokens = details.memory_context_tokens});
  if (memory) {
    details.memory = *memory;
    details.fits = fits(*memory, context.host.memory_total_bytes);
  }
  details.shape = std::move(*shape);
  return details;
}

}  // namespace llorch
