// A request's conversation as llama.cpp's common library takes it. Threads: pure.
#pragma once

#include <chat.h>

#include "engine/protected_text.h"
#include "protocol/job.h"

namespace llorch {

struct ChatInputs {
  common_chat_templates_inputs library;
  bool tools_protected = false;  // a control token stood in the tools
};

// Every text that a client wrote goes through `guard`; null: as it is.
ChatInputs to_library(const ChatPrompt& chat, ProtectedText* guard);

}  // namespace llorch
