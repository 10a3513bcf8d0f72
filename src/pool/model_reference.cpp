#include "pool/model_reference.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <fmt/format.h>

#include "base/limits.h"
#include "pool/catalog.h"
#include "pool/text.h"

namespace llorch {
namespace {

namespace fs = std::filesystem;

// What publishers use today: labels only, a download may name any other.
constexpr std::array quantizations = {
    "UD-Q4_K_XL", "IQ1_S",  "IQ1_M",  "IQ2_XXS", "IQ2_XS", "IQ2_S",   "IQ2_M",
    "IQ3_XXS",    "IQ3_XS", "IQ3_S",  "IQ3_M",   "IQ4_NL", "IQ4_XS",  "Q2_K",
    "Q2_K_L",     "Q3_K",   "Q3_K_S", "Q3_K_M",  "Q3_K_L", "Q3_K_XL", "Q4_K",
    "Q4_K_S",     "Q4_K_M", "Q4_K_L", "Q4_K_XL", "Q5_K",   "Q5_K_S",  "Q5_K_M",
    "Q5_K_L",     "Q6_K",   "Q6_K_L", "Q4_0",    "Q4_1",   "Q5_0",    "Q5_1",
    "Q8_0",       "MXFP4",  "TQ1_0",  "TQ2_0",   "BF16",   "F16",     "F32"};

bool alnum(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool is_name(std::string_view text, std::string_view also) {
  return !text.empty() && text.size() <= 256 && alnum(text.front()) && !text.contains("..") &&
         std::ranges::all_of(text, [&](char c) { return alnum(c) || also.contains(c); });
}

bool is_repo(std::string_view text) {
  const auto slash = text.find('/');
  return slash != text.npos && is_name(text.substr(0, slash), "._-") &&
         is_name(text.substr(slash + 1), "._-");
}

// A path inside a repository: it becomes part of a URL and of a path on our disk.
bool is_repo_file(std::string_view text) {
  if (text.size() > 512 || !text.ends_with(".gguf") || text.starts_with('/')) return false;
  const fs::path path(text);
  const bool plain = std::ranges::all_of(
      text, [](char c) { return alnum(c) || std::string_view("._-/+ ()=@,").contains(c); });
  return plain && std::ranges::none_of(path, [](const fs::path& part) {
           return part == ".." || part == "." || part.empty();
         });
}

std::unexpected<Error> refuse(std::string_view text, const std::string& why) {
  return fail(Code::invalid_request, fmt::format("model '{}': {}", text, why),
              "write ID, hf:ORG/REPO[:QUANT][@REV][::FILE] or file:/PATH");
}

Result<ModelReference> parse_hub(std::string_view whole) {
  std::string_view rest = whole.substr(3);
  HubReference reference;
  if (const auto at = rest.find("::"); at != rest.npos) {
    reference.file = rest.substr(at + 2);
    if (!is_repo_file(reference.file)) return refuse(whole, "the file must be a .gguf in the repo");
    rest = rest.substr(0, at);
  }
  if (const auto at = rest.find('@'); at != rest.npos) {
    reference.revision = rest.substr(at + 1);
    if (!is_name(reference.revision, "._/-")) return refuse(whole, "the revision is malformed");
    rest = rest.substr(0, at);
  }
  if (const auto at = rest.find(':'); at != rest.npos) {
    reference.quantization = upper(rest.substr(at + 1));
    if (!is_name(reference.quantization, "_-"))
      return refuse(whole, "the quantisation is malformed");
    rest = rest.substr(0, at);
  }
  reference.repo = rest;
  if (!is_repo(reference.repo)) return refuse(whole, "want ORG/REPO after hf:");
  return reference;
}

}  // namespace

Result<ModelReference> parse_model_reference(std::string_view text) {
  if (text.starts_with("hf:")) return parse_hub(text);
  if (text.starts_with("file:")) {
    std::string_view path = text.substr(5);
    if (path.starts_with("///")) path.remove_prefix(2);  // file:///PATH
    if (!path.starts_with('/') || path.starts_with("//") || path.contains('\0')) {
      return refuse(text, "want an absolute path after file:");
    }
    return FileReference{fs::path(path).lexically_normal()};
  }
  if (!is_model_id(text)) return refuse(text, "not an id ([A-Za-z0-9._-], at most 128)");
  return IdReference{std::string(text)};
}

bool names_quantization(std::string_view file, std::string_view quantization) {
  const std::string name = upper(file.substr(file.rfind('/') + 1));
  const std::string word = upper(quantization);
  for (auto at = name.find(word); at != name.npos; at = name.find(word, at + 1)) {
    const char before = at == 0 ? '.' : name[at - 1];
    const char after = at + word.size() < name.size() ? name[at + word.size()] : '.';
    // "model_Q4_K.gguf" holds Q4_K, "model-Q4_K_M.gguf" does not.
    if (!alnum(before) && !alnum(after) && after != '_') return true;
  }
  return false;
}

std::string quantization_of(std::string_view file) {
  const auto found = std::ranges::find_if(
      quantizations, [&](const char* each) { return names_quantization(file, each); });
  return found == quantizations.end() ? std::string() : *found;
}

// "NAME-00001-of-00003.gguf". Source: llama.h llama_split_path.
SplitName parse_split_name(std::string_view file) {
  constexpr std::string_view suffix = ".gguf";
  constexpr std::size_t tail = std::string_view("-00001-of-00003.gguf").size();
  if (!file.ends_with(suffix) || file.size() <= tail) return {};
  const std::string_view end = file.substr(file.size() - tail);
  if (end[0] != '-' || end.substr(6, 4) != "-of-") return {};
  SplitName split{.stem = std::string(file.substr(0, file.size() - tail))};
  const auto number = [](std::string_view digits, int& into) {
    const auto [stop, status] = std::from_chars(digits.data(), digits.data() + 5, into);
    return status == std::errc{} && stop == digits.data() + 5;
  };
  if (!number(end.substr(1, 5), split.number) || !number(end.substr(10, 5), split.count)) return {};
  const bool sane =
      split.number >= 1 && split.number <= split.count && split.count <= limits::split_parts_max;
  return sane ? split : SplitName{};
}

std::string split_part_name(const SplitName& split, int number) {
  return fmt::format("{}-{:05}-of-{:05}.gguf", split.stem, number, split.count);
}

std::string default_model_id(std::string_view file) {
  std::string name = fs::path(file).filename().string();
  if (const auto split = parse_split_name(name); split.count > 0) {
    name = split.stem;
  } else if (name.ends_with(".gguf")) {
    name.resize(name.size() - 5);
  }
  std::string id;
  for (const char c : lower(name)) {
    const bool keeps = alnum(c) || c == '.' || c == '_' || c == '-';
    id += keeps ? c : '-';
  }
  id.erase(0, std::min(id.find_first_not_of("._-"), id.size()));
  return id.empty() ? "model" : id.substr(0, 128);
}

}  // namespace llorch
