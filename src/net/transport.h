// One TCP connection, plain or with TLS: reads, gathered writes, deadlines, and how it ends.
// Threads: the io_context's one thread. At most one read and one write at a time.
// Lifetime: outlives its operations (their owner holds it), not its WheelTimer.
#pragma once

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <memory>
#include <string>
#include <string_view>

#include "net/asio.h"
#include "net/wheel_timer.h"

namespace llorch::net {

using asio::ip::tcp;
using boost::system::error_code;

// `as_result` where one of two operations is chosen: they have one type then.
inline constexpr auto as_task = asio::as_tuple(asio::use_awaitable_t<Executor>());

// Bytes of at most three places, sent by one system call; they live where they are.
class Gather {
 public:
  Gather(std::string_view first, std::string_view second = {}, std::string_view third = {});
  const std::array<asio::const_buffer, 3>& buffers() const { return parts_; }
  void consume(std::size_t sent);
  std::size_t size() const { return asio::buffer_size(parts_); }
  std::string text() const;

 private:
  std::array<asio::const_buffer, 3> parts_;
};

class Transport {
 public:
  Transport(tcp::socket socket, std::shared_ptr<WheelTimer> timer);
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;

  tcp::socket& socket() { return socket_; }

  // What every connection of ours wants of the kernel; once it is connected.
  void prepare();
  // The rest goes through TLS. `host`: the name a client expects of its server; empty: a server.
  Task<error_code> handshake(asio::ssl::context& context, std::string host);

  // Until disarm(): once `ms` have passed the connection is cut, or only what waits is ended, with
  // operation_aborted. What had just completed by then succeeds: ask timed_out() after each read.
  enum class OnTime { cut, end_read };
  void arm(std::int64_t ms, OnTime then = OnTime::cut);
  void disarm() { deadline_.disarm(); }
  bool timed_out() const { return timed_out_; }  // since the last arm()

  // Some bytes, as any async_read_some of Asio.
  template <class Token>
  auto read_some(asio::mutable_buffer buffer, Token&& token) {
    return tls_ ? tls_->async_read_some(buffer, std::forward<Token>(token))
                : socket_.async_read_some(buffer, std::forward<Token>(token));
  }
  // Everything, or an error, and then what is left in `bytes` was not taken; the connection is cut
  // when the peer takes nothing for `stall_ms`. Ask try_write() first: most bytes need no
  // coroutine.
  Task<error_code> write(Gather& bytes, std::int64_t stall_ms);
  // would_block: what is left in `bytes` is for write(); any other as there.
  error_code try_write(Gather& bytes);

  // Without TLS one may also wait without a buffer, and read or write what goes at once: a thousand
  // idle streams then hold no memory for what might come. would_block: nothing goes just now.
  bool plain() const { return !tls_; }
  template <class Token>
  auto wait_readable(Token&& token) {
    return socket_.async_wait(tcp::socket::wait_read, std::forward<Token>(token));
  }
  std::size_t read_now(asio::mutable_buffer buffer, error_code& error) {
    return socket_.read_some(buffer, error);
  }
  // What is left in `bytes` did not go.
  error_code write_now(Gather& bytes);

  // Nothing more is written; the peer reads an end of file after what it has not taken yet.
  Task<void> shut_down();
  void close();
  // Closes with a reset: what the peer has not taken leaves the kernel's memory at once.
  void cut();
  bool open() const { return socket_.is_open(); }
  // An idle connection on which the peer has neither left nor said anything.
  bool quiet();

 private:
  void on_deadline();
  Task<error_code> write_tls(Gather& bytes, std::int64_t stall_ms);

  tcp::socket socket_;
  std::shared_ptr<WheelTimer> timer_;
  std::unique_ptr<asio::ssl::stream<tcp::socket&>> tls_;
  OnTime on_time_ = OnTime::cut;
  Deadline deadline_;
  Deadline stall_;
  bool timed_out_ = false;
  unsigned writes_at_once_ = 0;  // since the last one that waited
};

// Received bytes that are not used yet. A small buffer that grows to a limit, moved only between
// two reads. Threads: one.
class InBuffer {
 public:
  explicit InBuffer(std::size_t bytes_max) : bytes_max_(bytes_max) {}
  std::string_view bytes() const { return {space_.data() + begin_, end_ - begin_}; }
  bool empty() const { return begin_ == end_; }
  std::size_t size() const { return end_ - begin_; }
  // Room for a read, at least one byte unless full; valid until the next prepare().
  asio::mutable_buffer prepare();
  bool full() const { return size() == bytes_max_; }
  void commit(std::size_t received) { end_ += received; }
  void consume(std::size_t used) { begin_ += used; }
  // Gives back the memory, where there is nothing in it.
  void release_if_empty();

 private:
  std::size_t bytes_max_;
  std::string space_;
  std::size_t begin_ = 0, end_ = 0;
};

}  // namespace llorch::net
