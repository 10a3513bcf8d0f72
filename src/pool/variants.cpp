#include "pool/variants.h"

#include <algorithm>
#include <boost/json.hpp>

#include "base/limits.h"
#include "console/json_output.h"
#include "pool/text.h"
#include "protocol/json_parse.h"

namespace llorch {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

constexpr std::string_view file_name = "optimized.json";

template <class T>
T number_of(const json::object& object, std::string_view key) {
  const auto* value = object.if_contains(key);
  boost::system::error_code ignored;
  return value != nullptr && value->is_number() ? value->to_number<T>(ignored) : T{};
}

std::optional<VariantFigures> figures_from(const json::object& object) {
  if (!object.contains("perplexity")) return std::nullopt;
  VariantFigures figures;
  figures.tokens = number_of<std::int64_t>(object, "tokens");
  figures.tokens_scored = number_of<std::int64_t>(object, "tokens_scored");
  figures.perplexity = number_of<double>(object, "perplexity");
  figures.perplexity_error = number_of<double>(object, "perplexity_error");
  figures.rise_percent = number_of<double>(object, "rise_percent");
  figures.rise_error_percent = number_of<double>(object, "rise_error_percent");
  figures.prefill_tokens_per_second = number_of<double>(object, "prefill_tokens_per_second");
  figures.decode_tokens_per_second = number_of<double>(object, "decode_tokens_per_second");
  if (const auto* losses = object.if_contains("losses"); losses != nullptr && losses->is_array()) {
    for (const auto& loss : losses->get_array()) {
      boost::system::error_code ignored;
      if (loss.is_number()) figures.losses.push_back(loss.to_number<double>(ignored));
    }
  }
  return figures;
}

Variant variant_from(const json::object& object) {
  return {.type = text_at(object, "type"),
          .path = text_at(object, "path"),
          .size_bytes = number_of<std::uint64_t>(object, "size_bytes"),
          .sha256 = text_at(object, "sha256"),
          .memory_bytes = number_of<std::uint64_t>(object, "memory_bytes"),
          .figures = figures_from(object)};
}

CatalogEntry original_from(const json::object& object) {
  CatalogEntry entry;
  entry.path = text_at(object, "path");
  entry.sha256 = text_at(object, "sha256");
  entry.quantization = text_at(object, "quantization");
  entry.size_bytes = number_of<std::uint64_t>(object, "size_bytes");
  entry.extra_files = texts_at(object, "extra_files");
  entry.extra_sha256 = texts_at(object, "extra_sha256");
  return entry;
}

std::unexpected<Error> broken(const fs::path& path, const std::string& why) {
  return fail(Code::internal, path.string() + ": " + why,
              "remove it; llorch-pool models optimize measures again");
}

}  // namespace

const Variant* VariantRecord::find(const std::string& path) const {
  const auto found = std::ranges::find(variants, path, &Variant::path);
  return found == variants.end() ? nullptr : &*found;
}

fs::path variants_folder(const Root& root, const std::string& id) {
  return root.models() / id / "optimized";
}

json::object to_json(const Variant& variant, bool with_losses) {
  json::object object = {{"type", variant.type},
                         {"path", variant.path},
                         {"size_bytes", variant.size_bytes},
                         {"sha256", variant.sha256},
                         {"memory_bytes", variant.memory_bytes}};
  if (!variant.figures) return object;
  const auto& figures = *variant.figures;
  object["tokens"] = figures.tokens;
  object["tokens_scored"] = figures.tokens_scored;
  object["perplexity"] = figures.perplexity;
  object["perplexity_error"] = figures.perplexity_error;
  object["rise_percent"] = figures.rise_percent;
  object["rise_error_percent"] = figures.rise_error_percent;
  object["prefill_tokens_per_second"] = figures.prefill_tokens_per_second;
  object["decode_tokens_per_second"] = figures.decode_tokens_per_second;
  if (with_losses) object["losses"] = json::array(figures.losses.begin(), figures.losses.end());
  return object;
}

Result<std::optional<VariantRecord>> read_variants(FileSystem& files, const fs::path& folder) {
  const fs::path path = folder / file_name;
  const auto text = files.read(path, limits::optimize_record_bytes_max);
  if (!text && text.error().code == Code::not_found) return std::nullopt;
  if (!text) return fail(text.error());
  const auto document = parse_json_object(*text, limits::optimize_record_bytes_max);
  if (!document) return broken(path, document.error().message);
  const auto* original = document->if_contains("original");
  const auto* variants = document->if_contains("variants");
  const bool whole = original != nullptr && original->is_object() && variants != nullptr &&
                     variants->is_array() && text_at(*document, "version") == "1.0";
  if (!whole) return broken(path, "not a record of this version of llorch-pool");
  VariantRecord record{.id = text_at(*document, "id"),
                       .measured_with = text_at(*document, "measured_with"),
                       .original = original_from(original->get_object())};
  for (const auto& variant : variants->get_array()) {
    if (variant.is_object()) record.variants.push_back(variant_from(variant.get_object()));
  }
  if (record.variants.empty() || record.original.path.empty()) {
    return broken(path, "names no original");
  }
  return record;
}

Result<void> write_variants(FileSystem& files, const fs::path& folder,
                            const VariantRecord& record) {
  json::array variants;
  for (const auto& variant : record.variants) variants.push_back(to_json(variant, true));
  const auto& parts = record.original.extra_files;
  const auto& hashes = record.original.extra_sha256;
  const json::object document = {{"version", "1.0"},
                                 {"id", record.id},
                                 {"measured_with", record.measured_with},
                                 {"original",
                                  {{"path", record.original.path},
                                   {"quantization", record.original.quantization},
                                   {"size_bytes", record.original.size_bytes},
                                   {"sha256", record.original.sha256},
                                   {"extra_files", json::array(parts.begin(), parts.end())},
                                   {"extra_sha256", json::array(hashes.begin(), hashes.end())}}},
                                 {"variants", std::move(variants)}};
  return files.write_atomic(folder / file_name, pretty_json(document) + "\n");
}

std::optional<LossyLayout> find_lossy_layout(FileSystem& files, const fs::path& model) {
  const auto known = read_variants(files, model.parent_path()).value_or(std::nullopt);
  if (!known) return std::nullopt;
  const auto found = std::ranges::find(known->variants, model.filename(), [](const Variant& each) {
    return fs::path(each.path).filename();
  });
  if (found == known->variants.end()) return std::nullopt;
  LossyLayout layout{.type = found->type, .from = known->original.quantization};
  const auto& figures = found->figures;
  const auto& original = known->variants.front().figures;
  if (figures && original) {
    layout.perplexity = figures->perplexity;
    layout.perplexity_original = original->perplexity;
    layout.rise_percent = figures->rise_percent;
    layout.tokens = figures->tokens;
  }
  return layout;
}

}  // namespace llorch
