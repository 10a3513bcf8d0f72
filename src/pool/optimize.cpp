#include "pool/optimize.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <utility>

#include "base/limits.h"
#include "base/version.h"
#include "pool/download.h"
#include "pool/model_memory.h"
#include "pool/model_reference.h"
#include "pool/model_store.h"
#include "pool/optimize_run.h"
#include "pool/sha256.h"
#include "pool/text.h"

namespace llorch {
namespace {

namespace fs = std::filesystem;

// "SmolLM2-135M-Instruct.Q4_1.gguf" as Q8_0: "SmolLM2-135M-Instruct.Q8_0.gguf".
std::string variant_name(const std::string& original, const std::string& type) {
  const auto split = parse_split_name(original);
  std::string stem = split.count > 0 ? split.stem : fs::path(original).stem().string();
  const auto quantization = upper(quantization_of(original));
  if (!quantization.empty()) {
    const auto at = upper(stem).rfind(quantization);
    if (at != std::string::npos && at > 1) stem.resize(at - 1);
  }
  return stem + "." + type + ".gguf";
}

// Geometric mean of both speeds: halving one is as bad as doubling the other is good.
double speed_of(const VariantFigures& figures) {
  return std::sqrt(figures.prefill_tokens_per_second * figures.decode_tokens_per_second);
}

// The catalog's entry keeps all but its files.
void take_files(CatalogEntry& entry, const CatalogEntry& from) {
  entry.path = from.path;
  entry.extra_files = from.extra_files;
  entry.extra_sha256 = from.extra_sha256;
  entry.size_bytes = from.size_bytes;
  entry.sha256 = from.sha256;
  entry.quantization = from.quantization;
}

// One run over one model, under its lock.
class Optimizer {
 public:
  Optimizer(const PoolContext& context, CatalogEntry entry, std::string backend)
      : context_(context),
        entry_(std::move(entry)),
        folder_(variants_folder(context.root, entry_.id)),
        backend_(std::move(backend)) {}

  // Reads what earlier runs left; what they did not finish or made of other weights goes.
  Result<void> open() {
    auto known = read_variants(context_.files, folder_);
    if (!known) return fail(known.error());
    auto& record = *known;
    if (record && (record->original.path == entry_.path || record->find(entry_.path) != nullptr)) {
      record_ = std::move(*record);
    } else {
      record_.original = entry_;
    }
    record_.id = record_.original.id = entry_.id;
    // The catalog knows its own file best: registered again, it is another one.
    if (entry_.path == record_.original.path) record_.original = entry_;
    const auto state = original_state();
    if (state && !record_.measured_with.ends_with(*state)) return forget_variants();
    for (const auto& name : context_.files.list(folder_).value_or(std::vector<std::string>{})) {
      if (name.ends_with(".part")) (void)context_.files.remove(folder_ / name);
    }
    return {};
  }

  Result<Optimized> optimize(const OptimizeOptions& options, const std::vector<fs::path>& texts) {
    if (const auto planned = plan(options, texts); !planned) return fail(planned.error());
    if (const auto room = require_room(); !room) return fail(room.error());
    for (auto& variant : record_.variants) {
      if (const auto done = make_and_measure(variant, texts); !done) return fail(done.error());
    }
    const auto original = record_.variants.front().figures.value_or(VariantFigures{});
    for (auto& variant : record_.variants) {
      if (variant.figures) compare_losses(original, *variant.figures);
    }
    if (const auto kept = save(); !kept) return fail(kept.error());
    const auto& best = best_within_guard(record_.variants);
    const bool verdict = original.tokens >= limits::perplexity_tokens_min;
    const auto best_path = best.path;
    if (options.use && verdict && best_path != entry_.path) {
      if (const auto used = use(best); !used) return fail(used.error());
    }
    if (!options.keep) remove_unused();
    return result_of(best_path, verdict);
  }

  Result<Optimized> restore() {
    if (!context_.files.exists(model_path(context_.root, record_.original))) {
      return fail(
          Code::not_found,
          "model '" + entry_.id + "': its original file " + record_.original.path + " is gone",
          "llorch-pool models delete " + entry_.id);
    }
    if (const auto put = serve_original(); !put) return fail(put.error());
    remove_unused();
    return result_of(record_.original.path, false);
  }

