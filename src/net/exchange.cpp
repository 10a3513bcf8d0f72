// What a handler does with its connection.
#include <fmt/format.h>
#include <utility>

#include "net/connection.h"

namespace llorch::net {
namespace {

constexpr std::string_view no_framing = "";
constexpr std::string_view chunked_framing = "Transfer-Encoding: chunked\r\n";

std::unexpected<Error> gone() {
  return fail(Code::unreachable, "the client has left");
}

}  // namespace

const HttpRequest& Exchange::request() const {
  return connection_.request_;
}
HttpRequest& Exchange::request() {
  return connection_.request_;
}

std::string Exchange::peer() const {
  error_code error;
  const auto endpoint = connection_.transport_.socket().remote_endpoint(error);
  if (error) return "unknown";
  const std::string address = endpoint.address().to_string();
  if (endpoint.address().is_v6()) return fmt::format("[{}]:{}", address, endpoint.port());
  return fmt::format("{}:{}", address, endpoint.port());
}

Executor Exchange::executor() const {
  return connection_.core_->executor();
}

Task<Result<void>> Exchange::reply(HttpResponse response) {
  Connection& at = connection_;
  if (at.reply_ != Connection::Reply::none) co_return fail(Code::internal, "a second reply");
  const bool with_body = at.may_have_body(response.status);
  // A HEAD tells the length that a GET would have; 204 has none to tell.
  std::string length;
  if (response.status != 204) length = fmt::format("Content-Length: {}\r\n", response.body.size());
  const std::string_view body = with_body ? std::string_view(response.body) : std::string_view();
  const Result<void> sent = co_await at.send_head(response.status, response.headers, length, body);
  if (sent) at.reply_ = Connection::Reply::complete;
  co_return sent;
}

Task<Result<void>> Exchange::begin_stream(unsigned status, Headers headers,
                                          std::string_view first) {
  Connection& at = connection_;
  if (at.reply_ != Connection::Reply::none) co_return fail(Code::internal, "a second reply");
  if (at.gone_) co_return gone();
  at.bodiless_ = !at.may_have_body(status);
  at.chunked_ = !at.framing_.http_1_0;
  // HTTP/1.0 knows no chunks: there the end of the connection is the end of the body.
  if (!at.chunked_ && !at.bodiless_) at.keep_alive_ = false;
  const std::string_view framing = at.chunked_ && !at.bodiless_ ? chunked_framing : no_framing;
  const bool with_body = !first.empty() && !at.bodiless_;
  const std::string begun = with_body ? at.framed(first).text() : std::string();
  const Result<void> sent = co_await at.send_head(status, headers, framing, begun);
  if (sent) at.reply_ = Connection::Reply::streaming;
  std::string().swap(at.head_);  // a stream may last for minutes
  co_return sent;
}

Task<Result<void>> Exchange::write(std::string_view bytes) {
  Connection& at = connection_;
  if (at.gone_ || at.reply_ == Connection::Reply::broken) co_return gone();
  if (at.reply_ != Connection::Reply::streaming) co_return fail(Code::internal, "no open stream");
  if (!at.unsent_.empty()) {
    const Result<void> sent = co_await at.send(Gather(at.unsent_));
    at.unsent_.clear();
    if (!sent) co_return sent;
  }
  if (bytes.empty() || at.bodiless_) co_return Result<void>{};
  co_return co_await at.send(at.framed(bytes));
}

bool Exchange::offer(std::string_view bytes) {
  Connection& at = connection_;
  const bool free = at.reply_ == Connection::Reply::streaming && !at.writing_ && !behind();
  if (at.gone_ || !free || !at.transport_.plain()) return false;
  if (bytes.empty() || at.bodiless_) return true;
  Gather rest = at.framed(bytes);
  const error_code error = at.transport_.write_now(rest);
  if (error == asio::error::would_block) {
    at.unsent_ = rest.text();
  } else if (error) {
    at.break_off();
  }
  return true;
}

bool Exchange::behind() const {
  return !connection_.unsent_.empty();
}

Task<Result<void>> Exchange::end_stream(std::string_view last) {
  Connection& at = connection_;
  if (behind()) {
    const Result<void> sent = co_await write({});
    if (!sent) co_return sent;
  }
  if (at.gone_ || at.reply_ == Connection::Reply::broken) co_return gone();
  if (at.reply_ != Connection::Reply::streaming) co_return fail(Code::internal, "no open stream");
  Result<void> sent;
  if (!at.bodiless_) sent = co_await at.send(at.framed(last, true));
  if (sent) at.reply_ = Connection::Reply::complete;
  co_return sent;
}

void Exchange::on_disconnect(std::function<void()> left) {
  if (connection_.gone_) return left();
  connection_.on_left_ = std::move(left);
}

bool Exchange::disconnected() const {
  return connection_.gone_;
}

}  // namespace llorch::net
