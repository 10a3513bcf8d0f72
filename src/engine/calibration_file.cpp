#include "engine/calibration_file.h"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value_to.hpp>
#include <filesystem>
#include <fmt/format.h>
#include <llama.h>

#include "base/log.h"
#include "base/version.h"
#include "protocol/json_parse.h"
#include "sys/file_system.h"
#include "sys/host.h"

namespace llorch {
namespace {

namespace json = boost::json;

constexpr std::size_t file_bytes_max = 64 * limits::kib;  // a dozen rows

json::object row_json(const CalibrationRow& row) {
  return {{"threads", row.choice.threads},
          {"batch_tokens", row.choice.batch_tokens},
          {"flash_attention", row.choice.flash_attention},
          {"decode_ms", row.decode_ms},
          {"prefill_ms_per_token", row.prefill_ms_per_token}};
}

// As row_json() wrote it, by whoever can write there.
std::optional<CalibrationChoice> choice_of(const json::value* value) {
  const auto* const row = value != nullptr ? value->if_object() : nullptr;
  if (row == nullptr) return std::nullopt;
  const auto* const threads = row->if_contains("threads");
  const auto* const batch_tokens = row->if_contains("batch_tokens");
  const auto* const flash_attention = row->if_contains("flash_attention");
  if (threads == nullptr || batch_tokens == nullptr || flash_attention == nullptr) {
    return std::nullopt;
  }
  if (!threads->is_int64() || !batch_tokens->is_int64() || !flash_attention->is_bool()) {
    return std::nullopt;
  }
  return CalibrationChoice{.threads = static_cast<std::int32_t>(threads->get_int64()),
                           .batch_tokens = static_cast<std::int32_t>(batch_tokens->get_int64()),
                           .flash_attention = flash_attention->get_bool()};
}

}  // namespace

CalibrationFile::CalibrationFile(const EngineOptions& options, const ModelCard& card) {
  const std::filesystem::path model(options.model_path);
  const auto name = model.stem().string() + "." + options.backend + ".json";
  path_ = (std::filesystem::path(options.calibration_path) / name).string();
  const auto files = make_file_system();
  const auto facts = files->stat(model).value_or(FileStat{});
  made_for_ = fmt::format("{} {} {} {} {} {} {} {} {}", options.model_path, facts.size_bytes,
                          facts.modified_ns, version(), llama_print_system_info(), card.device,
                          read_host_facts().cores, options.gpu.value_or(0), options.kv_type);
}

std::optional<CalibrationChoice> CalibrationFile::read() const {
  const auto text = make_file_system()->read(path_, file_bytes_max);
  if (!text) return std::nullopt;
  const auto kept = parse_json_object(*text);
  if (!kept) return std::nullopt;
  const auto* const made_for = kept->if_contains("made_for");
  const auto* const told = made_for != nullptr ? made_for->if_string() : nullptr;
  if (told == nullptr || *told != made_for_) return std::nullopt;
  return choice_of(kept->if_contains("chosen"));
}

void CalibrationFile::write(const Calibration& done) const {
  json::array rows;
  for (const auto& row : done.rows) {
    if (row.decode_ms > 0) rows.push_back(row_json(row));
  }
  const json::object kept{
      {"made_for", made_for_}, {"chosen", row_json(done.rows[done.best])}, {"rows", rows}};
  const auto files = make_file_system();
  auto written = files->make_directories(std::filesystem::path(path_).parent_path());
  if (written) written = files->write_atomic(path_, json::serialize(kept) + "\n");
  if (written) return;
  log_event(LogLevel::warn, "engine", "calibration_not_kept", {{"why", written.error().message}});
}

}  // namespace llorch
