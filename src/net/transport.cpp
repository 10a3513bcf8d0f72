#include "net/transport.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/host_name_verification.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/write.hpp>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <utility>

#include "base/limits.h"

namespace llorch::net {
namespace {

void set_option(int socket, int level, int name, int value) {
  // What the kernel does not take costs speed, or time until a lost peer is noticed.
  static_cast<void>(::setsockopt(socket, level, name, &value, sizeof value));
}

// A writer whose peer reads as fast as it writes yields now and then, so that others get a turn.
constexpr unsigned writes_at_once_max = 16;
// A head of an SDK is 500..1 500 bytes; blocks of up to 1 032 are what glibc keeps at hand.
constexpr std::size_t in_bytes_min = 1'000;

asio::const_buffer as_buffer(std::string_view bytes) {
  return {bytes.data(), bytes.size()};
}

}  // namespace

Gather::Gather(std::string_view first, std::string_view second, std::string_view third)
    : parts_{as_buffer(first), as_buffer(second), as_buffer(third)} {}

void Gather::consume(std::size_t sent) {
  for (asio::const_buffer& part : parts_) {
    const std::size_t of_this = std::min(sent, part.size());
    part += of_this;
    sent -= of_this;
  }
}

std::string Gather::text() const {
  std::string text;
  text.reserve(size());
  for (const asio::const_buffer& part : parts_) {
    text.append(static_cast<const char*>(part.data()), part.size());
  }
  return text;
}

void InBuffer::release_if_empty() {
  if (!empty()) return;
  std::string().swap(space_);
  begin_ = end_ = 0;
}

asio::mutable_buffer InBuffer::prepare() {
  if (begin_ > 0) {
    std::copy(space_.begin() + static_cast<std::ptrdiff_t>(begin_),
              space_.begin() + static_cast<std::ptrdiff_t>(end_), space_.begin());
    end_ -= std::exchange(begin_, 0);
  }
  if (end_ == space_.size()) {
    space_.resize(std::min(bytes_max_, std::max(in_bytes_min, space_.size() * 2)));
  }
  return {space_.data() + end_, space_.size() - end_};
}

Transport::Transport(tcp::socket socket, std::shared_ptr<WheelTimer> timer)
    : socket_(std::move(socket)),
      timer_(std::move(timer)),
      deadline_(timer_->wheel(), [this] { on_deadline(); }),
      stall_(timer_->wheel(), [this] {
        timed_out_ = true;
        cut();
      }) {}

void Transport::prepare() {
  const int socket = socket_.native_handle();
  set_option(socket, IPPROTO_TCP, TCP_NODELAY, 1);
  // Backpressure starts here, not at the megabytes to which the kernel would let a buffer grow.
  set_option(socket, IPPROTO_TCP, TCP_NOTSENT_LOWAT, limits::unsent_bytes_max);
  // A peer whose machine or network is gone says nothing, and would hold its job's slot for hours.
  set_option(socket, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(socket, IPPROTO_TCP, TCP_KEEPINTVL, limits::probe_interval_s);
  set_option(socket, IPPROTO_TCP, TCP_KEEPCNT, limits::probes_max);
#ifdef __APPLE__
  set_option(socket, IPPROTO_TCP, TCP_KEEPALIVE, limits::probe_after_s);
#else
  set_option(socket, IPPROTO_TCP, TCP_KEEPIDLE, limits::probe_after_s);
  set_option(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, limits::unanswered_ms);
#endif
  error_code ignored;
  socket_.non_blocking(true, ignored);
}

void Transport::arm(std::int64_t ms, OnTime then) {
  on_time_ = then;
  timed_out_ = false;
  deadline_.arm(ms);
}

void Transport::on_deadline() {
  timed_out_ = true;
  if (on_time_ == OnTime::cut) return cut();
  error_code ignored;
  socket_.cancel(ignored);
  // This ends nothing when one part of an operation had just completed: the next part is met then.
  deadline_.arm(TimingWheel::tick_ms);
}

Task<error_code> Transport::handshake(asio::ssl::context& context, std::string host) {
  tls_ = std::make_unique<asio::ssl::stream<tcp::socket&>>(socket_, context);
  const bool client = !host.empty();
  if (client) {
    SSL_set_tlsext_host_name(tls_->native_handle(), host.c_str());
    tls_->set_verify_callback(asio::ssl::host_name_verification(host));
  }
  const auto role = client ? asio::ssl::stream_base::client : asio::ssl::stream_base::server;
  const auto [error] = co_await tls_->async_handshake(role, as_result);
  co_return error;
}

Task<error_code> Transport::write(Gather& bytes, std::int64_t stall_ms) {
  if (tls_) co_return co_await write_tls(bytes, stall_ms);
  if (writes_at_once_ > writes_at_once_max) {
    writes_at_once_ = 0;
    co_await asio::post(co_await asio::this_coro::executor, asio::deferred);
  }
  while (true) {
    const error_code error = write_now(bytes);
    if (error != asio::error::would_block) co_return error;
    writes_at_once_ = 0;
    stall_.arm(stall_ms);
    const auto [failed] = co_await socket_.async_wait(tcp::socket::wait_write, as_result);
    stall_.disarm();
    if (failed) co_return failed;
  }
}

error_code Transport::try_write(Gather& bytes) {
  if (tls_ || ++writes_at_once_ > writes_at_once_max) return asio::error::would_block;
  return write_now(bytes);
}

error_code Transport::write_now(Gather& bytes) {
  error_code error;
  while (bytes.size() > 0 && !error) bytes.consume(socket_.write_some(bytes.buffers(), error));
  return error;
}

Task<error_code> Transport::write_tls(Gather& bytes, std::int64_t stall_ms) {
  while (bytes.size() > 0) {
    stall_.arm(stall_ms);
    const auto [error, sent] = co_await tls_->async_write_some(bytes.buffers(), as_result);
    stall_.disarm();
    if (error) co_return error;
    bytes.consume(sent);
  }
  co_return error_code{};
}

Task<void> Transport::shut_down() {
  if (!open()) co_return;
  error_code ignored;
  if (tls_) {
    // Waits for the peer's answer, which a peer need not give: for a moment, then no more. A slow
    // reader's bytes are still in the kernel: it goes on sending them after an ordinary close.
    arm(limits::linger_ms, OnTime::end_read);
    const auto [error] = co_await tls_->async_shutdown(as_result);
    deadline_.disarm();
    ignored = error;
  }
  socket_.shutdown(tcp::socket::shutdown_send, ignored);
}

void Transport::close() {
  deadline_.disarm();
  stall_.disarm();
  error_code ignored;
  socket_.close(ignored);
}

void Transport::cut() {
  error_code ignored;
  socket_.set_option(asio::socket_base::linger(true, 0), ignored);
  close();
}

bool Transport::quiet() {
  char byte = 0;
  error_code error;
  const std::size_t said =
      socket_.receive(asio::buffer(&byte, 1), asio::socket_base::message_peek, error);
  // A TLS server may send session tickets whenever it likes: bytes alone mean nothing there.
  return error == asio::error::would_block || (!error && said > 0 && tls_);
}

}  // namespace llorch::net
