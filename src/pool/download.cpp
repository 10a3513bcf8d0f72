#include "pool/download.h"

#include <algorithm>
#include <boost/json.hpp>
#include <charconv>
#include <fmt/format.h>

#include "base/limits.h"
#include "console/terminal.h"
#include "pool/retries.h"
#include "pool/sha256.h"
#include "pool/text.h"
#include "protocol/json_parse.h"

namespace llorch {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

constexpr std::size_t piece_bytes = 1 * limits::mib;
constexpr std::uint64_t disk_reserve_bytes = 64 * limits::mib;  // a full disk hurts everyone

struct ContentRange {
  std::uint64_t start = 0;
  std::uint64_t total = 0;
};

// "bytes 100-199/200"
std::optional<ContentRange> parse_content_range(std::string_view text) {
  if (!text.starts_with("bytes ")) return std::nullopt;
  text.remove_prefix(6);
  ContentRange range;
  const auto slash = text.find('/');
  if (slash == text.npos) return std::nullopt;
  const auto read = [](std::string_view digits, std::uint64_t& into) {
    return std::from_chars(digits.data(), digits.data() + digits.size(), into).ec == std::errc{};
  };
  if (!read(text, range.start) || !read(text.substr(slash + 1), range.total)) return std::nullopt;
  return range;
}

// A weak tag names equal meaning, not equal bytes: useless for resuming.
std::string strong_etag(const WebReply& reply) {
  const auto etag = reply.header("etag").value_or("");
  return etag.starts_with('"') ? etag : std::string();
}

// The file while it grows: bytes on disk, their running hash, and what they belong to.
class PartialFile {
 public:
  PartialFile(const PoolContext& context, const DownloadRequest& request)
      : context_(context), request_(request) {}

  // Takes up what an earlier run left, when it belongs to the same file.
  Result<void> open() {
    auto file = context_.files.open_append(part());
    if (!file) return fail(file.error());
    file_ = std::move(*file);
    if (file_->size_bytes() == 0) return {};
    const bool too_long = request_.size_bytes > 0 && file_->size_bytes() > request_.size_bytes;
    return read_state() && !too_long ? hash_present() : restart();
  }

  Result<void> restart() {
    (void)hash_.finish();  // starts anew
    etag_.clear();
    return file_->truncate(0);
  }

  Result<void> append(std::span<const std::byte> bytes) {
    hash_.add(bytes);
    return file_->append(bytes);
  }

  Result<void> remember(const std::string& etag) {
    etag_ = etag;
    const json::object state = {{"etag", etag}, {"sha256", request_.sha256}};
    return context_.files.write_atomic(state_path(), json::serialize(state));
  }

  // Whole and right: under its final name. Gives the sha256.
  Result<std::string> complete() {
    const std::string sha256 = hash_.finish();
    if (!request_.sha256.empty() && sha256 != request_.sha256) {
      discard();
      return fail(Code::conflict,
                  fmt::format("{}: its sha256 is {}, {} was promised",
                              request_.target.filename().string(), sha256, request_.sha256),
                  "try again; if it happens twice, the source is damaged or replaced");
    }
    if (const auto synced = file_->sync(); !synced) return fail(synced.error());
    if (const auto named = context_.files.rename(part(), request_.target); !named) {
      return fail(named.error());
    }
    (void)context_.files.remove(state_path());  // a stray one does no harm
    return sha256;
  }

  void discard() {
    (void)context_.files.remove(part());
    (void)context_.files.remove(state_path());
  }

  std::uint64_t size_bytes() const { return file_->size_bytes(); }
  const std::string& etag() const { return etag_; }

 private:
  fs::path part() const { return request_.target.string() + ".part"; }
  fs::path state_path() const { return request_.target.string() + ".part.json"; }

  // Whether the part is of the file now wanted: equal sha256, or an ETag the server can compare.
  bool read_state() {
    const auto text = context_.files.read(state_path(), limits::worker_file_bytes_max);
    const auto state = text ? parse_json_object(*text) : fail(text.error());
    if (!state) return false;
    etag_ = text_at(*state, "etag");
    return text_at(*state, "sha256") == request_.sha256 &&
           (!request_.sha256.empty() || !etag_.empty());
  }

