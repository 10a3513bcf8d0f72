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

// What passes by itself is tried again; with `other_source` a hub that is not there is said at
// once. Errors: unreachable; unauthorized, forbidden, model_not_found; timeout; each with what to
// do.
Result<HubRepository> ask_hub(const PoolContext& context, const std::string& repo,
                              const std::string& revision, bool other_source);
// A request that the hub did not answer, with the next step; other errors as they are.
Error explain_hub_failure(Error error);
// The reason of a refused request to the hub in words, with the next step.
Error explain_hub_status(const PoolContext& context, const std::string& repo,
                         const std::string& what, const WebReply& reply);

// The parts of one model in the hub's own cache, in one folder and by name, as llama.cpp looks for
// them; a model of one file also by its sha256. nullopt when they are not there in full.
std::optional<std::vector<std::filesystem::path>> find_in_hub_cache(
    const PoolContext& context, const HubRepository& repository, const std::vector<HubFile>& files);
// The snapshot of a cached repository that refs/main names, else the newest; nullopt: none.
std::optional<std::filesystem::path> current_snapshot(const PoolContext& context,
                                                      const std::filesystem::path& repository);
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
