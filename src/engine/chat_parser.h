// The ChatParser over llama.cpp's message parsers. Only engine/'s chat sources include it.
#pragma once

#include <chat.h>
#include <memory>

#include "engine/chat_format.h"

namespace llorch {

// Errors: internal (the library's own parser does not load).
Result<std::unique_ptr<ChatParser>> make_chat_parser(const common_chat_params& rendered, bool tools,
                                                     std::uint64_t call_seed);

}  // namespace llorch
