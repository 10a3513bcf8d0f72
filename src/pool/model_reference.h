// What a user may write for a model: ID | hf:ORG/REPO[:QUANT][@REV][::FILE] | file:/PATH.
// Threads: any. Pure.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <variant>

#include "base/result.h"

namespace llorch {

struct IdReference {
  std::string id;
};
struct HubReference {
  std::string repo;               // ORG/REPO
  std::string quantization;       // "Q4_K_M", in upper case; empty = what fits
  std::string revision = "main";  // a branch, tag or commit
  std::string file;               // empty = chosen by quantization
};
struct FileReference {
  std::filesystem::path path;  // absolute
};
using ModelReference = std::variant<IdReference, HubReference, FileReference>;

// Errors: invalid_request, with the grammar.
Result<ModelReference> parse_model_reference(std::string_view text);

// The id a file gets when none is given: its name without ".gguf" and "-00001-of-00003", in lower
// case, other characters as "-".
std::string default_model_id(std::string_view file);

// Whether a file is named with this quantisation: "q4_k_l" is a word of "X-Q4_K_L.gguf", "Q4_K" is
// not. Case does not count.
bool names_quantization(std::string_view file, std::string_view quantization);

// The known quantisation that a file's name holds, for labels and ranking: "Q4_K_M" of
// "tinyllama-1.1b-chat-v1.0.Q4_K_M.gguf"; empty when the name tells none.
std::string quantization_of(std::string_view file);

// The parts of a split model by the name of any part: "m-00001-of-00003.gguf". `count` 0: not one.
struct SplitName {
  std::string stem;
  int number = 0;  // from 1
  int count = 0;
};
SplitName parse_split_name(std::string_view file);
std::string split_part_name(const SplitName& split, int number);

}  // namespace llorch
