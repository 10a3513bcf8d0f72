#include "engine/chat_parser.h"

#include <exception>
#include <fmt/format.h>
#include <utility>

#include "engine/sampler.h"

namespace llorch {
namespace {

class LibraryParser final : public ChatParser {
 public:
  LibraryParser(common_chat_parser_params params, std::uint64_t call_seed)
      : params_(std::move(params)), call_seed_(call_seed) {}

  std::vector<ChatDelta> feed(const std::string& added, bool last) override {
    text_ += added;
    common_chat_msg parsed;
    try {
      parsed = common_chat_parse(text_, !last, params_);
    } catch (const std::exception&) {
      // The text is no longer what the template promises. What has been told stays told; at the
      // end the rest of a text that never parsed is content, so that no answer is lost.
      if (!last || !told_.empty()) return {};
      parsed.content = text_;
    }
    if (parsed.empty()) return {};
    parsed.set_tool_call_ids(call_ids_, [this] { return next_call_id(); });
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

  std::string next_call_id() {
    const double unit = counter_uniform(call_seed_, call_ids_.size());
    return fmt::format("call_{:013x}", static_cast<std::uint64_t>(unit * 0x1.0p52));
  }

  common_chat_parser_params params_;
  std::uint64_t call_seed_;
  std::string text_;
  common_chat_msg told_;
  std::vector<std::string> call_ids_;
};

}  // namespace

Result<std::unique_ptr<ChatParser>> make_chat_parser(const common_chat_params& rendered, bool tools,
                                                     std::uint64_t call_seed) {
  try {
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
