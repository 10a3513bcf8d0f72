// Models that an Ollama store holds, registered where they lie. Threads: one.
#pragma once

#include <string>
#include <string_view>

#include "pool/context.h"
#include "pool/model_store.h"

namespace llorch {

// Every model of OLLAMA_MODELS, else ~/.ollama/models: id NAME-TAG, before it the namespace where
// that is not "library". What is no model of ours (bad manifest, missing or short blob, adapter)
// is a warning. Errors: not_found (no store), those of the catalog.
// Source: Ollama's manifests/HOST/NAMESPACE/NAME/TAG and blobs/sha256-HEX.
Result<Imported> import_ollama(const PoolContext& context);

// The file of a digest below blobs/: "sha256:<64 hex>" is "sha256-<64 hex>". Empty for anything
// else, so that no manifest can name a file outside.
std::string blob_name(std::string_view digest);

struct OllamaModel {
  std::string blob;  // "sha256-…"
  std::string sha256;
  std::uint64_t size_bytes = 0;
};
// The one GGUF that a manifest names. Errors: model_load_failed, with what is wrong.
Result<OllamaModel> parse_ollama_manifest(std::string_view text);

}  // namespace llorch
