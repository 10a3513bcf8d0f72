// Takes a worker's event stream apart into frames without looking into their JSON: what a relay
// needs of a frame is its id, its type and its bytes.
// Threads: one owner. Lifetime: one splitter a stream.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "base/result.h"

namespace llorch {

// Views into the splitter, valid until the next feed().
struct RelayFrame {
  std::string_view id;    // "SEQ:TOKEN_ID[,…]", "SEQ" or empty
  std::string_view type;  // of the event line; empty: none
  std::string_view data;  // of the one data line
  std::string_view rest;  // the frame without its id line, with the empty line that ends it
};

class FrameSplitter {
 public:
  // Takes the next bytes, split anywhere. Errors: too_large (a frame over the limit).
  Result<void> feed(std::string_view bytes);
  // The same without a copy: where the next bytes are to be put, behind what is there, and then
  // whether they are too many.
  std::string& inbox();
  Result<void> check() const;
  // The next whole frame; false: more bytes are needed. Comments are skipped.
  bool next(RelayFrame& frame);
  // Bytes that have not been given out.
  std::size_t size() const { return buffer_.size() - begin_; }
  // Gives back the memory, where nothing is in it that has not been given out.
  void release_if_empty();

 private:
  std::string buffer_;
  std::size_t begin_ = 0;  // of what has not been given out
  std::size_t scanned_ = 0;
};

}  // namespace llorch
