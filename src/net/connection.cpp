#include "net/connection.h"

#include <algorithm>
#include <charconv>
#include <exception>
#include <fmt/format.h>
#include <utility>

#include "base/log.h"
#include "net/head_writer.h"

namespace llorch::net {
namespace {

// Heads of up to 16 KiB, and as much of a next request while one is answered: one byte more says
// that it is too much.
constexpr std::size_t in_bytes_max =
    std::max(limits::head_bytes_max, limits::pipelined_bytes_max) + 1;
// A body grows as it arrives, not as its head claims.
constexpr std::size_t body_step = 64 * limits::kib;

// The path in a head that is not whole or not good: its refusal has the shape of that route.
std::string path_begun(std::string_view head) {
  const std::string_view line = head.substr(0, head.find_first_of("\r\n"));
  const std::size_t blank = line.find(' ');
  if (blank == line.npos) return "/";
  const std::string_view target = line.substr(blank + 1);
  return std::string(target.substr(0, target.find_first_of(" ?")));
}

}  // namespace

// What a body takes of the room for all that are on their way, while it is.
class Connection::Share {
 public:
  explicit Share(HttpServer::Core& core) : core_(core) {}
  ~Share() { core_.counters.bytes_receiving -= held_; }
  Share(const Share&) = delete;
  Share& operator=(const Share&) = delete;

  // Called before the body grows to `bytes`.
  Guarded<void> grow_to(std::size_t bytes) {
    if (bytes <= held_) return {};
    std::size_t& all = core_.counters.bytes_receiving;
    if (all - held_ + bytes > core_.options().received_max) {
      return std::unexpected(
          Refusal{503, "too much is being received just now; try again in a moment"});
    }
    all += bytes - std::exchange(held_, bytes);
    return {};
  }

