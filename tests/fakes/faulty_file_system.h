// The real disk with faults of a test's choice, by operation and path. Threads: one.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "sys/file_system.h"

namespace llorch {

class FaultyFileSystem final : public FileSystem {
 public:
  // Called before each operation ("read", "write", "rename", …); an error is what it then gives.
  std::function<std::optional<Error>(std::string_view operation, const Path& path)> fault;
  std::optional<std::uint64_t> free_bytes_told;

  Result<std::string> read(const Path& path, std::size_t bytes_max) override {
    if (const auto error = ask("read", path)) return fail(*error);
    return real_->read(path, bytes_max);
  }
  Result<void> write_atomic(const Path& path, std::string_view bytes) override {
    if (const auto error = ask("write", path)) return fail(*error);
    return real_->write_atomic(path, bytes);
  }
  Result<FileStat> stat(const Path& path) override {
    if (const auto error = ask("stat", path)) return fail(*error);
    return real_->stat(path);
  }
  Result<FileStat> stat_link(const Path& path) override {
    if (const auto error = ask("stat", path)) return fail(*error);
    return real_->stat_link(path);
  }
  Result<std::vector<std::string>> list(const Path& directory) override {
    if (const auto error = ask("list", directory)) return fail(*error);
    return real_->list(directory);
  }
  Result<void> remove(const Path& path) override {
    if (const auto error = ask("remove", path)) return fail(*error);
    return real_->remove(path);
  }
  Result<void> make_directories(const Path& path) override {
    if (const auto error = ask("make", path)) return fail(*error);
    return real_->make_directories(path);
  }
  Result<void> make_private_directory(const Path& path) override {
    if (const auto error = ask("make", path)) return fail(*error);
    return real_->make_private_directory(path);
  }
  Result<void> rename(const Path& from, const Path& to) override {
    if (const auto error = ask("rename", to)) return fail(*error);
    return real_->rename(from, to);
  }
  Result<std::uint64_t> free_bytes(const Path& path) override {
    if (const auto error = ask("free", path)) return fail(*error);
    if (free_bytes_told) return *free_bytes_told;
    return real_->free_bytes(path);
  }
  Result<std::unique_ptr<ReadableFile>> open(const Path& path) override {
    if (const auto error = ask("open", path)) return fail(*error);
    return real_->open(path);
  }
  Result<std::unique_ptr<ReadableFile>> open_beneath(const Path& root,
                                                     std::string_view relative) override {
    if (const auto error = ask("open", root / relative)) return fail(*error);
    return real_->open_beneath(root, relative);
  }
  Result<std::unique_ptr<WritableFile>> open_append(const Path& path) override {
    if (const auto error = ask("append", path)) return fail(*error);
    auto file = real_->open_append(path);
    if (!file) return fail(file.error());
    return std::make_unique<Watched>(*this, path, std::move(*file));
  }
  Result<std::unique_ptr<WritableFile>> create_private(const Path& path) override {
    if (const auto error = ask("create", path)) return fail(*error);
    auto file = real_->create_private(path);
    if (!file) return fail(file.error());
    return std::make_unique<Watched>(*this, path, std::move(*file));
  }
  Result<void> touch(const Path& path) override {
    if (const auto error = ask("touch", path)) return fail(*error);
    return real_->touch(path);
  }
  Result<std::unique_ptr<FileLock>> lock(const Path& path, std::int64_t wait_ms) override {
    if (const auto error = ask("lock", path)) return fail(*error);
    return real_->lock(path, wait_ms);
  }

 private:
  // A file whose appends and sync can be seen and made to fail.
  class Watched final : public WritableFile {
   public:
    Watched(FaultyFileSystem& files, Path path, std::unique_ptr<WritableFile> real)
        : files_(files), path_(std::move(path)), real_(std::move(real)) {}
    std::uint64_t size_bytes() const override { return real_->size_bytes(); }
    Result<void> append(std::span<const std::byte> bytes) override {
      if (const auto error = files_.ask("append_bytes", path_)) return fail(*error);
      return real_->append(bytes);
    }
    Result<void> truncate(std::uint64_t size_bytes) override { return real_->truncate(size_bytes); }
    Result<void> sync() override {
      if (const auto error = files_.ask("sync", path_)) return fail(*error);
      return real_->sync();
    }

   private:
    FaultyFileSystem& files_;
    Path path_;
    std::unique_ptr<WritableFile> real_;
  };

  std::optional<Error> ask(std::string_view operation, const Path& path) {
    return fault ? fault(operation, path) : std::nullopt;
  }
  std::unique_ptr<FileSystem> real_ = make_file_system();
};

}  // namespace llorch
