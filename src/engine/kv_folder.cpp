#include "engine/kv_folder.h"

#include <algorithm>
#include <chrono>
#include <fmt/format.h>
#include <utility>

#include "base/crc32c.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/random.h"

namespace llorch {
namespace {

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

Result<std::string> read_text(ReadableFile& file, std::size_t bytes) {
  std::string text(bytes, '\0');
  const auto got = file.read_at(0, std::as_writable_bytes(std::span(text)));
  if (!got) return fail(got.error());
  text.resize(*got);
  return text;
}

std::int64_t nanoseconds(WallTime time) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count();
}

}  // namespace

std::vector<KvFile> files_to_remove(std::vector<KvFile> files, std::int64_t now_ns,
                                    std::uint64_t bytes_max, std::size_t more_files,
                                    std::uint64_t more_bytes) {
  constexpr std::int64_t unused_ns = limits::kv_unused_s * 1'000'000'000;
  std::ranges::sort(files, {}, &KvFile::used_ns);
  std::uint64_t bytes = more_bytes;
  for (const auto& file : files) bytes += file.bytes;
  std::size_t gone = 0;
  for (; gone < files.size(); ++gone) {
    const bool unused = now_ns - files[gone].used_ns > unused_ns;
    const bool fits =
        bytes <= bytes_max && files.size() - gone + more_files <= limits::kv_files_max;
    if (!unused && fits) break;
    bytes -= files[gone].bytes;
  }
  files.resize(gone);
  return files;
}

Result<void> prepare_kv_folder(FileSystem& files, const std::filesystem::path& folder) {
  const auto name = "--kv-dir " + folder.string();
  if (const auto made = files.make_private_directory(folder); !made) {
    Error error = made.error();
    error.message = name + ": " + error.message;
    return fail(std::move(error));
  }
  const auto found = files.stat(folder);
  if (!found) return fail(found.error());
  if (found->kind != FileStat::Kind::directory) {
    return fail(Code::invalid_request, name + ": is no folder", "name a folder, or a new one");
  }
  if (!found->own) {
    return fail(Code::forbidden,
                name + ": belongs to another user, who could read the prompts kept there",
                "name a folder of your own, or a new one");
  }
  if ((found->mode & 077) != 0) {
    return fail(Code::forbidden,
                fmt::format("{}: others may look into it (mode {:04o}), and prompts are kept there",
                            name, found->mode),
                "chmod 700 " + folder.string());
  }
  return {};
}

KvFolder::KvFolder(FileSystem& files, const Clock& clock, KvFolderOptions options)
    : files_(files),
      clock_(clock),
      options_(std::move(options)),
      prefix_(kv_file_prefix(options_.fingerprint)) {}

// Whoever writes a file holds its lock, and loses it when it dies.
void KvFolder::remove_if_abandoned(const std::string& temporary) {
  const auto path = options_.path / temporary;
  if (const auto lock = files_.lock(path, 0); lock) static_cast<void>(files_.remove(path));
}

std::vector<KvFile> KvFolder::list() {
  std::vector<KvFile> found;
  const auto names = files_.list(options_.path);
  for (const auto& name : names.value_or(std::vector<std::string>{})) {
    if (is_kv_temporary_name(name)) remove_if_abandoned(name);
    if (!is_kv_file_name(name)) continue;
    const auto facts = files_.stat_link(options_.path / name);
    if (!facts || facts->kind != FileStat::Kind::file || !facts->own) continue;
    found.push_back({name, facts->size_bytes, facts->modified_ns});
  }
  files_count_ = static_cast<std::int64_t>(found.size());
  bytes_ = 0;
  for (const auto& file : found) bytes_ += static_cast<std::int64_t>(file.bytes);
  return found;
}

std::vector<KvFile> KvFolder::make_room(std::size_t more_files, std::uint64_t more_bytes) {
  auto there = list();
  const auto now = nanoseconds(clock_.wall());
  for (const auto& file : files_to_remove(there, now, options_.bytes_max, more_files, more_bytes)) {
    if (!files_.remove(options_.path / file.name)) continue;
    --files_count_;
    bytes_ -= static_cast<std::int64_t>(file.bytes);
    std::erase_if(there, [&](const auto& each) { return each.name == file.name; });
  }
  return there;
}

Result<KvFolder::Opened> KvFolder::open(const std::string& name) {
  auto file = files_.open_beneath(options_.path, name);
  if (!file) return fail(file.error());
  const auto start = read_text(**file, kv_file_start_bytes);
  if (!start) return fail(start.error());
  const auto head_bytes = kv_file_head_bytes(*start);
  if (!head_bytes) return fail(head_bytes.error());
  const auto text = read_text(**file, std::min<std::uint64_t>(*head_bytes, (*file)->size_bytes()));
  if (!text) return fail(text.error());
  auto head = decode_kv_file_head(*text);
  if (!head) return fail(head.error());
  if (head->fingerprint != options_.fingerprint) {
    return fail(Code::conflict, "is of another model, layout or version");
  }
  if ((*file)->size_bytes() - *head_bytes != head->state_bytes) {
    return fail(Code::invalid_request, "is cut off");
  }
  return Opened{std::move(*file), std::move(*head), *head_bytes};
}

