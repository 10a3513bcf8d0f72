// One record of the event log as bytes: a frame of one job. Pure; fuzzed.
// Little endian: u32 length (of id and frame), u32 CRC-32C of the head and the id, u32 CRC-32C of
// the frame, u64 seq, u32 ordinal, u16 length of the id, u16 zero; the id; the frame.
// Two sums, so that a damaged frame still tells whose it is; the ordinal counts a job's records
// from 0, so that a lost one shows.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace llorch {

inline constexpr std::size_t record_head_bytes = 28;

struct LogRecord {
  std::string_view job_id;  // 1..limits::job_id_bytes_max
  std::uint64_t seq = 0;
  std::uint32_t ordinal = 0;
  std::string_view frame;  // at most limits::event_log_frame_bytes_max
};

void append_record(std::string& out, const LogRecord& record);

struct DecodedRecord {
  enum class State {
    whole,
    cut,        // the bytes end before the record does
    bad_head,   // no record begins here: neither its size nor its job are known
    bad_frame,  // size_bytes, job_id, seq and ordinal are right, the frame is not
  };
  State state = State::bad_head;
  LogRecord record;            // views into the bytes given
  std::size_t size_bytes = 0;  // of the whole record
};

// The record at the start of `bytes`.
DecodedRecord decode_record(std::string_view bytes);
// Where the first record with a right head begins and fits; npos: nowhere.
std::size_t find_record(std::string_view bytes);

}  // namespace llorch
