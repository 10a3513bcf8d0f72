#include <algorithm>

#include "engine/tool_text.h"
#include "protocol/json_parse.h"

namespace llorch {
namespace {

constexpr std::string_view blanks = " \t\r\n";

// How much of the end of `text` could become `mark`.
std::size_t begun(std::string_view text, std::string_view mark) {
  for (auto size = std::min(text.size(), mark.size() - 1); size > 0; --size) {
    if (mark.starts_with(text.substr(text.size() - size))) return size;
  }
  return 0;
}

// Finds where a JSON object ends, a piece of it at a time.
class ObjectEnd {
 public:
  // How many bytes of `text` belong to the object; done() once its last brace is among them.
  std::size_t take(std::string_view text) {
    std::size_t i = 0;
    while (i < text.size() && !done_) step(text[i++]);
    return i;
  }
  bool done() const { return done_; }

 private:
  void step(char c) {
    if (escaped_) {
      escaped_ = false;
    } else if (in_string_) {
      escaped_ = c == '\\';
      in_string_ = c != '"';
    } else if (c == '"') {
      in_string_ = true;
    } else if (c == '{' || c == '[') {
      ++depth_;
    } else if (c == '}' || c == ']') {
      done_ = --depth_ == 0;
    }
  }

  int depth_ = 0;
  bool in_string_ = false;
  bool escaped_ = false;
  bool done_ = false;
};

class ToolTextParser final : public ChatParser {
 public:
  ToolTextParser(std::unique_ptr<ChatParser> inner, std::uint64_t call_seed)
      : inner_(std::move(inner)), call_seed_(call_seed) {}

  std::vector<ChatDelta> feed(const std::string& added, bool last) override {
    std::vector<ChatDelta> out;
    if (!inner_) {
      held_ += added;
    } else {
      for (auto& delta : inner_->feed(added, last)) {
        held_ += delta.content;
        delta.content.clear();
        if (!delta.reasoning.empty()) out.push_back(std::move(delta));
      }
    }
    while (advance(out)) {
    }
    if (last) finish(out);
    return out;
  }

 private:
  enum class At { text, call, arguments, close };

  static void say(std::vector<ChatDelta>& out, std::string content) {
    if (!content.empty()) out.push_back(ChatDelta{.content = std::move(content)});
  }

  std::string take(std::size_t size) {
    std::string taken = held_.substr(0, size);
    held_.erase(0, size);
    return taken;
  }

  // False when it needs more text.
  bool advance(std::vector<ChatDelta>& out) {
    switch (at_) {
      case At::text:
        return read_text(out);
      case At::call:
        return read_call(out);
      case At::arguments:
        return read_arguments(out);
      case At::close:
        return read_close();
    }
    return false;
  }

  bool read_text(std::vector<ChatDelta>& out) {
    // Blanks between two calls are nobody's content.
    if (after_call_) held_.erase(0, std::min(held_.find_first_not_of(blanks), held_.size()));
    if (!held_.empty()) after_call_ = false;
    const auto open = held_.find(tool_call_open);
    if (open == held_.npos) {
      say(out, take(held_.size() - begun(held_, tool_call_open)));
      return false;
    }
    say(out, take(open));
    take(tool_call_open.size());
    at_ = At::call;
    return true;
  }

  bool read_call(std::vector<ChatDelta>& out) {
    const auto begin = held_.find_first_not_of(blanks);
    if (begin == held_.npos) return false;
    const std::string_view text = std::string_view(held_).substr(begin);
    if (const auto fit = expect(text, tool_call_name); fit != Fit::whole) {
      return fit == Fit::none && give_up(out);
    }
    const auto end = end_of_string(text.substr(tool_call_name.size()));
    if (end == 0) return false;
    const std::string opening = std::string(tool_call_arguments) + "{";
    const auto rest = text.substr(tool_call_name.size() + end);
    if (const auto fit = expect(rest, opening); fit != Fit::whole) {
      return fit == Fit::none && give_up(out);
    }
    const auto name = parse_json(text.substr(tool_call_name.size(), end));
    if (!name || !name->is_string()) return give_up(out);
    out.push_back(ChatDelta{.tool_index = calls_,
                            .tool_id = tool_call_id(call_seed_, calls_),
                            .tool_name = std::string(name->get_string())});
    take(begin + tool_call_name.size() + end + tool_call_arguments.size());
    arguments_ = {};
    at_ = At::arguments;
    return true;
  }

  bool read_arguments(std::vector<ChatDelta>& out) {
    auto arguments = take(arguments_.take(held_));
    if (!arguments.empty()) {
      out.push_back(ChatDelta{.tool_index = calls_, .tool_arguments = std::move(arguments)});
    }
    if (!arguments_.done()) return false;
    ++calls_;
    at_ = At::close;
    return true;
  }

  bool read_close() {
    const auto close = held_.find(tool_call_close);
    if (close == held_.npos) return false;
    take(close + tool_call_close.size());
    after_call_ = true;
    at_ = At::text;
    return true;
  }

  // The answer ends here: half a call that nobody was told of is shown as it was written.
  void finish(std::vector<ChatDelta>& out) {
    if (at_ == At::call) give_up(out);
    while (advance(out)) {
    }
    if (at_ == At::text) say(out, take(held_.size()));
  }

  // What follows the opening mark is no call: the mark was text, and so is the rest of it.
  bool give_up(std::vector<ChatDelta>& out) {
    say(out, std::string(tool_call_open));
    at_ = At::text;
    return true;
  }

  enum class Fit { whole, begun, none };
  static Fit expect(std::string_view text, std::string_view want) {
    if (text.starts_with(want)) return Fit::whole;
    return want.starts_with(text) ? Fit::begun : Fit::none;
  }

  // The length of the JSON string that `text` begins with; 0: it has not ended yet.
  static std::size_t end_of_string(std::string_view text) {
    for (std::size_t i = 1; i < text.size(); ++i) {
      if (text[i] == '\\') {
        ++i;
      } else if (text[i] == '"') {
        return i + 1;
      }
    }
    return 0;
  }

  std::unique_ptr<ChatParser> inner_;
  std::uint64_t call_seed_;
  At at_ = At::text;
  std::string held_;  // read, but not told yet
  std::uint32_t calls_ = 0;
  bool after_call_ = false;
  ObjectEnd arguments_;
};

}  // namespace

std::unique_ptr<ChatParser> make_tool_text_parser(std::unique_ptr<ChatParser> inner,
                                                  std::uint64_t call_seed) {
  return std::make_unique<ToolTextParser>(std::move(inner), call_seed);
}

}  // namespace llorch