 private:
  HttpServer::Core& core_;
  std::size_t held_ = 0;
};

Connection::Connection(std::shared_ptr<HttpServer::Core> core, tcp::socket socket)
    : core_(std::move(core)),
      transport_(std::move(socket), core_->timer()),
      in_(in_bytes_max),
      read_ended_(core_->executor()) {
  transport_.prepare();
}

Task<void> Connection::serve() {
  if (core_->tls() != nullptr) {
    transport_.arm(core_->options().head_read_ms);
    const error_code refused = co_await transport_.handshake(*core_->tls(), {});
    if (refused) co_return transport_.close();
  }
  bool another = true;
  while (another) another = co_await serve_one();
  co_await finish();
}

Task<void> Connection::turn_away() {
  auto head = co_await read_head(limits::turned_away_ms);
  if (head) {
    request_ = std::move(head->request);
    framing_ = head->framing;
    framing_.keep_alive = false;
    const bool spared =
        request_.path == core_->options().spared_path && framing_.body == Framing::Body::none;
    if (spared) {
      co_await answer();
    } else {
      co_await refuse(503, "too many connections; try again in a moment");
    }
  }
  co_await finish();
}

Task<void> Connection::finish() {
  if (reply_ == Reply::complete && !gone_ && !in_.empty()) co_await linger();
  co_await transport_.shut_down();
  transport_.close();
}

// One request; true when another may follow.
Task<bool> Connection::serve_one() {
  auto head = co_await read_head(core_->options().head_read_ms);
  if (!head) co_return false;
  first_ = false;
  framing_ = head->framing;
  request_ = std::move(head->request);
  const bool complete = co_await read_body(head->expects_continue);
  if (!complete) co_return false;
  co_await answer();
  request_ = HttpRequest();  // an idle connection keeps no body
  const bool whole = reply_ == Reply::complete;
  co_return whole&& keep_alive_ && !gone_;
}

// Nullopt: the connection is done with; a refusal has been sent if there was something to refuse.
Task<std::optional<RequestHead>> Connection::read_head(std::int64_t head_ms) {
  HeadScanner scanner;
  bool begun = first_ || !in_.empty();
  transport_.arm(begun ? head_ms : core_->options().keep_alive_ms, Transport::OnTime::end_read);
  bool empty_line = first_;  // seen, or not allowed
  while (true) {
    // One empty line after a body is an old client's habit. Source: RFC 9112 §2.2.
    if (!empty_line && in_.bytes().starts_with("\r\n")) {
      empty_line = true;
      in_.consume(2);
      scanner = {};
    }
    const auto size = scanner.scan(in_.bytes());
    if (!size) {
      request_.path = path_begun(in_.bytes());
      co_await refuse(size.error().status, size.error().why);
      co_return std::nullopt;
    }
    if (const auto& whole = *size) {
      transport_.disarm();
      auto head = parse_request_head(in_.bytes().substr(0, *whole));
      if (!head) request_.path = path_begun(in_.bytes());
      in_.consume(*whole);
      if (head) co_return std::move(*head);
      co_await refuse(head.error().status, head.error().why);
      co_return std::nullopt;
    }
    if (core_->draining() && in_.empty()) co_return std::nullopt;
    in_head_ = true;
    const bool more = co_await read_more();
    in_head_ = false;
    // Bytes that come together with the deadline may begin a head, but not go on with one.
    const bool late = begun && transport_.timed_out();
    if (!more || late) {
      request_.path = path_begun(in_.bytes());
      if (!in_.empty()) co_await refuse_late("the head took too long");
      co_return std::nullopt;
    }
    if (!begun && !in_.empty()) {
      begun = true;
      transport_.arm(head_ms, Transport::OnTime::end_read);
    }
  }
}

Task<bool> Connection::read_body(bool expects_continue) {
  if (framing_.body == Framing::Body::none) co_return true;
  if (framing_.content_length > core_->options().body_bytes_max) {
    co_await refuse(413, "the body is too large");
    co_return false;
  }
  if (expects_continue && in_.empty()) {
    const Result<void> sent = co_await send(Gather("HTTP/1.1 100 Continue\r\n\r\n"));
    if (!sent) co_return false;
  }
  transport_.arm(core_->options().body_read_ms, Transport::OnTime::end_read);
  Guarded<bool> complete = false;
  if (framing_.body == Framing::Body::chunked) {
    complete = co_await read_chunked_body();
  } else {
    complete = co_await read_sized_body(framing_.content_length);
  }
  transport_.disarm();
  if (complete && *complete) co_return true;
  request_.body = std::string();  // a refused peer may take its time to leave
  if (!complete) {
    co_await refuse(complete.error().status, complete.error().why);
  } else {
    co_await refuse_late("the body took too long");
  }
  co_return false;
}

// False: the peer left, or was too slow.
Task<Guarded<bool>> Connection::read_sized_body(std::uint64_t length) {
  Share share(*core_);
  std::string& body = request_.body;
  std::size_t have = 0;
  const auto grow_to = [&](std::size_t size) {
    const auto room = share.grow_to(size);
    if (room) body.resize(std::max(body.size(), size));
    return room;
  };
  while (true) {
    const std::size_t here = std::min<std::size_t>(length - have, in_.size());
    if (const auto room = grow_to(have + here); !room) co_return std::unexpected(room.error());
    in_.bytes().copy(body.data() + have, here);
    in_.consume(here);
    have += here;
    if (have == length) co_return true;
    if (read_posted_) {  // the peer sent this request before the last one was answered
      const bool more = co_await read_more();
      if (!more || transport_.timed_out()) co_return false;
      continue;
    }
    if (have == body.size()) {
      const std::size_t size = std::min<std::size_t>(length, std::max(have * 2, have + body_step));
      if (const auto room = grow_to(size); !room) co_return std::unexpected(room.error());
    }
    const auto room = asio::buffer(body.data() + have, body.size() - have);
    const auto [error, received] = co_await transport_.read_some(room, as_task);
    if (error || transport_.timed_out()) co_return false;
    have += received;
  }
}

Task<Guarded<bool>> Connection::read_chunked_body() {
  Share share(*core_);
  std::string& body = request_.body;
  ChunkedDecoder decoder(core_->options().body_bytes_max);
  while (true) {
    while (!in_.empty() && !decoder.done()) {
      const auto piece = decoder.next(in_.bytes());
      if (!piece) co_return std::unexpected(piece.error());
      const auto room = share.grow_to(body.size() + piece->data.size());
      if (!room) co_return std::unexpected(room.error());
      body.append(piece->data);
      in_.consume(piece->consumed);
    }
    if (decoder.done()) co_return true;
    const bool more = co_await read_more();
    if (!more || transport_.timed_out()) co_return false;
  }
}

// Waits for bytes in in_, by the read that is posted or by one of its own. False: none will come.
Task<bool> Connection::read_more() {
  if (gone_) co_return false;
  while (read_posted_) {
    co_await read_ended_.wait();
    if (!read_posted_) co_return !gone_;
  }
  const auto [error, received] = co_await transport_.read_some(in_.prepare(), as_task);
  gone_ = error && !transport_.timed_out();  // our own deadline says nothing of the peer
  in_.commit(received);
  co_return !error;
}

Task<void> Connection::answer() {
  ++core_->counters.requests;
  reply_ = Reply::none;
  unsent_.clear();
  keep_alive_ = framing_.keep_alive;
  chunked_ = bodiless_ = false;
  answering_ = true;
  watch_peer();
  Exchange exchange(*this);
  bool threw = false;
  try {
    co_await core_->handler()(exchange);
  } catch (const std::exception& error) {
    threw = true;
    log_event(LogLevel::error, "net", "handler_threw", {{"reason", error.what()}});
  }
  on_left_ = nullptr;  // what it uses may have gone with the handler
  if (reply_ == Reply::none) {
    const char* why = threw ? "the request could not be served" : "the request was not answered";
    HttpResponse failure = core_->refusal(500, why, request_);
    const Result<void> sent = co_await exchange.reply(std::move(failure));
    static_cast<void>(sent);  // a client that left hears nothing
  }
  // Without its end, a stream must not look like a whole one.
  if (reply_ == Reply::streaming) transport_.cut();
  answering_ = false;
}

// For requests that no handler sees; the connection is not used after it.
Task<void> Connection::refuse(unsigned status, std::string message) {
  ++core_->counters.requests_refused;
  transport_.disarm();
  keep_alive_ = false;
  bodiless_ = false;
  const HttpResponse reply = core_->refusal(status, message, request_);
  const std::string length = fmt::format("Content-Length: {}\r\n", reply.body.size());
  const Result<void> sent = co_await send_head(status, reply.headers, length, reply.body);
  if (sent) co_await linger();
}

// After a read that failed: tells a slow peer so; one that left hears nothing.
Task<void> Connection::refuse_late(const char* why) {
  if (!transport_.timed_out() || !transport_.open()) co_return;
  ++core_->counters.timeouts;
  co_await refuse(408, why);
}

// Closing on unread bytes would reset the connection, and the peer might never see the refusal.
Task<void> Connection::linger() {
  co_await transport_.shut_down();
  transport_.arm(limits::linger_ms);
  std::size_t left = core_->options().body_bytes_max;
  while (left > 0) {
    left -= std::min(left, in_.size());
    in_.consume(in_.size());
    const bool more = co_await read_more();
    if (!more) break;
  }
  transport_.close();
}

// Keeps one read posted while a handler runs, so that a peer's leaving is noticed at once.
void Connection::watch_peer() {
  if (read_posted_ || gone_) return;
  if (in_.full()) {  // more than is kept of a next request
    transport_.cut();
    return peer_left();
  }
  read_posted_ = true;
  if (!transport_.plain()) {
    transport_.read_some(in_.prepare(),
                         [self = shared_from_this()](error_code error, std::size_t received) {
                           self->on_read(error, received);
                         });
    return;
  }
  in_.release_if_empty();  // while it is answered a client has nothing to say
  transport_.wait_readable([self = shared_from_this()](error_code error) {
    const std::size_t received = error ? 0 : self->transport_.read_now(self->in_.prepare(), error);
    if (error == asio::error::would_block) error = {};
    self->on_read(error, received);
  });
}

void Connection::on_read(error_code error, std::size_t received) {
  read_posted_ = false;
  if (error) {
    peer_left();
  } else {
    in_.commit(received);
    if (answering_) watch_peer();
  }
  read_ended_.ring();
}

void Connection::peer_left() {
  gone_ = true;
  const bool owed = answering_ && reply_ != Reply::complete;
  if (const auto left = std::exchange(on_left_, nullptr); left && owed) left();
}

bool Connection::may_have_body(unsigned status) const {
  return request_.method != "HEAD" && status >= 200 && status != 204 && status != 304;
}

// `framing`: the line that says how long the body is.
Task<Result<void>> Connection::send_head(unsigned status, const Headers& headers,
                                         std::string_view framing, std::string_view body) {
  if (!writable(headers)) co_return fail(Code::internal, "a header that cannot be written");
  if (core_->draining()) keep_alive_ = false;
  head_.clear();
  append_status_line(head_, status);
  append_field(head_, "Date", core_->date());
  append_fields(head_, headers);
  head_.append(framing);
  if (keep_alive_) {
    head_.append(core_->keep_alive_fields());
  } else {
    append_field(head_, "Connection", "close");
  }
  head_.append("\r\n");
  co_return co_await send(Gather(head_, body));
}

Gather Connection::framed(std::string_view bytes, bool last) {
  if (!chunked_) return Gather(bytes);
  if (bytes.empty()) return Gather(last ? "0\r\n\r\n" : "");
  char* const begin = chunk_size_.data();
  char* end = std::to_chars(begin, begin + 16, bytes.size(), 16).ptr;
  *end++ = '\r';
  *end++ = '\n';
  const std::string_view size(begin, static_cast<std::size_t>(end - begin));
  return Gather(size, bytes, last ? "\r\n0\r\n\r\n" : "\r\n");
}

Task<Result<void>> Connection::send(Gather bytes) {
  writing_ = true;
  error_code error = transport_.try_write(bytes);
  if (error == asio::error::would_block) {
    error = co_await transport_.write(bytes, core_->options().write_stall_ms);
  }
  writing_ = false;
  if (!error) co_return Result<void>{};
  core_->counters.timeouts += transport_.timed_out() ? 1 : 0;
  break_off();
  co_return fail(Code::unreachable, "the client has left");
}

void Connection::break_off() {
  reply_ = Reply::broken;
  transport_.cut();
  peer_left();
}

}  // namespace llorch::net
