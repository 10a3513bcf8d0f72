// What a model hub says of a repository, and the same from the standard cache on this disk.
// Threads: one. Source: the Hugging Face hub's HTTP API (`/api/models/REPO/revision/REV`) and its
// cache layout (models--ORG--REPO/{blobs,refs,snapshots}).
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "pool/context.h"
#include "pool/model_reference.h"

namespace llorch {

struct HubFile {
  std::string name;              // path inside the repository
  std::uint64_t size_bytes = 0;  // 0 = the hub does not say
  std::string sha256;            // empty = the hub does not say
};

struct HubRepository {
  std::string repo;
  std::string commit;  // what `revision` means just now
  std::string license;
  std::vector<HubFile> files;
  const HubFile* find(std::string_view name) const;
};

std::string hub_endpoint(const PoolContext& context);  // $HF_ENDPOINT, without a slash at the end
std::string hub_token(const PoolContext& context);     // $HF_TOKEN, else empty
std::string hub_file_url(const PoolContext& context, const HubRepository& repository,
                         const std::string& file);

// Errors: unreachable; unauthorized, forbidden, model_not_found, each with what to do; timeout.
Result<HubRepository> ask_hub(const PoolContext& context, const std::string& repo,
                              const std::string& revision);
// The reason of a refused request to the hub in words, with the next step.
Error explain_hub_status(const PoolContext& context, const std::string& repo,
                         const std::string& what, const WebReply& reply);

// The file in the hub's own cache, by its sha256 where known, else by name; nullopt when it is not
// there in full.
std::optional<std::filesystem::path> find_in_hub_cache(const PoolContext& context,
                                                       const HubRepository& repository,
                                                       const HubFile& file);
// What the cache knows of a repository without asking the hub. Errors: not_found.
Result<HubRepository> read_hub_cache(const PoolContext& context, const std::string& repo,
                                     const std::string& revision);
std::filesystem::path hub_cache_folder(const PoolContext& context);

// The files of one model, all parts of a split one in order. Without file and quantisation the
// best one that fits `memory_bytes` is chosen. Errors: model_not_found (with what there is),
// insufficient_memory (none fits; the smallest is named).
Result<std::vector<HubFile>> choose_files(const HubRepository& repository,
                                          const HubReference& reference,
                                          std::uint64_t memory_bytes);

}  // namespace llorch
