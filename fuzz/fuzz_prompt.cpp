// Any family, roles and contents: rendering never crashes, and content never becomes special.
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "fuzz.h"
#include "prompt/render.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace llorch::prompt;
  if (size < 1) return 0;
  const auto family = static_cast<Family>(bytes[0] % (static_cast<int>(Family::raw) + 1));
  // The rest: a byte for the role, then content up to the next byte 0xff.
  constexpr const char* roles[] = {"system", "developer", "user", "assistant", "tool"};
  constexpr char mark = '\x01';  // in no template
  std::vector<Message> messages;
  for (std::size_t i = 1; i < size;) {
    Message message{roles[bytes[i++] % 5], std::string(1, mark)};
    while (i < size && bytes[i] != 0xff) message.content += static_cast<char>(bytes[i++]);
    ++i;
    messages.push_back(std::move(message));
  }
  static_cast<void>(family_from(llorch::fuzz::text_of(bytes, size), "llama"));
  const auto segments = render(family, messages);
  if (!segments) return 0;
  for (const Segment& segment : *segments) {
    llorch::fuzz::require(!segment.special || segment.text.find(mark) == std::string::npos);
  }
  return 0;
}