  Result<void> hash_present() {
    const auto file = context_.files.open(part());
    if (!file) return fail(file.error());
    std::vector<std::byte> piece(piece_bytes);
    for (std::uint64_t at = 0; at < file_->size_bytes();) {
      const auto got = (*file)->read_at(at, piece);
      if (!got) return fail(got.error());
      if (*got == 0) return restart();
      hash_.add(std::span(piece).first(*got));
      at += *got;
      if (request_.checking) request_.checking(at, file_->size_bytes());
    }
    return {};
  }

  const PoolContext& context_;
  const DownloadRequest& request_;
  std::unique_ptr<WritableFile> file_;
  Sha256 hash_;
  std::string etag_;
};

// One request. Gives whether the file is whole now; a body that ended early is an error.
class Attempt {
 public:
  Attempt(const PoolContext& context, const DownloadRequest& request, PartialFile& part)
      : context_(context), request_(request), part_(part) {}

  Result<WebReply> run() {
    WebRequest web{.url = request_.url, .bearer = request_.bearer};
    web.headers = {"Accept-Encoding: identity"};
    asked_from_ = part_.size_bytes();
    if (asked_from_ > 0) {
      web.headers.push_back(fmt::format("Range: bytes={}-", asked_from_));
      if (!part_.etag().empty()) web.headers.push_back("If-Range: " + part_.etag());
    }
    const auto head = [this](const WebReply& reply) { return take_head(reply); };
    const auto body = [this](std::span<const std::byte> bytes) { return take_body(bytes); };
    return context_.http.fetch(web, head, body);
  }

  std::uint64_t total() const { return total_; }

 private:
  Result<void> take_head(const WebReply& reply) {
    taking_ = reply.status == 200 || reply.status == 206;
    if (reply.status == 416) return part_.restart();
    if (!taking_) return {};
    const std::string etag = strong_etag(reply);
    if (reply.status == 206) {
      const auto range = parse_content_range(reply.header("content-range").value_or(""));
      const bool other_file =
          !etag.empty() && !part_.etag().empty() && etag != part_.etag() && request_.sha256.empty();
      if (!range || range->start != asked_from_ || other_file) {
        // The next attempt starts from nothing.
        if (const auto again = part_.restart(); !again) return again;
        return fail(Code::unreachable, origin_of(reply.url) + ": the file was replaced meanwhile");
      }
      total_ = range->total;
    } else {
      if (part_.size_bytes() > 0) {
        if (const auto again = part_.restart(); !again) return again;
      }
      const auto length = reply.header("content-length").value_or("");
      std::from_chars(length.data(), length.data() + length.size(), total_);
    }
    if (request_.size_bytes > 0 && total_ > 0 && total_ != request_.size_bytes) {
      return fail(Code::conflict,
                  fmt::format("{}: it has {} bytes, {} were promised",
                              request_.target.filename().string(), total_, request_.size_bytes),
                  "try again later");
    }
    // Of a reply without a length, what is known from elsewhere bounds it.
    if (total_ == 0) total_ = request_.size_bytes;
    const std::uint64_t missing = total_ > part_.size_bytes() ? total_ - part_.size_bytes() : 0;
    const auto room = require_disk(context_, request_.target.parent_path(), missing);
    if (!room) return room;
    return part_.remember(etag);
  }

  Result<void> take_body(std::span<const std::byte> bytes) {
    if (!taking_) return {};
    if (total_ > 0 && bytes.size() > total_ - std::min(total_, part_.size_bytes())) {
      part_.discard();  // what is here of it is as wrong
      return fail(Code::conflict,
                  fmt::format("{}: more bytes came than the {} that were promised",
                              request_.target.filename().string(), total_),
                  "try again later");
    }
    const auto kept = part_.append(bytes);
    if (kept && request_.progress) request_.progress(part_.size_bytes(), total_);
    return kept;
  }

  const PoolContext& context_;
  const DownloadRequest& request_;
  PartialFile& part_;
  std::uint64_t asked_from_ = 0;
  std::uint64_t total_ = 0;
  bool taking_ = false;
};

// The same error, with what is on disk already, for the line that tells of the next try.
Error at_bytes(Error error, const PartialFile& part) {
  if (part.size_bytes() > 0) error.message += ", " + human_bytes(part.size_bytes()) + " are here";
  return error;
}

}  // namespace

