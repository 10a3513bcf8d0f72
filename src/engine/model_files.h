// The files of a model, checked by our own bounded reader before llama.cpp sees any of them.
// Threads: any. Lifetime: plain values.
#pragma once

#include <filesystem>

#include "base/result.h"
#include "gguf/gguf_header.h"
#include "gguf/model_shape.h"
#include "sys/file_system.h"

namespace llorch {

// Errors: those of the file and of read_gguf_header(), with the path.
Result<GgufHeader> read_model_header(FileSystem& files, const std::filesystem::path& path);

// Part `number`, from 1, of a split model; empty where the first is not named as one.
// Source: llama.cpp's "%s-%05d-of-%05d.gguf".
std::filesystem::path model_part_path(const std::filesystem::path& first, std::uint32_t number,
                                      std::uint32_t count);

// Every part of the model whose first file this is; weights and parameters are those of all parts.
// Errors: not_found (a part is missing), model_load_failed (what is wrong, and where).
Result<ModelShape> read_model_files(FileSystem& files, const std::filesystem::path& first);

}  // namespace llorch
