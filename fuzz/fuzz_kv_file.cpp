// Whatever stands at the beginning of a snapshot's file: a head that is decoded is the one that
// would be written, anything else is refused; names are recognised or not.
#include "fuzz.h"
#include "protocol/kv_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace llorch;
  const auto input = fuzz::text_of(bytes, size);
  const auto head_bytes = kv_file_head_bytes(input);
  fuzz::tried(head_bytes);
  const auto head = decode_kv_file_head(input.substr(0, head_bytes.value_or(size)));
  fuzz::tried(head);
  if (head) fuzz::require(encode_kv_file_head(*head) == input.substr(0, *head_bytes));
  fuzz::require(!is_kv_file_name(input) || !is_kv_temporary_name(input));
  return 0;
}
