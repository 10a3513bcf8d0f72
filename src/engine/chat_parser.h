// Reads the text of an answer back into content, reasoning and tool calls.
// Threads: made on the prepare thread, then used on the engine thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "protocol/job_event.h"

struct common_chat_params;

namespace llorch {

// Follows one answer. What it has given after a text is a pure function of that text, however the
// text was cut into pieces: a resumed answer may be fed at once.
class ChatParser {
 public:
  virtual ~ChatParser() = default;
  // `added` follows the text so far; `last`: nothing will come after it.
  virtual std::vector<ChatDelta> feed(const std::string& added, bool last) = 0;
};

// The id of an answer's call number `index`; the same for the same seed.
std::string tool_call_id(std::uint64_t call_seed, std::size_t index);

// For answers that are content and nothing else.
std::unique_ptr<ChatParser> make_content_parser();

// llama.cpp's own parser for what a template promises, or the one above where that says the same.
// Errors: internal (the library's own parser does not load).
Result<std::unique_ptr<ChatParser>> make_chat_parser(const common_chat_params& rendered, bool tools,
                                                     std::uint64_t call_seed);

}  // namespace llorch
