#include "engine/chat_parser.h"

#include <algorithm>
#include <bit>
#include <chat.h>
#include <exception>
#include <fmt/format.h>
#include <utility>

#include "engine/sampler.h"
#include "protocol/json_parse.h"

namespace llorch {

namespace json = boost::json;

namespace {

class ContentParser final : public ChatParser {
 public:
  std::vector<ChatDelta> feed(const std::string& added, bool) override {
    if (added.empty()) return {};
    return {ChatDelta{.content = added}};
  }
};

// The library reads the whole text each time. Short texts are read at every token; of a longer one
// only the part up to a multiple of 1/128 of its size, so that reading it all costs little more
// than linear time. Where that part ends depends on the text alone.
std::size_t readable_size(const std::string& text) {
  auto size =
      text.size() - text.size() % std::bit_floor(std::max<std::size_t>(1, text.size() / 128));
  while (size > 0 && size < text.size() && (text[size] & 0xC0) == 0x80) --size;  // whole characters
  return size;
}

// The steps that a saved parser takes in order, sequences laid open: "literal", "content", "end",
// and "other" for all that could find anything but content. Its JSON names steps by their place:
// {"parsers":[{"type":"sequence","children":[1,2]},…],"rules":{},"root":0}
void append_steps(const json::array& parsers, const json::value& place,
                  std::vector<std::string>& steps) {
  const auto& parser = parsers.at(place.to_number<std::size_t>()).as_object();
  const auto& type = parser.at("type").as_string();
  if (type == "sequence") {
    for (const auto& child : parser.at("children").as_array()) append_steps(parsers, child, steps);
  } else if (type == "tag" && parser.at("tag") == "content") {
    const auto& inner = parsers.at(parser.at("child").to_number<std::size_t>()).as_object();
    const bool rest = inner.at("type") == "until" && inner.at("delimiters").as_array().empty();
    steps.emplace_back(rest ? "content" : "other");
  } else if (type != "epsilon") {
    steps.emplace_back(type == "literal" || type == "end" ? std::string(type) : "other");
  }
}

// Whether the parser takes all that follows the generation prompt for content.
bool is_content_only(const common_chat_params& rendered) {
  if (rendered.parser.empty()) return rendered.format == COMMON_CHAT_FORMAT_CONTENT_ONLY;
  const auto saved = parse_json_object(rendered.parser);
  if (!saved) return false;
  std::vector<std::string> steps;
  try {
    append_steps(saved->at("parsers").as_array(), saved->at("root"), steps);
  } catch (const std::exception&) {
    return false;  // saved in another way than we know: its own reading is right, only slower
  }
  if (!rendered.generation_prompt.empty() && !steps.empty() && steps.front() == "literal") {
    steps.erase(steps.begin());
  }
  return steps == std::vector<std::string>{"content", "end"};
}

class LibraryParser final : public ChatParser {
 public:
  LibraryParser(common_chat_parser_params params, std::uint64_t call_seed)
      : params_(std::move(params)), call_seed_(call_seed) {}

  std::vector<ChatDelta> feed(const std::string& added, bool last) override {
    text_ += added;
    const auto size = last ? text_.size() : readable_size(text_);
    if (size == read_ && !last) return {};
    read_ = size;
    common_chat_msg parsed;
    try {
      parsed = common_chat_parse(text_.substr(0, size), !last, params_);
    } catch (const std::exception&) {
      // The text is no longer what the template promises. What has been told stays told; at the
      // end the rest of a text that never parsed is content, so that no answer is lost.
      if (!last || !told_.empty()) return {};
      parsed.content = text_;
    }
    if (parsed.empty()) return {};
    parsed.set_tool_call_ids(call_ids_,
                             [this] { return tool_call_id(call_seed_, call_ids_.size()); });
    try {
      auto deltas = convert(common_chat_msg_diff::compute_diffs(told_, parsed));
      told_ = std::move(parsed);
      return deltas;
    } catch (const std::exception&) {
      return {};  // the parse went back on what it said before: keep what was told
    }
  }

 private:
  std::vector<ChatDelta> convert(const std::vector<common_chat_msg_diff>& diffs) const {
    std::vector<ChatDelta> deltas;
    for (const auto& diff : diffs) {
      ChatDelta delta{.content = diff.content_delta, .reasoning = diff.reasoning_content_delta};
      if (diff.tool_call_index != std::string::npos) {
        delta.tool_index = static_cast<std::uint32_t>(diff.tool_call_index);
        delta.tool_name = diff.tool_call_delta.name;
        delta.tool_id = delta.tool_name.empty() ? std::string{} : diff.tool_call_delta.id;
        delta.tool_arguments = diff.tool_call_delta.arguments;
      }
      deltas.push_back(std::move(delta));
    }
    return deltas;
  }

  common_chat_parser_params params_;
  std::uint64_t call_seed_;
  std::string text_;
  std::size_t read_ = 0;  // bytes of it that the library has seen
  common_chat_msg told_;
  std::vector<std::string> call_ids_;
};

}  // namespace

std::string tool_call_id(std::uint64_t call_seed, std::size_t index) {
  const double unit = counter_uniform(call_seed, index);
  return fmt::format("call_{:013x}", static_cast<std::uint64_t>(unit * 0x1.0p52));
}

std::unique_ptr<ChatParser> make_content_parser() {
  return std::make_unique<ContentParser>();
}

Result<std::unique_ptr<ChatParser>> make_chat_parser(const common_chat_params& rendered, bool tools,
                                                     std::uint64_t call_seed) {
  try {
    if (is_content_only(rendered)) return make_content_parser();
    common_chat_parser_params params(rendered);
    params.reasoning_format = COMMON_REASONING_FORMAT_AUTO;
    params.parse_tool_calls = tools;
    if (!rendered.parser.empty()) params.parser.load(rendered.parser);
    return std::make_unique<LibraryParser>(std::move(params), call_seed);
  } catch (const std::exception& thrown) {
    return fail(Code::internal, std::string("the chat parser does not load: ") + thrown.what());
  }
}

}  // namespace llorch
