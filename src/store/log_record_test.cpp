#include "store/log_record.h"

#include <gtest/gtest.h>

#include "base/crc32c.h"
#include "base/limits.h"
#include "store/frames.h"
#include "store/log_recovery.h"

namespace llorch {
namespace {

using State = DecodedRecord::State;

std::string record(std::string_view job, std::uint64_t seq, std::uint32_t ordinal,
                   std::string_view frame) {
  std::string bytes;
  append_record(bytes, {.job_id = job, .seq = seq, .ordinal = ordinal, .frame = frame});
  return bytes;
}

// Source: RFC 3720, B.4, and the check value of CRC catalogues.
TEST(Crc32c, GivesThePublishedSums) {
  EXPECT_EQ(crc32c("123456789"), 0xe3069283u);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43u);
  EXPECT_EQ(crc32c(""), 0u);
  EXPECT_EQ(crc32c("6789", crc32c("12345")), 0xe3069283u);
}

TEST(LogRecord, ComesBackAsItWasWritten) {
  const std::string frame("data: \0\xff\n", 9);
  const auto bytes = record("job-1", 0xfedcba9876543210, 7, frame);
  const auto longer = bytes + "more";
  const auto decoded = decode_record(longer);
  EXPECT_EQ(decoded.state, State::whole);
  EXPECT_EQ(decoded.size_bytes, bytes.size());
  EXPECT_EQ(decoded.record.job_id, "job-1");
  EXPECT_EQ(decoded.record.seq, 0xfedcba9876543210);
  EXPECT_EQ(decoded.record.ordinal, 7u);
  EXPECT_EQ(decoded.record.frame, frame);
  EXPECT_EQ(decode_record(record(std::string(256, 'j'), 1, 0, "")).state, State::whole);
}

TEST(LogRecord, IsCutWhereverItsBytesEnd) {
  const auto bytes = record("job", 1, 0, "frame");
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_EQ(decode_record(std::string_view(bytes).substr(0, size)).state, State::cut) << size;
  }
}

TEST(LogRecord, ShowsEveryFlippedBit) {
  const auto bytes = record("job", 1, 0, "frame");
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    std::string flipped = bytes;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ 1 << bit % 8);
    const auto decoded = decode_record(flipped);
    EXPECT_NE(decoded.state, State::whole) << bit;
    if (bit / 8 < record_head_bytes + 3) continue;
    EXPECT_EQ(decoded.state, State::bad_frame) << bit;
    EXPECT_EQ(decoded.record.job_id, "job");
  }
}

TEST(LogRecord, IsFoundAmongOtherBytes) {
  EXPECT_EQ(find_record(std::string(100, '\0') + record("j", 1, 0, "x")), 100u);
  EXPECT_EQ(find_record(std::string(100, '\0')), std::string_view::npos);
  EXPECT_EQ(find_record(""), std::string_view::npos);
}

// Two jobs whose frames alternate: a1 b1 a2 b2 a3.
struct Segment {
  std::vector<std::size_t> starts;
  std::string bytes;
  Segment() {
    add(record("a", 1, 0, "a-one"));
    add(record("b", 1, 0, "b-one"));
    add(record("a", 2, 1, "a-two"));
    add(record("b", 5, 1, "b-five"));
    add(record("a", 3, 2, "a-three"));
  }
  void add(const std::string& more) {
    starts.push_back(bytes.size());
    bytes += more;
  }
};

struct Recovered {
  LogRecovery recovery;
  std::uint64_t kept = 0;
  explicit Recovered(std::string_view bytes) : kept(recovery.add_segment(1, bytes)) {
    recovery.finish();
  }
  std::size_t frames(const char* job) {
    const auto found = recovery.jobs().find(JobId{job});
    return found == recovery.jobs().end() ? 0 : found->second.frames.size();
  }
  bool damaged(const char* job) { return recovery.jobs()[JobId{job}].damaged; }
};

TEST(LogRecovery, ACutAtEveryByteKeepsTheWholeRecordsBeforeIt) {
  const Segment segment;
  for (std::size_t size = 0; size <= segment.bytes.size(); ++size) {
    SCOPED_TRACE(size);
    Recovered recovered(std::string_view(segment.bytes).substr(0, size));
    std::size_t whole = 0;
    while (whole < 5 && (whole == 4 ? segment.bytes.size() : segment.starts[whole + 1]) <= size) {
      ++whole;
    }
    EXPECT_EQ(recovered.kept, whole == 5 ? segment.bytes.size() : segment.starts[whole]);
    EXPECT_EQ(recovered.frames("a") + recovered.frames("b"), whole);
    EXPECT_FALSE(recovered.damaged("a") || recovered.damaged("b"));
    EXPECT_TRUE(recovered.recovery.reports().empty());
  }
}

