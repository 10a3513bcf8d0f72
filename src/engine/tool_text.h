// Tool use for models whose template knows none: the tools are told in the system message, calls
// and results are shown as text, the answer's calls are held to a grammar and read back.
//   <tool_call>
//   {"name": "get_weather", "arguments": {"city":"Oslo"}}
//   </tool_call>
// Threads: pure; the parser belongs to whoever feeds it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "base/result.h"
#include "engine/chat_parser.h"
#include "engine/grammar.h"
#include "protocol/job.h"

namespace llorch {

inline constexpr std::string_view tool_call_open = "<tool_call>";
inline constexpr std::string_view tool_call_close = "</tool_call>";
// What stands between the opening mark, the name and the arguments, to the byte.
inline constexpr std::string_view tool_call_name = "{\"name\": ";
inline constexpr std::string_view tool_call_arguments = ", \"arguments\": ";

// Whether the answer may call a tool.
bool offers_tools(const ChatPrompt& chat);
// Whether it must.
bool requires_tools(const ChatPrompt& chat);

// The conversation with user, assistant and system messages only, and without tools.
ChatPrompt tools_as_text(const ChatPrompt& chat);

// The grammar of an answer to a chat that offers tools: one call, where it is required; else text
// (or what `format` asks for) that may become calls at the opening mark. With `max_tokens` up to
// 1000 a string that the schema does not bound is bounded, for a small model may never end one.
// Errors: invalid_request (parameters that are no schema of an object).
Result<GrammarSpec> tool_grammar(const ChatPrompt& chat, const OutputFormat& format,
                                 std::optional<std::uint64_t> max_tokens);

// Finds the calls in an answer, or in the content that `inner` finds in it; null: all of it.
std::unique_ptr<ChatParser> make_tool_text_parser(std::unique_ptr<ChatParser> inner,
                                                  std::uint64_t call_seed);

}  // namespace llorch
