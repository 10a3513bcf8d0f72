#include "pool/hub.h"

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <fmt/format.h>
#include <map>

#include "base/limits.h"
#include "pool/model_memory.h"
#include "pool/retries.h"
#include "pool/text.h"
#include "protocol/json_parse.h"

namespace llorch {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

const json::object* object_at(const json::object& object, std::string_view key) {
  const auto* value = object.if_contains(key);
  return value == nullptr ? nullptr : value->if_object();
}

std::uint64_t size_at(const json::object& object) {
  const auto* value = object.if_contains("size");
  boost::system::error_code failed;
  const auto size = value != nullptr && value->is_number() ? value->to_number<std::uint64_t>(failed)
                                                           : std::uint64_t{0};
  return failed ? 0 : size;
}

bool is_sha256(std::string_view text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == text.npos;
}

// {"sha":COMMIT,"cardData":{"license":…},"siblings":[{"rfilename":…,"size":…,"lfs":{"sha256":…}}]}
HubRepository repository_from(const json::object& reply, const std::string& repo,
                              const std::string& revision) {
  HubRepository repository{.repo = repo, .commit = text_at(reply, "sha")};
  // It goes into URLs and paths, so it must be what it claims to be.
  const auto hexadecimal = std::string_view("0123456789abcdef");
  const auto& commit = repository.commit;
  if (commit.empty() || commit.find_first_not_of(hexadecimal) != commit.npos) {
    repository.commit = revision;
  }
  if (const auto* card = object_at(reply, "cardData"))
    repository.license = text_at(*card, "license");
  const auto* files = reply.if_contains("siblings");
  if (files == nullptr || !files->is_array()) return repository;
  for (const auto& value : files->get_array()) {
    const auto* object = value.if_object();
    if (object == nullptr) continue;
    HubFile file{.name = text_at(*object, "rfilename"), .size_bytes = size_at(*object)};
    if (const auto* large = object_at(*object, "lfs")) {
      const auto sha256 = text_at(*large, "sha256");
      if (is_sha256(sha256)) file.sha256 = sha256;
      if (const auto size = size_at(*large); size > 0) file.size_bytes = size;
    }
    repository.files.push_back(std::move(file));
  }
  return repository;
}

constexpr std::size_t ref_bytes_max = 256;  // a commit and a line end

bool is_model_file(const std::string& name) {
  const std::string base = fs::path(name).filename().string();
  return name.ends_with(".gguf") && !base.starts_with("mmproj") && !base.contains("imatrix");
}

// Smaller is better. Q4_K_M first: the usual balance of size and quality.
std::size_t rank_of(const std::string& quantization) {
  constexpr std::array order = {"Q4_K_M", "Q4_K_S", "IQ4_XS", "Q4_1",   "Q4_0", "Q5_K_M", "Q5_K_S",
                                "Q6_K",   "Q8_0",   "Q3_K_M", "Q3_K_S", "Q2_K", "F16",    "BF16"};
  return static_cast<std::size_t>(std::ranges::find(order, quantization) - order.begin());
}

std::uint64_t total_bytes(const std::vector<HubFile>& files) {
  std::uint64_t sum = 0;
  for (const auto& file : files) sum += file.size_bytes;
  return sum;
}

// The file itself, or all parts of the split it belongs to; empty when a part is missing.
std::vector<HubFile> parts_of(const HubRepository& repository, const std::string& name) {
  const auto split = parse_split_name(name);
  std::vector<HubFile> parts;
  for (int number = 1; number <= std::max(split.count, 1); ++number) {
    const auto* part = repository.find(split.count > 0 ? split_part_name(split, number) : name);
    if (part == nullptr) return {};
    parts.push_back(*part);
  }
  return parts;
}

std::string names_of(const std::vector<std::vector<HubFile>>& models) {
  std::string names;
  for (const auto& model : models) {
    if (names.size() > 400) return names + " …";
    names += (names.empty() ? "" : ", ") + model.front().name;
  }
  return names;
}

}  // namespace

const HubFile* HubRepository::find(std::string_view name) const {
  const auto found = std::ranges::find(files, name, &HubFile::name);
  return found == files.end() ? nullptr : &*found;
}

std::string hub_endpoint(const PoolContext& context) {
  std::string endpoint = context.environment("HF_ENDPOINT").value_or("https://huggingface.co");
  while (endpoint.ends_with('/')) endpoint.pop_back();
  return endpoint;
}

std::string hub_token(const PoolContext& context) {
  return context.environment("HF_TOKEN").value_or("");
}