TEST(LogRecovery, ADamagedFrameEndsItsJobThereAndNoOther) {
  Segment segment;
  segment.bytes[segment.starts[3] - 1] ^= 1;  // the last byte of a2
  Recovered recovered(segment.bytes);
  EXPECT_EQ(recovered.frames("a"), 1u);
  EXPECT_TRUE(recovered.damaged("a"));
  EXPECT_EQ(recovered.frames("b"), 2u);
  EXPECT_FALSE(recovered.damaged("b"));
  EXPECT_EQ(recovered.kept, segment.bytes.size());
  EXPECT_EQ(recovered.recovery.reports().size(), 2u);
}

TEST(LogRecovery, ADamagedHeadIsPlacedByTheFramesAfterIt) {
  Segment segment;
  segment.bytes[segment.starts[2] + 12] ^= 1;  // the seq of a2
  Recovered recovered(segment.bytes);
  EXPECT_EQ(recovered.frames("a"), 1u);
  EXPECT_TRUE(recovered.damaged("a"));
  EXPECT_EQ(recovered.frames("b"), 2u);
  EXPECT_FALSE(recovered.damaged("b"));  // b5 follows b1
}

TEST(LogRecovery, ADamagedHeadThatNothingPlacesIsHeldAgainstAllItCouldBe) {
  Segment segment;
  segment.bytes[segment.starts[3] + 12] ^= 1;  // the seq of b5, the last of b
  Recovered recovered(segment.bytes);
  EXPECT_EQ(recovered.frames("a"), 3u);
  EXPECT_FALSE(recovered.damaged("a"));
  EXPECT_EQ(recovered.frames("b"), 1u);
  EXPECT_TRUE(recovered.damaged("b"));

  Segment last;
  last.bytes[last.starts[4] + 12] ^= 1;  // a3: nothing follows
  Recovered cut(last.bytes);
  EXPECT_EQ(cut.kept, last.starts[4]);
  EXPECT_TRUE(cut.damaged("a") && cut.damaged("b"));
}

TEST(LogRecovery, NoFlippedBitGivesFramesThatWereNotWritten) {
  const Segment segment;
  for (std::size_t bit = 0; bit < segment.bytes.size() * 8; ++bit) {
    SCOPED_TRACE(bit);
    std::string flipped = segment.bytes;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ 1 << bit % 8);
    Recovered recovered(flipped);
    EXPECT_LE(recovered.frames("a") + recovered.frames("b"), 4u);
    // The job that lost a frame is marked, or it lost the newest ones and the bytes were cut.
    const bool cut = recovered.kept < flipped.size();
    EXPECT_TRUE(recovered.frames("a") == 3 || recovered.damaged("a") || cut);
    EXPECT_TRUE(recovered.frames("b") == 2 || recovered.damaged("b") || cut);
    for (const auto& [job_id, job] : recovered.recovery.jobs()) {
      for (const auto& at : job.frames) {
        const auto bytes = std::string_view(flipped).substr(at.offset, at.size_bytes);
        EXPECT_NE(segment.bytes.find(bytes), std::string::npos);
      }
    }
  }
}

TEST(LogRecovery, OrdinalsGoOnOverSegments) {
  LogRecovery recovery;
  const auto first = record("a", 1, 0, "x");
  EXPECT_EQ(recovery.add_segment(1, first), first.size());
  recovery.add_segment(2, record("a", 2, 1, "y") + record("b", 1, 1, "z"));
  recovery.finish();
  EXPECT_EQ(recovery.jobs()[JobId{"a"}].frames.size(), 2u);
  EXPECT_TRUE(recovery.jobs()[JobId{"b"}].damaged);  // its first frame is nowhere
  EXPECT_TRUE(recovery.jobs()[JobId{"b"}].frames.empty());
}

TEST(LogRecovery, TellsAFewDamagedPlacesAndNotAll) {
  std::string bytes;
  for (int n = 0; n < 200; ++n) {
    bytes += record("j" + std::to_string(n), 1, 0, "frame");
    bytes.back() = '!';
  }
  Recovered recovered(bytes);
  EXPECT_EQ(recovered.recovery.reports().size(), limits::event_log_reports_max);
  EXPECT_EQ(recovered.recovery.jobs().size(), 200u);
}

TEST(Frames, OfAJobComeBackAndCutOnesDoNot) {
  const std::vector<LoggedFrame> frames = {{0, ""}, {3, std::string("\0x", 2)}, {4, "y"}};
  const auto blob = encode_frames(frames);
  EXPECT_EQ(decode_frames(blob), frames);
  EXPECT_EQ(decode_frames("")->size(), 0u);
  std::size_t whole = 0;
  for (std::size_t size = 1; size < blob.size(); ++size) {
    if (decode_frames(std::string_view(blob).substr(0, size))) ++whole;
  }
  EXPECT_EQ(whole, 2u);  // the ends of the first two frames
  EXPECT_EQ(decode_frames(encode_frames(std::vector<LoggedFrame>{{2, ""}, {2, ""}})).error().code,
            Code::internal);
}

}  // namespace
}  // namespace llorch