 private:
  // The record's variants as wanted now; figures that are still true stay.
  Result<void> plan(const OptimizeOptions& options, const std::vector<fs::path>& texts) {
    const auto state = measured_with(texts);
    if (!state) return fail(state.error());
    const bool stale = options.fresh || record_.measured_with != *state;
    record_.measured_with = *state;
    auto known = std::exchange(record_.variants, {});
    const auto add = [&](const std::string& type, const std::string& path) {
      const auto same = std::ranges::find(known, path, &Variant::path);
      Variant variant = same == known.end() ? Variant{} : std::move(*same);
      variant.type = type;
      variant.path = path;
      if (stale) variant.figures.reset();
      record_.variants.push_back(std::move(variant));
    };
    add(record_.original.quantization, record_.original.path);
    const auto name = fs::path(record_.original.path).filename().string();
    for (const auto& wanted : options.types) {
      const auto type = upper(wanted);
      if (type == record_.original.quantization) continue;
      add(type, stored_path(context_.root, folder_ / variant_name(name, type)));
    }
    // What serves now must not be forgotten because another type was asked for.
    for (auto& variant : known) {
      if (variant.path == entry_.path && record_.find(variant.path) == nullptr) {
        record_.variants.push_back(std::move(variant));
      }
    }
    return context_.files.make_directories(folder_);
  }

  // " SIZE TIME" of each of the original's files: what else was made of other weights.
  Result<std::string> original_state() const {
    const auto first = model_path(context_.root, record_.original);
    std::vector<fs::path> paths = {first};
    for (const auto& part : record_.original.extra_files) {
      paths.push_back(first.parent_path() / part);
    }
    std::string state;
    for (const auto& path : paths) {
      const auto file = context_.files.stat(path);
      if (!file) return fail(file.error());
      state += fmt::format(" {} {}", file->size_bytes, file->modified_ns);
    }
    return state;
  }

  // The catalog first: an entry whose file is gone would be a lie.
  Result<void> forget_variants() {
    if (const auto put = serve_original(); !put) return put;
    remove_variants(context_, record_.original);
    record_.variants.clear();
    return {};
  }

  // Figures are true for one original, one set of texts, one version, one device. The original's
  // state comes last: open() looks for it there.
  Result<std::string> measured_with(const std::vector<fs::path>& texts) const {
    const auto state = original_state();
    if (!state) return fail(state.error());
    Sha256 hash;
    for (const auto& text : texts) {
      const auto bytes = context_.files.read(text, limits::perplexity_text_bytes_max);
      if (!bytes) return fail(bytes.error());
      hash.add(std::as_bytes(std::span(*bytes)));
    }
    return fmt::format("{} {} {}{}", hash.finish(), version(), backend_, *state);
  }

  // Eight bits and a half a weight are the most that a candidate of a smaller type takes.
  Result<void> require_room() const {
    const auto shape = read_model_shape(context_.files, model_path(context_.root, record_.original),
                                        record_.original.extra_files);
    if (!shape) return fail(shape.error());
    std::uint64_t bytes = 0;
    for (const auto& variant : record_.variants) {
      if (variant.figures || context_.files.exists(full(variant))) continue;
      const bool wide = variant.type.ends_with("F16");
      bytes += wide ? 2 * shape->parameters : shape->parameters + shape->parameters / 16;
    }
    return require_disk(context_, folder_, bytes);
  }

  fs::path full(const Variant& variant) const {
    return (context_.root.path / variant.path).lexically_normal();
  }
  bool is_original(const Variant& variant) const { return variant.path == record_.original.path; }

  CandledRun candled(const fs::path& model) const {
    return {.id = entry_.id, .model = model, .backend = backend_};
  }

  Result<void> make(Variant& variant) {
    if (!context_.files.exists(full(variant))) {
      const auto source = model_path(context_.root, record_.original);
      const auto made = run_requantize(context_, candled(source), variant.type, full(variant));
      if (!made) return made;
    }
    const auto file = context_.files.stat(full(variant));
    if (!file) return fail(file.error());
    variant.size_bytes = file->size_bytes;
    auto sha256 = hash_file(context_.files, full(variant), {});
    if (!sha256) return fail(sha256.error());
    // Figures of a file that came out differently are another file's.
    if (!variant.sha256.empty() && variant.sha256 != *sha256) variant.figures.reset();
    variant.sha256 = std::move(*sha256);
    return {};
  }