// Spaces and the like are legal in file names and not in URLs.
std::string hub_file_url(const PoolContext& context, const HubRepository& repository,
                         const std::string& file) {
  std::string path;
  for (const unsigned char c : file) {
    const bool plain =
        std::isalnum(c) != 0 || std::string_view("-._~/").contains(static_cast<char>(c));
    path += plain ? std::string(1, static_cast<char>(c)) : fmt::format("%{:02X}", c);
  }
  return hub_endpoint(context) + "/" + repository.repo + "/resolve/" + repository.commit + "/" +
         path;
}

Error explain_hub_status(const PoolContext& context, const std::string& repo,
                         const std::string& what, const WebReply& reply) {
  const std::string page = hub_endpoint(context) + "/" + repo;
  const bool has_token = !hub_token(context).empty();
  Error error{.code = Code::unreachable,
              .message = fmt::format("{}: the hub answered {}", what, reply.status),
              .next = "try again later"};
  const auto hub_code = reply.header("x-error-code").value_or("");
  if (reply.status == 401) {
    error.code = Code::unauthorized;
    error.message = what + ": the hub knows no such public repository, or " +
                    (has_token ? "HF_TOKEN is not valid (401)" : "it wants a token (401)");
    error.next = has_token ? "check the name at " + page + " and renew HF_TOKEN"
                           : "check the name at " + page + "; for a private one set HF_TOKEN";
  } else if (reply.status == 403) {
    error.code = Code::forbidden;
    error.message = what + ": access is not granted (403" +
                    (hub_code == "GatedRepo" ? ", gated repository)" : ")");
    error.next = "accept the licence at " + page + ", then set HF_TOKEN to a token of that account";
  } else if (reply.status == 404) {
    error.code = Code::model_not_found;
    error.message = what + ": not on the hub (404)";
    error.next = "check repository, revision and file at " + page;
  } else if (reply.status == 429) {
    error.code = Code::quota_exceeded;
    error.message = what + ": the hub asks to slow down (429)";
    if (!has_token) error.next = "wait, or set HF_TOKEN for a higher limit";
  }
  return error;
}

Error explain_hub_failure(Error error) {
  const bool ours = error.code != Code::unreachable && error.code != Code::timeout;
  if (error.next.empty() && !ours) {
    error.next =
        "check the network, HF_ENDPOINT and the proxy settings (https_proxy), then try again";
  }
  return error;
}

Result<HubRepository> ask_hub(const PoolContext& context, const std::string& repo,
                              const std::string& revision, bool other_source) {
  WebRequest request;
  request.url =
      hub_endpoint(context) + "/api/models/" + repo + "/revision/" + revision + "?blobs=true";
  request.bearer = hub_token(context);
  request.total_ms = 30'000;
  Retries retries(context, {.attempts_max = 4, .other_source = other_source});
  for (;;) {
    const auto page = context.http.get(request, limits::hub_reply_bytes_max);
    if (!page) {
      if (retries.after_failure(page.error())) continue;
      return fail(explain_hub_failure(page.error()));
    }
    const long status = page->reply.status;
    if (status == 200) {
      const auto reply = parse_json_object(page->body, limits::hub_reply_bytes_max);
      if (!reply) {
        return fail(Code::unreachable,
                    repo + ": the hub's reply is not JSON: " + reply.error().message,
                    "check HF_ENDPOINT");
      }
      return repository_from(*reply, repo, revision);
    }
    const bool passes = status == 429 || status >= 500;
    const std::string why = fmt::format("{}: the hub answered {}", repo, status);
    if (passes && retries.after_reply(page->reply, why)) continue;
    return fail(explain_hub_status(context, repo, repo, page->reply));
  }
}

fs::path hub_cache_folder(const PoolContext& context) {
  if (const auto cache = context.environment("HF_HUB_CACHE")) return *cache;
  if (const auto home = context.environment("HF_HOME")) return fs::path(*home) / "hub";
  if (const auto cache = context.environment("XDG_CACHE_HOME")) {
    return fs::path(*cache) / "huggingface/hub";
  }
  return fs::path(context.environment("HOME").value_or("/")) / ".cache/huggingface/hub";
}

namespace {

fs::path cached_repository(const PoolContext& context, std::string repo) {
  if (const auto slash = repo.find('/'); slash != repo.npos) repo.replace(slash, 1, "--");
  return hub_cache_folder(context) / ("models--" + repo);
}

}  // namespace

