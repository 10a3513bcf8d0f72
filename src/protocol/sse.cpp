#include "protocol/sse.h"

#include <cassert>

namespace llorch {
namespace {

constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";

}  // namespace

Result<void> SseParser::feed(std::string_view bytes, std::vector<SseEvent>& events) {
  const auto too_long = [this] {
    failed_ = true;
    return fail(Code::too_large, "an event of the stream has more than " +
                                     std::to_string(event_bytes_max_) + " bytes");
  };
  if (failed_) return too_long();
  while (!bytes.empty()) {
    if (after_cr_ && bytes.front() == '\n') bytes.remove_prefix(1);
    if (bytes.empty()) {
      after_cr_ = false;
      break;
    }
    after_cr_ = false;
    const std::size_t end = bytes.find_first_of("\r\n");
    const std::string_view part = bytes.substr(0, end);
    if (part.size() + line_.size() + data_.size() > event_bytes_max_) return too_long();
    line_ += part;
    if (end == bytes.npos) break;
    after_cr_ = bytes[end] == '\r';
    bytes.remove_prefix(end + 1);
    end_line(events);
  }
  return {};
}

void SseParser::end_line(std::vector<SseEvent>& events) {
  std::string_view line = line_;
  if (at_start_ && line.starts_with(byte_order_mark)) line.remove_prefix(byte_order_mark.size());
  at_start_ = false;
  if (line.empty()) {
    if (has_data_) {
      data_.pop_back();  // the line break after the last data line
      events.push_back({.type = type_.empty() ? "message" : type_,
                        .data = std::move(data_),
                        .id = last_event_id_});
    }
    data_.clear();
    type_.clear();
    has_data_ = false;
  } else if (line.front() != ':') {  // else a comment
    const std::size_t colon = line.find(':');
    std::string_view value = colon == line.npos ? std::string_view{} : line.substr(colon + 1);
    if (value.starts_with(' ')) value.remove_prefix(1);
    take_field(line.substr(0, colon), value);
  }
  line_.clear();
}

void SseParser::take_field(std::string_view name, std::string_view value) {
  if (name == "data") {
    data_ += value;
    data_ += '\n';
    has_data_ = true;
  } else if (name == "event") {
    type_ = value;
  } else if (name == "id" && value.find('\0') == value.npos) {
    last_event_id_ = value;
  }
}

void append_sse_frame(std::string& out, std::string_view id, std::string_view type,
                      std::string_view data) {
  assert(data.find_first_of("\r\n") == data.npos);
  if (!id.empty()) out.append("id: ").append(id) += '\n';
  if (!type.empty()) out.append("event: ").append(type) += '\n';
  out.append("data: ").append(data).append("\n\n");
}

}  // namespace llorch