Result<std::string> download_file(const PoolContext& context, const DownloadRequest& request) {
  PartialFile part(context, request);
  if (const auto opened = part.open(); !opened) return fail(opened.error());
  if (request.size_bytes > 0) {
    if (part.size_bytes() == request.size_bytes) return part.complete();
    const auto missing = request.size_bytes - part.size_bytes();
    const auto room = require_disk(context, request.target.parent_path(), missing);
    if (!room) return fail(room.error());
  }

  Retries retries(context, {limits::download_attempts_max, request.other_source});
  for (;;) {
    const std::uint64_t before = part.size_bytes();
    Attempt one(context, request, part);
    const auto reply = one.run();
    if (part.size_bytes() > before) retries.moved();
    if (!reply) {
      if (retries.after_failure(at_bytes(reply.error(), part))) continue;
      return fail(reply.error());
    }
    Error why;
    bool passes = true;
    if (reply->status == 200 || reply->status == 206) {
      const bool whole = one.total() == 0 || part.size_bytes() == one.total();
      if (whole) return part.complete();
      why = {.code = Code::unreachable,
             .message = origin_of(request.url) + ": cut off",
             .next = "run the same command again: it goes on where it was"};
    } else {
      why = request.explain
                ? request.explain(*reply)
                : Error{.code = Code::unreachable,
                        .message = fmt::format("{}: answered {}", request.url, reply->status)};
      passes = reply->status == 429 || reply->status >= 500 || reply->status == 416;
    }
    if (!passes || !retries.after_reply(*reply, at_bytes(why, part).message)) return fail(why);
  }
}

Result<std::string> hash_file(FileSystem& files, const fs::path& path,
                              const std::function<void(std::uint64_t, std::uint64_t)>& progress) {
  const auto file = files.open(path);
  if (!file) return fail(file.error());
  Sha256 hash;
  std::vector<std::byte> piece(piece_bytes);
  for (std::uint64_t at = 0;;) {
    const auto got = (*file)->read_at(at, piece);
    if (!got) return fail(got.error());
    if (*got == 0) return hash.finish();
    hash.add(std::span(piece).first(*got));
    at += *got;
    if (progress) progress(at, (*file)->size_bytes());
  }
}

Result<std::string> copy_file(FileSystem& files, const fs::path& from, const fs::path& to,
                              const std::function<void(std::uint64_t)>& progress) {
  const auto source = files.open(from);
  if (!source) return fail(source.error());
  const std::uint64_t size = (*source)->size_bytes();
  const fs::path part = to.string() + ".part";
  const auto target = files.open_append(part);
  if (!target) return fail(target.error());
  if (const auto cut = (*target)->truncate(0); !cut) return fail(cut.error());
  Sha256 hash;
  std::vector<std::byte> piece(piece_bytes);
  for (std::uint64_t at = 0; at < size;) {
    const auto got = (*source)->read_at(at, piece);
    if (!got) return fail(got.error());
    if (*got == 0) return fail(Code::conflict, from.string() + ": shrank while it was copied");
    const auto bytes = std::span(piece).first(*got);
    hash.add(bytes);
    if (const auto kept = (*target)->append(bytes); !kept) {
      (void)files.remove(part);
      return fail(kept.error());
    }
    at += *got;
    progress(at);
  }
  if (const auto synced = (*target)->sync(); !synced) return fail(synced.error());
  if (const auto named = files.rename(part, to); !named) return fail(named.error());
  return hash.finish();
}

Result<void> require_disk(const PoolContext& context, const fs::path& folder, std::uint64_t bytes) {
  const auto free = context.files.free_bytes(folder);
  if (!free) return fail(free.error());
  if (*free >= bytes + disk_reserve_bytes) return {};
  return fail(Code::insufficient_storage,
              fmt::format("{}: {} needed and {} kept free, {} there", folder.string(),
                          human_bytes(bytes), human_bytes(disk_reserve_bytes), human_bytes(*free)),
              "free some space, or set LLORCH_ROOT to a larger disk");
}

}  // namespace llorch