  Result<void> make_and_measure(Variant& variant, const std::vector<fs::path>& texts) {
    if (variant.figures) return {};
    if (is_original(variant)) {
      variant.size_bytes = record_.original.size_bytes;
      variant.sha256 = record_.original.sha256;
    } else if (const auto made = make(variant); !made) {
      return made;
    }
    const auto parts =
        is_original(variant) ? record_.original.extra_files : std::vector<std::string>{};
    const auto shape = read_model_shape(context_.files, full(variant), parts);
    if (!shape) return fail(shape.error());
    const auto context_tokens = std::min<std::uint64_t>(4096, shape->context_tokens);
    const auto memory = estimate_memory(*shape, {.context_tokens = context_tokens});
    if (memory) variant.memory_bytes = memory->total_bytes;
    auto figures = run_measure(context_, candled(full(variant)), variant.type, texts);
    if (!figures) return fail(figures.error());
    variant.figures = std::move(*figures);
    return save();
  }

  Result<void> save() { return write_variants(context_.files, folder_, record_); }

  Result<void> use(const Variant& best) {
    if (is_original(best)) return switch_to(record_.original);
    const auto at = std::ranges::find(record_.variants, best.path, &Variant::path);
    const auto measured = *at;
    if (const auto made = make(*at); !made) return made;
    if (!at->figures) {
      *at = measured;
      return fail(Code::conflict, full(measured).string() + ": is not the file that was measured",
                  "remove it, then llorch-pool models optimize " + entry_.id + " --use");
    }
    if (const auto kept = save(); !kept) return kept;
    CatalogEntry files;
    files.path = at->path;
    files.sha256 = at->sha256;
    files.size_bytes = at->size_bytes;
    files.quantization = at->type;
    return switch_to(files);
  }

  Result<void> serve_original() {
    return entry_.path == record_.original.path ? Result<void>{} : switch_to(record_.original);
  }

  Result<void> switch_to(const CatalogEntry& to) {
    auto changed = entry_;
    take_files(changed, to);
    const auto updated =
        update_catalog(context_.files, context_.root, [&](Catalog& catalog) -> Result<void> {
          const auto known = std::ranges::find(catalog.models, entry_.id, &CatalogEntry::id);
          if (known == catalog.models.end() || known->path != entry_.path) {
            return fail(Code::conflict, "model '" + entry_.id + "': changed meanwhile",
                        "llorch-pool models info " + entry_.id);
          }
          *known = changed;
          return {};
        });
    if (!updated) return updated;
    entry_ = std::move(changed);
    switched_ = true;
    return {};
  }

  Optimized result_of(const std::string& best, bool verdict) const {
    return {.record = record_,
            .in_use = entry_.path,
            .best = best,
            .verdict = verdict,
            .changed = switched_};
  }

  void remove_unused() {
    for (const auto& variant : record_.variants) {
      if (!is_original(variant) && variant.path != entry_.path) {
        (void)context_.files.remove(full(variant));
      }
    }
  }

