// Whatever stands in a segment: what is read from it is what was written, and reading it again
// after the cut gives the same. The blob of an ended job is decoded or refused.
#include "fuzz.h"
#include "store/frames.h"
#include "store/log_recovery.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace llorch;
  const auto input = fuzz::text_of(bytes, size);
  const auto decoded = decode_record(input);
  if (decoded.state == DecodedRecord::State::whole) {
    std::string again;
    append_record(again, decoded.record);
    fuzz::require(again == input.substr(0, decoded.size_bytes));
  }
  LogRecovery recovery;
  const auto kept = recovery.add_segment(1, input);
  recovery.finish();
  fuzz::require(kept <= size);
  for (const auto& [job_id, job] : recovery.jobs()) {
    for (const auto& at : job.frames) {
      const auto frame = decode_record(input.substr(at.offset, at.size_bytes));
      fuzz::require(frame.state == DecodedRecord::State::whole);
      fuzz::require(frame.record.job_id == job_id.value && frame.record.seq == at.seq);
    }
  }
  LogRecovery after_cut;
  fuzz::require(after_cut.add_segment(1, input.substr(0, kept)) == kept);
  after_cut.finish();
  for (const auto& [job_id, job] : after_cut.jobs()) {
    fuzz::require(recovery.jobs().at(job_id).frames.size() == job.frames.size());
  }
  const auto frames = decode_frames(input);
  fuzz::tried(frames);
  if (frames) fuzz::require(encode_frames(*frames) == input);
  return 0;
}
