// `models optimize`: makes other layouts of a model's weights, measures all, and on request lets
// the best one within the guard serve under the model's id. The original always stays.
// Threads: one; the model's lock keeps other processes out. Kill -9 at any moment leaves a record
// that the next run goes on from.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "pool/context.h"
#include "pool/variants.h"

namespace llorch {

struct OptimizeOptions {
  std::string model;
  std::vector<std::string> types = {"q8_0", "q4_0"};
  std::vector<std::string> texts;  // empty: prose and code of bench/data
  std::string backend = "cpu";
  bool use = false;    // let the best within the guard serve
  bool keep = false;   // also the files of those that lose
  bool fresh = false;  // measure again what was measured before
};

struct Optimized {
  VariantRecord record;
  std::string in_use;    // path of the layout that the catalog names
  std::string best;      // path of the best within the guard; the original's where none is better
  bool verdict = false;  // enough tokens were measured to judge by
  bool changed = false;  // the catalog names another file than before, or one made anew
};

// Errors: model_not_found, invalid_request (no such type or text; --use without enough tokens),
// conflict (another process has the model), insufficient_storage (before anything is made),
// insufficient_memory, not_found (no llorch-candled), backend_error, timeout.
Result<Optimized> optimize_model(const PoolContext& context, const OptimizeOptions& options);

// The way back: the id names its original file again, the others are removed.
Result<Optimized> restore_original(const PoolContext& context, const std::string& model);

// The best layout by speed whose perplexity rises by no more than the guard; the first (the
// original) where none is faster by limits::optimize_gain_min. Shape: not empty, all measured.
const Variant& best_within_guard(const std::vector<Variant>& variants);

// Fills in rise and its error from the losses of the same chunks. Shape: equally many.
void compare_losses(const VariantFigures& original, VariantFigures& other);

// The entry with its original's files, where another layout serves now.
CatalogEntry with_original_files(const PoolContext& context, CatalogEntry entry);

// All that was made of a model, and the record of it; `original` has its original's files.
void remove_variants(const PoolContext& context, const CatalogEntry& original);

// Where prose.txt and code.txt lie: share/llorch/bench beside the programs, else bench/data of the
// checkout. Errors: not_found.
Result<std::vector<std::filesystem::path>> bundled_texts(FileSystem& files,
                                                         const std::filesystem::path& programs);

}  // namespace llorch
