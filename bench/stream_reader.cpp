#include "stream_reader.h"

#include <charconv>
#include <utility>

namespace llorch::bench {
namespace {

// What follows `"name":` and spaces; empty when the name is not there.
std::string_view after(std::string_view frame, std::string_view name) {
  const auto at = frame.find(name);
  if (at == frame.npos) return {};
  frame.remove_prefix(at + name.size());
  while (frame.starts_with(' ')) frame.remove_prefix(1);
  return frame;
}

std::optional<std::uint64_t> number_after(std::string_view frame, std::string_view name) {
  const auto text = after(frame, name);
  std::uint64_t number = 0;
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (status != std::errc{} || end == text.data()) return std::nullopt;
  return number;
}

}  // namespace

bool carries_text(std::string_view frame) {
  for (const auto* name : {R"("content":)", R"("text":)", R"("reasoning_content":)"}) {
    const auto value = after(frame, name);
    if (value.size() > 1 && value[0] == '"' && value[1] != '"') return true;
  }
  return false;
}

Result<void> StreamReader::feed(std::string_view bytes, SteadyTime now) {
  events_.clear();
  if (const auto ok = parser_.feed(bytes, events_); !ok) return ok;
  bool text_came = false;
  for (const SseEvent& event : events_) {
    if (event.data == "[DONE]") {
      done_ = true;
    } else if (event.type == "end") {
      done_ = true;
      usage_out_ = number_after(event.data, R"("tokens_out":)");
    } else if (event.type == "error" || event.data.starts_with(R"({"error":)")) {
      return fail(Code::backend_error, event.data);
    } else {
      if (event.type == "token" || carries_text(event.data)) {
        ++frames_;
        text_came = true;
      }
      if (const auto out = number_after(event.data, R"("completion_tokens":)")) {
        usage_out_ = out;
        usage_prompt_ = number_after(event.data, R"("prompt_tokens":)").value_or(0);
      }
    }
  }
  // One write may hold several frames: what a reader waits for is the write.
  if (!text_came) return {};
  if (first_) gaps_.add(elapsed_ms(last_, now));
  if (!first_) first_ = now;
  last_ = now;
  return {};
}

std::optional<double> StreamReader::ttft_ms() const {
  if (!first_) return std::nullopt;
  return elapsed_ms(sent_, *first_);
}

double StreamReader::tokens_per_s() const {
  if (!first_ || tokens_out() < 2 || last_ <= *first_) return 0;
  return static_cast<double>(tokens_out() - 1) * 1000 / elapsed_ms(*first_, last_);
}

Samples StreamReader::take_gaps() {
  return std::exchange(gaps_, {});
}

}  // namespace llorch::bench