void KvFolder::reject(const std::string& name, const Error& error) {
  if (error.code == Code::not_found || !ignored_.insert(name).second) return;
  const bool broken = error.code == Code::invalid_request;
  log_event(LogLevel::warn, "engine", "kv_file_ignored",
            {{"file", name}, {"why", error.message}, {"removed", broken}});
  if (broken) remove(name);
}

KvFolder::Look KvFolder::look(const std::set<std::string>& known) {
  Look look;
  std::int64_t others = 0;
  for (const auto& file : make_room(0, 0)) {
    others += file.name.starts_with(prefix_) ? 0 : 1;
    if (!file.name.starts_with(prefix_)) continue;
    if (!known.contains(file.name)) {
      auto opened = ignored_.contains(file.name) ? fail(Code::conflict, "") : open(file.name);
      if (!opened) {
        look.rejected += opened.error().code == Code::invalid_request ? 1 : 0;
        reject(file.name, opened.error());
        continue;
      }
      look.found.push_back(
          {file.name, std::move(opened->head.scope), std::move(opened->head.tokens)});
    }
    look.there.insert(file.name);
  }
  if (!known.empty() || files_count_ == 0) return look;
  log_event(LogLevel::info, "engine", "kv_folder_read",
            {{"usable", static_cast<std::int64_t>(look.there.size())},
             {"of_others", others},
             {"bytes", bytes_}});
  return look;
}

Result<void> KvFolder::write_as(const std::string& temporary, const std::string& head,
                                const KvSnapshot& snapshot) {
  const auto file = files_.create_private(options_.path / temporary);
  if (!file) return fail(file.error());
  if (const auto done = (*file)->append(std::as_bytes(std::span(head))); !done) return done;
  return (*file)->append(snapshot.state.view());
}

Result<std::string> KvFolder::write(const KvSnapshot& snapshot) {
  const auto head = encode_kv_file_head({.fingerprint = options_.fingerprint,
                                         .scope = snapshot.scope,
                                         .tokens = snapshot.tokens,
                                         .state_bytes = snapshot.state.size,
                                         .state_sum = crc32c(text_of(snapshot.state.view()))});
  const std::uint64_t bytes = head.size() + snapshot.state.size;
  if (bytes > options_.bytes_max) return fail(Code::too_large, "larger than --kv-disk-mib alone");
  make_room(1, bytes);
  const auto free = files_.free_bytes(options_.path);
  if (free && *free < bytes + limits::kv_free_least) {
    return fail(Code::insufficient_storage, "write " + options_.path.string() + ": disk is full",
                "free some disk space");
  }
  const auto name = kv_file_name(options_.fingerprint, snapshot.scope, snapshot.tokens);
  const auto temporary = kv_temporary_name(name, random_hex(8));
  const auto written = write_as(temporary, head, snapshot);
  // Not synced before: what a crash of the machine leaves half written, the checksum tells.
  const auto named =
      written ? files_.rename(options_.path / temporary, options_.path / name) : written;
  if (!named) {
    static_cast<void>(files_.remove(options_.path / temporary));
    return fail(named.error());
  }
  ignored_.erase(name);
  ++files_count_;
  bytes_ += static_cast<std::int64_t>(bytes);
  return name;
}

Result<KvSnapshot> KvFolder::read(const std::string& name) {
  auto opened = open(name);
  if (!opened) {
    reject(name, opened.error());
    return fail(opened.error());
  }
  auto& head = opened->head;
  KvSnapshot snapshot{std::move(head.scope), std::move(head.tokens), {}};
  snapshot.state = {std::make_shared_for_overwrite<std::byte[]>(head.state_bytes),
                    head.state_bytes};
  const auto got =
      opened->file->read_at(opened->head_bytes, {snapshot.state.bytes.get(), snapshot.state.size});
  auto checked = got ? Result<void>{} : fail(got.error());
  if (got && *got != head.state_bytes) checked = fail(Code::invalid_request, "is cut off");
  if (checked && crc32c(text_of(snapshot.state.view())) != head.state_sum) {
    checked = fail(Code::invalid_request, "has a state whose checksum is wrong");
  }
  if (!checked) {
    reject(name, checked.error());
    return fail(checked.error());
  }
  static_cast<void>(used(name));  // purged meanwhile, at worst
  return snapshot;
}

bool KvFolder::used(const std::string& name) {
  return files_.touch(options_.path / name).has_value();
}

void KvFolder::remove(const std::string& name) {
  const auto path = options_.path / name;
  const auto facts = files_.stat_link(path);
  if (!facts || facts->kind != FileStat::Kind::file || !files_.remove(path)) return;
  --files_count_;
  bytes_ -= static_cast<std::int64_t>(facts->size_bytes);
}

}  // namespace llorch