std::optional<std::vector<fs::path>> find_in_hub_cache(const PoolContext& context,
                                                       const HubRepository& repository,
                                                       const std::vector<HubFile>& files) {
  const fs::path folder = cached_repository(context, repository.repo);
  const auto is_there = [&](const fs::path& path, const HubFile& file) {
    const auto found = context.files.stat(path);
    return found && found->kind == FileStat::Kind::file &&
           (file.size_bytes == 0 || found->size_bytes == file.size_bytes);
  };
  std::vector<fs::path> paths;
  for (const auto& file : files) {
    fs::path path = folder / "snapshots" / repository.commit / file.name;
    // A blob has no name by which the other parts could be found.
    const bool single = files.size() == 1 && !file.sha256.empty();
    if (single && !is_there(path, file)) path = folder / "blobs" / file.sha256;
    const bool together = paths.empty() || paths.front().parent_path() == path.parent_path();
    if (!together || !is_there(path, file)) return std::nullopt;
    paths.push_back(std::move(path));
  }
  return paths;
}

std::optional<fs::path> current_snapshot(const PoolContext& context, const fs::path& repository) {
  const fs::path snapshots = repository / "snapshots";
  if (const auto commit = context.files.read(repository / "refs/main", ref_bytes_max)) {
    const fs::path named = snapshots / trim(*commit);
    if (!trim(*commit).empty() && context.files.exists(named)) return named;
  }
  std::optional<fs::path> newest;
  std::int64_t newest_ns = 0;
  for (const auto& name : context.files.list(snapshots).value_or(std::vector<std::string>{})) {
    const auto found = context.files.stat(snapshots / name);
    if (!found || found->kind != FileStat::Kind::directory) continue;
    if (newest && found->modified_ns <= newest_ns) continue;
    newest = snapshots / name;
    newest_ns = found->modified_ns;
  }
  return newest;
}

Result<HubRepository> read_hub_cache(const PoolContext& context, const std::string& repo,
                                     const std::string& revision) {
  const fs::path folder = cached_repository(context, repo);
  HubRepository repository{.repo = repo, .commit = revision};
  if (const auto commit = context.files.read(folder / "refs" / revision, ref_bytes_max)) {
    repository.commit = trim(*commit);
  }
  const fs::path snapshot = folder / "snapshots" / repository.commit;
  const auto names = context.files.list(snapshot);
  if (!names) return fail(Code::not_found, repo + ": not in " + hub_cache_folder(context).string());
  for (const auto& name : *names) {
    const auto found = context.files.stat(snapshot / name);
    if (!found || found->kind != FileStat::Kind::file) continue;
    HubFile file{.name = name, .size_bytes = found->size_bytes};
    std::error_code ignored;
    // A snapshot is a folder of links to blobs named by their sha256.
    const std::string blob = fs::read_symlink(snapshot / name, ignored).filename().string();
    if (is_sha256(blob)) file.sha256 = blob;
    repository.files.push_back(std::move(file));
  }
  return repository;
}

Result<std::vector<HubFile>> choose_files(const HubRepository& repository,
                                          const HubReference& reference,
                                          std::uint64_t memory_bytes) {
  std::vector<std::vector<HubFile>> models;
  for (const auto& file : repository.files) {
    const auto split = parse_split_name(file.name);
    if (!is_model_file(file.name) || split.number > 1) continue;
    auto parts = parts_of(repository, file.name);
    if (!parts.empty()) models.push_back(std::move(parts));
  }
  const std::string page = "llorch-pool models download hf:" + repository.repo + "::FILE";
  if (!reference.file.empty()) {
    auto parts = parts_of(repository, reference.file);
    if (!parts.empty()) return parts;
    return fail(Code::model_not_found,
                fmt::format("{}: has no file {}; it has {}", repository.repo, reference.file,
                            models.empty() ? "no GGUF" : names_of(models)),
                page);
  }
  if (models.empty()) {
    return fail(Code::model_not_found, repository.repo + ": holds no GGUF file",
                "look for a repository whose name ends in -GGUF");
  }
  if (!reference.quantization.empty()) {
    for (const auto& model : models) {
      if (names_quantization(model.front().name, reference.quantization)) return model;
    }
    return fail(Code::model_not_found,
                fmt::format("{}: no {} in it; it has {}", repository.repo, reference.quantization,
                            names_of(models)),
                page);
  }
  std::ranges::stable_sort(
      models, {}, [](const auto& model) { return rank_of(quantization_of(model.front().name)); });
  for (const auto& model : models) {
    if (fits_memory(total_bytes(model), memory_bytes)) return model;
  }
  const auto smallest = std::ranges::min_element(models, {}, total_bytes);
  return fail(
      Code::insufficient_memory,
      fmt::format("{}: none of its {} files fits this machine's {}; the smallest is {} ({})",
                  repository.repo, models.size(), human_bytes(memory_bytes), smallest->front().name,
                  human_bytes(total_bytes(*smallest))),
      "choose a smaller model, or name a file to download it anyway: " + page);
}

}  // namespace llorch
