#include "store/log_record.h"

#include "base/crc32c.h"
#include "base/limits.h"
#include "base/little_endian.h"

namespace llorch {
namespace {

constexpr std::size_t head_sum_at = 4;
constexpr std::size_t after_head_sum = 8;

// Over the length, and over all that follows the sum itself, up to the end of the id.
std::uint32_t head_sum(std::string_view head_and_id) {
  return crc32c(head_and_id.substr(after_head_sum), crc32c(head_and_id.substr(0, head_sum_at)));
}

}  // namespace

void append_record(std::string& out, const LogRecord& record) {
  const std::size_t start = out.size();
  const std::size_t length = record.job_id.size() + record.frame.size();
  append_little_endian(out, static_cast<std::uint32_t>(length));
  append_little_endian(out, std::uint32_t{0});
  append_little_endian(out, crc32c(record.frame));
  append_little_endian(out, record.seq);
  append_little_endian(out, record.ordinal);
  append_little_endian(out, static_cast<std::uint16_t>(record.job_id.size()));
  append_little_endian(out, std::uint16_t{0});
  out += record.job_id;
  std::string sum;
  append_little_endian(sum, head_sum(std::string_view(out).substr(start)));
  out.replace(start + head_sum_at, sum.size(), sum);
  out += record.frame;
}

DecodedRecord decode_record(std::string_view bytes) {
  DecodedRecord decoded;
  if (bytes.size() < record_head_bytes) {
    decoded.state = DecodedRecord::State::cut;
    return decoded;
  }
  const std::size_t length = read_little_endian<std::uint32_t>(bytes, 0);
  const std::size_t id_bytes = read_little_endian<std::uint16_t>(bytes, 24);
  const bool plausible = id_bytes >= 1 && id_bytes <= limits::job_id_bytes_max &&
                         length >= id_bytes &&
                         length - id_bytes <= limits::event_log_frame_bytes_max &&
                         read_little_endian<std::uint16_t>(bytes, 26) == 0;
  if (!plausible) return decoded;
  if (bytes.size() < record_head_bytes + id_bytes) {
    decoded.state = DecodedRecord::State::cut;
    return decoded;
  }
  const auto sum = read_little_endian<std::uint32_t>(bytes, head_sum_at);
  if (sum != head_sum(bytes.substr(0, record_head_bytes + id_bytes))) return decoded;
  decoded.record.job_id = bytes.substr(record_head_bytes, id_bytes);
  decoded.record.seq = read_little_endian<std::uint64_t>(bytes, 12);
  decoded.record.ordinal = read_little_endian<std::uint32_t>(bytes, 20);
  decoded.size_bytes = record_head_bytes + length;
  if (bytes.size() < decoded.size_bytes) {
    decoded.state = DecodedRecord::State::cut;
    return decoded;
  }
  decoded.record.frame = bytes.substr(record_head_bytes + id_bytes, length - id_bytes);
  const bool right = crc32c(decoded.record.frame) == read_little_endian<std::uint32_t>(bytes, 8);
  decoded.state = right ? DecodedRecord::State::whole : DecodedRecord::State::bad_frame;
  return decoded;
}

std::size_t find_record(std::string_view bytes) {
  for (std::size_t at = 0; at + record_head_bytes < bytes.size(); ++at) {
    // A frame that does not fit its sum counts too: its head says where the next one begins.
    const auto state = decode_record(bytes.substr(at)).state;
    if (state == DecodedRecord::State::whole || state == DecodedRecord::State::bad_frame) return at;
  }
  return std::string_view::npos;
}

}  // namespace llorch
