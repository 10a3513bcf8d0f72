// One connection of a server: reads requests, has each answered, notices its peer leaving.
// Threads: the io_context's one thread. Lifetime: held by its session and by its posted read.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>

#include "net/event.h"
#include "net/framing.h"
#include "net/server.h"
#include "net/server_core.h"
#include "net/transport.h"

namespace llorch::net {

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(std::shared_ptr<HttpServer::Core> core, tcp::socket socket);

  // Serves request after request until the connection ends.
  Task<void> serve();
  // Answers the first request of a connection over the limit: 503, but for the spared path.
  Task<void> turn_away();
  // Nothing of a request has arrived: closing now loses nothing.
  bool idle() const { return in_head_ && in_.empty(); }
  void close_idle() { transport_.close(); }
  void cut() { transport_.cut(); }

 private:
  friend class Exchange;
  enum class Reply { none, streaming, complete, broken };

  Task<bool> serve_one();
  Task<std::optional<RequestHead>> read_head(std::int64_t head_ms);
  Task<bool> read_body(bool expects_continue);
  class Share;
  Task<Guarded<bool>> read_sized_body(std::uint64_t length);
  Task<Guarded<bool>> read_chunked_body();
  Task<bool> read_more();
  Task<void> refuse_late(const char* why);
  Task<void> answer();
  Task<void> refuse(unsigned status, std::string message);
  Task<void> linger();
  Task<void> finish();

  void watch_peer();
  void on_read(error_code error, std::size_t received);
  void peer_left();

  Task<Result<void>> send_head(unsigned status, const Headers& headers, std::string_view framing,
                               std::string_view body);
  Task<Result<void>> send(Gather bytes);
  // Part of a stream's body, in a chunk where there are chunks; `last` closes it.
  Gather framed(std::string_view bytes, bool last = false);
  void break_off();
  bool may_have_body(unsigned status) const;

  std::shared_ptr<HttpServer::Core> core_;
  Transport transport_;
  InBuffer in_;
  Event read_ended_;
  bool read_posted_ = false;
  bool in_head_ = false;    // waiting for a request, or the rest of its head
  bool answering_ = false;  // a handler runs
  bool gone_ = false;       // the peer has left
  bool first_ = true;       // no request yet

  HttpRequest request_;  // of a head that is not good: what could be made out
  Framing framing_;
  Reply reply_ = Reply::none;
  bool keep_alive_ = false;  // after this reply
  bool chunked_ = false;     // this stream
  bool bodiless_ = false;    // this reply: HEAD, 204, 304
  std::function<void()> on_left_;
  std::string head_;  // of the reply; kept for its memory
  bool writing_ = false;
  std::string unsent_;                 // of a chunk that the kernel took in part
  std::array<char, 18> chunk_size_{};  // "ffffffffffffffff\r\n"
};

}  // namespace llorch::net
