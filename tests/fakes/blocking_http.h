// A small blocking HTTP client on a plain socket, for tests that decide when to read and when to
// leave. It understands what our server sends: Content-Length and chunked bodies.
// Threads: one each. Every read gives up after 20 s, so that a broken test ends by itself.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace llorch {

struct BlockingReply {
  unsigned status = 0;                         // 0: the connection broke before a head
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
  bool complete = false;  // the body's clean end was seen
};

class BlockingClient {
 public:
  using Headers = std::vector<std::pair<std::string, std::string>>;

  explicit BlockingClient(std::uint16_t port, int receive_buffer_bytes = 0);
  ~BlockingClient();
  BlockingClient(const BlockingClient&) = delete;
  BlockingClient& operator=(const BlockingClient&) = delete;

  bool connected() const { return socket_ >= 0; }
  void send(std::string_view method, std::string_view path, std::string_view body = {},
            const Headers& headers = {});
  // The head of the next reply; the body follows through read_until() or read_rest().
  BlockingReply read_head();
  // Reads on until the body holds `needle`; false when it ended or broke first.
  bool read_until(BlockingReply& reply, std::string_view needle);
  void read_rest(BlockingReply& reply);
  BlockingReply read_reply();
  // Leaves: a FIN, or a RST with `reset`.
  void close(bool reset = false);

 private:
  bool fill();  // more raw bytes; false at the end
  bool take_line(std::string& line);
  bool read_piece(BlockingReply& reply);  // one more part of the body

  int socket_ = -1;
  std::string raw_;
  bool chunked_ = false;
  std::size_t left_ = 0;  // of a body with a length
};

// One request on a connection of its own.
BlockingReply ask(std::uint16_t port, std::string_view method, std::string_view path,
                  std::string_view body = {}, const BlockingClient::Headers& headers = {});

}  // namespace llorch