  const PoolContext& context_;
  CatalogEntry entry_;
  fs::path folder_;
  std::string backend_;
  VariantRecord record_;
  bool switched_ = false;  // the catalog names another file than before, or one made anew
};

Result<CatalogEntry> downloaded(const PoolContext& context, const std::string& name) {
  const auto catalog = read_catalog(context.files, context.root);
  if (!catalog) return fail(catalog.error());
  auto entry = find_model(*catalog, context.settings, name);
  if (!entry || entry->downloaded) return entry;
  return fail(Code::model_not_found, "model '" + entry->id + "': not downloaded",
              "llorch-pool models download " + entry->id);
}

// Runs `work` on the model under its lock, with the catalog as it is then.
template <class Work>
Result<Optimized> locked(const PoolContext& context, const std::string& name,
                         const std::string& backend, const Work& work) {
  const auto entry = downloaded(context, name);
  if (!entry) return fail(entry.error());
  const auto lock = lock_model(context, entry->id);
  if (!lock) return fail(lock.error());
  const auto now = downloaded(context, entry->id);
  if (!now) return fail(now.error());
  Optimizer optimizer(context, *now, backend);
  if (const auto opened = optimizer.open(); !opened) return fail(opened.error());
  return work(optimizer);
}

Result<std::vector<fs::path>> wanted_texts(const PoolContext& context,
                                           const OptimizeOptions& options) {
  if (options.texts.empty()) return bundled_texts(context.files, context.program_folder);
  std::vector<fs::path> texts;
  for (const auto& text : options.texts) texts.push_back(fs::absolute(text).lexically_normal());
  return texts;
}

}  // namespace

const Variant& best_within_guard(const std::vector<Variant>& variants) {
  const Variant* best = &variants.front();
  double needed = best->figures ? speed_of(*best->figures) * limits::optimize_gain_min : 0;
  for (const auto& variant : variants) {
    if (!variant.figures) continue;
    if (variant.figures->rise_percent > limits::perplexity_rise_percent_max) continue;
    const double speed = speed_of(*variant.figures);
    if (speed <= needed) continue;
    best = &variant;
    needed = speed;
  }
  return *best;
}

void compare_losses(const VariantFigures& original, VariantFigures& other) {
  const auto count = std::min(original.losses.size(), other.losses.size());
  if (count == 0 || other.tokens_scored <= 0) return;
  const double each = static_cast<double>(other.tokens_scored) / static_cast<double>(count);
  double sum = 0;
  double squares = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const double more = (other.losses[i] - original.losses[i]) / each;
    sum += more;
    squares += more * more;
  }
  const auto n = static_cast<double>(count);
  const double mean = sum / n;
  const double variance = std::max(0.0, squares / n - mean * mean);
  other.rise_percent = 100 * std::expm1(mean);
  other.rise_error_percent = count > 1 ? 100 * std::exp(mean) * std::sqrt(variance / (n - 1)) : 0;
}

Result<std::vector<fs::path>> bundled_texts(FileSystem& files, const fs::path& programs) {
  std::vector<fs::path> folders = {programs.parent_path() / "share/llorch/bench"};
  constexpr int levels_max = 6;  // build/<preset>/bin is three deep
  fs::path above = programs;
  for (int level = 0; level < levels_max && above.has_relative_path(); ++level) {
    folders.push_back(above / "bench/data");
    above = above.parent_path();
  }
  for (const auto& folder : folders) {
    const std::vector<fs::path> texts = {folder / "prose.txt", folder / "code.txt"};
    if (std::ranges::all_of(texts, [&](const auto& text) { return files.exists(text); })) {
      return texts;
    }
  }
  return fail(Code::not_found, "prose.txt and code.txt: not found beside the programs",
              "give texts of at least 20 000 tokens with --text");
}

Result<Optimized> optimize_model(const PoolContext& context, const OptimizeOptions& options) {
  const auto texts = wanted_texts(context, options);
  if (!texts) return fail(texts.error());
  return locked(context, options.model, options.backend,
                [&](Optimizer& optimizer) { return optimizer.optimize(options, *texts); });
}

Result<Optimized> restore_original(const PoolContext& context, const std::string& model) {
  return locked(context, model, "cpu", [](Optimizer& optimizer) { return optimizer.restore(); });
}

CatalogEntry with_original_files(const PoolContext& context, CatalogEntry entry) {
  const auto read = read_variants(context.files, variants_folder(context.root, entry.id));
  if (!read) return entry;
  const auto& record = *read;
  if (record && record->find(entry.path) != nullptr) take_files(entry, record->original);
  return entry;
}

void remove_variants(const PoolContext& context, const CatalogEntry& original) {
  const auto folder = variants_folder(context.root, original.id);
  const auto first = model_path(context.root, original);
  for (const auto& name : context.files.list(folder).value_or(std::vector<std::string>{})) {
    const bool ours =
        name.ends_with(".gguf") || name.ends_with(".part") || name == "optimized.json";
    // Whoever registered a file of this folder as an original keeps it.
    const bool kept =
        first.parent_path() == folder &&
        (name == first.filename() || std::ranges::count(original.extra_files, name) > 0);
    if (ours && !kept) (void)context.files.remove(folder / name);
  }
  (void)context.files.remove(folder);
}

}  // namespace llorch
