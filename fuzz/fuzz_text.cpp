// UTF-8 and JSON text: what is written reads back, what is replaced is valid.
#include "fuzz.h"
#include "protocol/json_parse.h"
#include "protocol/json_text.h"
#include "protocol/utf8.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace llorch;
  const auto text = fuzz::text_of(bytes, size);
  const std::string replaced = utf8_replaced(text);
  fuzz::require(is_utf8(replaced));
  if (is_utf8(text)) fuzz::require(replaced == text && utf8_incomplete_tail(text) == 0);
  const std::size_t tail = utf8_incomplete_tail(text);
  fuzz::require(tail <= 3 && tail <= text.size());
  std::string json;
  append_json_string(json, text);
  const auto parsed = parse_json(json, json.size());
  fuzz::require(parsed.has_value() && parsed->is_string());
  if (is_utf8(text)) fuzz::require(std::string_view(parsed->get_string()) == text);
  fuzz::tried(parse_json(text));
  return 0;
}
