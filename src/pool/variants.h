// The layouts of one model's weights that `models optimize` made and measured:
// `.test-models/ID/optimized/optimized.json`, beside the files it speaks of.
// Threads: any; writers hold the model's lock. Lifetime: plain values.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "pool/catalog.h"
#include "pool/root.h"
#include "protocol/worker_api.h"

namespace llorch {

// What a measurement on the texts found.
struct VariantFigures {
  std::int64_t tokens = 0;         // of the texts, evaluated
  std::int64_t tokens_scored = 0;  // of them, those that count
  double perplexity = 0;
  double perplexity_error = 0;    // standard error
  double rise_percent = 0;        // against the original; negative: it became better
  double rise_error_percent = 0;  // its standard error, over pairs of chunks
  double prefill_tokens_per_second = 0;
  double decode_tokens_per_second = 0;
  std::vector<double> losses;  // sum of -log p of each chunk
};

struct Variant {
  std::string type;  // "Q8_0"
  std::string path;  // as the catalog stores paths; of a removed file where it would lie
  std::uint64_t size_bytes = 0;
  std::string sha256;
  std::uint64_t memory_bytes = 0;  // estimated, one slot of 4 096 tokens
  std::optional<VariantFigures> figures;
};

struct VariantRecord {
  std::string id;
  // Texts, program and, last, the original's state: of others the figures are stale.
  std::string measured_with;
  CatalogEntry original;  // only what tells its files: path, parts, size, sha256, quantization
  std::vector<Variant> variants;  // the original's own first

  const Variant* find(const std::string& path) const;
};

std::filesystem::path variants_folder(const Root& root, const std::string& id);
// nullopt: none was ever made. Errors: internal (not such a file; next says to remove it).
Result<std::optional<VariantRecord>> read_variants(FileSystem& files,
                                                   const std::filesystem::path& folder);
Result<void> write_variants(FileSystem& files, const std::filesystem::path& folder,
                            const VariantRecord& record);
boost::json::object to_json(const Variant& variant, bool with_losses);

// What `/v1/models` says of a model file, by the record beside it; nullopt for any other file.
std::optional<LossyLayout> find_lossy_layout(FileSystem& files, const std::filesystem::path& model);

}  // namespace llorch
