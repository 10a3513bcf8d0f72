#include "net/client.h"

#include <chrono>
#include <fmt/format.h>
#include <utility>

#include "net/client_core.h"
#include "net/head_writer.h"

namespace llorch::net {

using std::chrono::milliseconds;

namespace {

// Whether sending the request twice does what sending it once does. Source: RFC 9110 §9.2.2.
bool may_repeat(std::string_view method) {
  return method == "GET" || method == "HEAD" || method == "PUT" || method == "DELETE" ||
         method == "OPTIONS";
}

Result<std::string> head_of(const Url& url, const HttpRequest& request) {
  if (!is_header_name(request.method) || !writable(request.headers)) {
    return fail(Code::invalid_request, "a method or header that cannot be written");
  }
  std::string head = fmt::format("{} {} HTTP/1.1\r\n", request.method, url.target);
  append_field(head, "Host", authority_of(url));
  if (!request.headers.find("Accept")) append_field(head, "Accept", "*/*");
  append_fields(head, request.headers);
  if (!request.body.empty() || request.method == "POST" || request.method == "PUT") {
    append_field(head, "Content-Length", std::to_string(request.body.size()));
  }
  return head.append("\r\n");
}

// How far a request came on one connection.
struct Attempt {
  Result<ResponseHead> head = fail(Code::unreachable, "nothing was sent");
  bool sent = false;      // all of it, as far as the kernel knows
  bool touched = false;   // some of it may have reached the server
  bool answered = false;  // a byte of a reply has arrived
};

std::unexpected<Error> broken(const ClientConnection& connection, const error_code& error) {
  if (connection.transport.timed_out()) {
    return fail(Code::timeout, fmt::format("{} took too long", connection.server));
  }
  const bool ended = error == asio::error::eof || error == asio::ssl::error::stream_truncated;
  return fail(Code::unreachable, ended ? fmt::format("{} closed the connection", connection.server)
                                       : fmt::format("{}: {}", connection.server, error.message()));
}

std::unexpected<Error> malformed(const ClientConnection& connection, const Refusal& refusal) {
  return fail(Code::unreachable, fmt::format("{} does not speak HTTP as it should: {}",
                                             connection.server, refusal.why));
}

// Reads heads up to the first that is final; 1xx ones before it say nothing of use.
Task<void> read_head(ClientConnection& connection, std::string_view method, Attempt& attempt) {
  HeadScanner scanner;
  while (true) {
    const auto size = scanner.scan(connection.in.bytes());
    if (!size) {
      attempt.head = malformed(connection, size.error());
      co_return;
    }
    if (const auto& whole = *size) {
      auto head = parse_response_head(connection.in.bytes().substr(0, *whole), method);
      connection.in.consume(*whole);
      if (head && head->response.status < 200 && head->response.status != 101) {
        scanner = {};
        continue;
      }
      if (head) {
        attempt.head = std::move(*head);
      } else {
        attempt.head = malformed(connection, head.error());
      }
      co_return;
    }
    // A head may take minutes: where it can it is waited for without a buffer.
    Transport& transport = connection.transport;
    error_code error;
    if (transport.plain()) {
      const auto [failed] = co_await transport.wait_readable(as_result);
      error = failed;
      if (!error) connection.in.commit(transport.read_now(connection.in.prepare(), error));
      if (error == asio::error::would_block) continue;
    } else {
      const auto [failed, received] =
          co_await transport.read_some(connection.in.prepare(), as_task);
      connection.in.commit(received);
      error = failed;
    }
    if (error) {
      attempt.head = broken(connection, error);
      co_return;
    }
    attempt.answered = true;
  }
}

Task<void> try_request(ClientConnection& connection, std::string_view head,
                       const HttpRequest& request, std::int64_t stall_ms, Attempt& attempt) {
  Gather bytes(head, request.body);
  const std::size_t size = bytes.size();
  error_code error = connection.transport.try_write(bytes);
  if (error == asio::error::would_block) {
    error = co_await connection.transport.write(bytes, stall_ms);
  }
  attempt.sent = !error;
  attempt.touched = bytes.size() < size;
  // A server may refuse a large body, answer and close before it has read all of it.
  co_await read_head(connection, request.method, attempt);
}

}  // namespace

class ResponseStream::State {
 public:
  State(std::shared_ptr<HttpClient::Core> core, std::unique_ptr<ClientConnection> connection,
        ResponseHead head)
      : core_(std::move(core)),
        connection_(std::move(connection)),
        head_(std::move(head)),
        chunks_(UINT64_MAX),
        left_(head_.framing.content_length) {
    if (head_.framing.body == Framing::Body::none) finish();
  }

  const HttpResponse& response() const { return head_.response; }
  Task<Result<std::size_t>> read_onto(std::string& into, std::int64_t idle_ms);
  void forget_headers() { head_.response.headers = Headers(); }
  void close();

 private:
  Result<void> take(std::string_view bytes, std::string& into);
  error_code take_now(std::string& into, Result<void>& taken);
  std::optional<Result<std::size_t>> take_ready(std::string& into, error_code error);
  std::unexpected<Error> end(std::unexpected<Error> error);
  void finish();

  std::shared_ptr<HttpClient::Core> core_;
  std::unique_ptr<ClientConnection> connection_;  // null once the body has ended, either way
  ResponseHead head_;
  ChunkedDecoder chunks_;
  std::uint64_t left_ = 0;
  bool body_ended_ = false;
  bool reading_ = false;
  bool closed_ = false;
  std::optional<Error> error_;
};

// Puts what of `bytes` is body behind `into`. The end of the body may be among them.
Result<void> ResponseStream::State::take(std::string_view bytes, std::string& into) {
  into.reserve(into.size() + bytes.size());  // more than enough: some of it is framing
  if (head_.framing.body == Framing::Body::chunked) {
    while (!bytes.empty() && !chunks_.done()) {
      const auto piece = chunks_.next(bytes);
      if (!piece) return malformed(*connection_, piece.error());
      into.append(piece->data);
      bytes.remove_prefix(piece->consumed);
    }
    if (chunks_.done()) body_ended_ = true;
  } else {
    const bool sized = head_.framing.body == Framing::Body::length;
    const std::size_t here = sized ? std::min<std::uint64_t>(left_, bytes.size()) : bytes.size();
    into.append(bytes.substr(0, here));
    bytes.remove_prefix(here);
    left_ -= sized ? here : 0;
    body_ended_ = sized && left_ == 0;
  }
  // A server that says more than its reply is not asked again.
  if (!bytes.empty()) head_.framing.keep_alive = false;
  return {};
}

// Takes what is here just now; nothing may be.
error_code ResponseStream::State::take_now(std::string& into, Result<void>& taken) {
  error_code error;
  const auto room = core_->scratch();
  const std::size_t received = connection_->transport.read_now(room, error);
  taken = take({static_cast<const char*>(room.data()), received}, into);
  return error == asio::error::would_block ? error_code{} : error;
}

// What the buffer or, without TLS, the socket has, where no `error` came before it. nullopt:
// nothing yet, or nothing any more.
std::optional<Result<std::size_t>> ResponseStream::State::take_ready(std::string& into,
                                                                     error_code error) {
  InBuffer& in = connection_->in;
  const std::size_t before = into.size();
  Result<void> taken;
  if (!in.empty()) {
    taken = take(in.bytes(), into);
    in.consume(in.size());
  } else if (!error && connection_->transport.plain()) {
    error = take_now(into, taken);
  }
  if (!taken) return end(fail(taken.error()));
  if (body_ended_) finish();
  if (into.size() > before) return into.size() - before;
  if (!error) return {};
  const bool clean_end =
      error == asio::error::eof && head_.framing.body == Framing::Body::until_close;
  if (!clean_end) return end(broken(*connection_, error));
  connection_.reset();
  return {};
}

Task<Result<std::size_t>> ResponseStream::State::read_onto(std::string& into,
                                                           std::int64_t idle_ms) {
  std::optional<Result<std::size_t>> got;
  if (connection_ && !connection_->in.empty()) got = take_ready(into, {});
  while (!got && connection_) {
    Transport& transport = connection_->transport;
    InBuffer& in = connection_->in;
    error_code error;
    in.release_if_empty();
    reading_ = true;
    transport.arm(idle_ms);
    if (transport.plain()) {
      const auto [failed] = co_await transport.wait_readable(as_result);
      error = failed;
    } else {
      const auto [failed, received] = co_await transport.read_some(in.prepare(), as_task);
      in.commit(received);
      error = failed;
    }
    transport.disarm();
    reading_ = false;
    if (closed_) co_return end(fail(Code::unreachable, "the reply was closed here"));
    got = take_ready(into, error);
  }
  if (got) co_return std::move(*got);
  if (error_) co_return fail(*error_);
  co_return std::size_t{0};
}

std::unexpected<Error> ResponseStream::State::end(std::unexpected<Error> error) {
  error_ = error.error();
  connection_->transport.cut();
  connection_.reset();
  return error;
}

void ResponseStream::State::finish() {
  if (head_.framing.keep_alive) core_->keep_idle(std::move(connection_));
  connection_.reset();
}

void ResponseStream::State::close() {
  if (!connection_ || closed_) return;
  closed_ = true;
  connection_->transport.close();
  if (reading_) return;  // the read ends, and clears up
  error_ = fail(Code::unreachable, "the reply was closed here").error();
  connection_.reset();
}

ResponseStream::ResponseStream(std::unique_ptr<State> state) : state_(std::move(state)) {}
ResponseStream::~ResponseStream() = default;
unsigned ResponseStream::status() const {
  return state_->response().status;
}
const Headers& ResponseStream::headers() const {
  return state_->response().headers;
}
void ResponseStream::forget_headers() {
  state_->forget_headers();
}
void ResponseStream::close() {
  state_->close();
}

Task<Result<std::string>> ResponseStream::read(std::chrono::milliseconds idle) {
  std::string bytes;
  const auto got = co_await state_->read_onto(bytes, idle.count());
  if (!got) co_return fail(got.error());
  co_return bytes;
}
Task<Result<std::size_t>> ResponseStream::read_onto(std::string& into,
                                                    std::chrono::milliseconds idle) {
  return state_->read_onto(into, idle.count());
}

HttpClient::HttpClient(asio::io_context& io, ClientOptions options)
    : core_(std::make_shared<Core>(io, std::move(options))) {}
HttpClient::~HttpClient() {
  core_->close_idle();
}
void HttpClient::close_idle() {
  core_->close_idle();
}

void Abort::now() {
  aborted_ = true;
  if (transport_ != nullptr) transport_->cut();
}

Task<Result<std::unique_ptr<ResponseStream>>> HttpClient::open(Url url, HttpRequest request,
                                                               milliseconds deadline,
                                                               Abort* abort) {
  const std::shared_ptr<Core> core = core_;
  const SteadyTime end = std::chrono::steady_clock::now() + deadline;
  const Result<std::string> head = head_of(url, request);
  if (!head) co_return fail(head.error());
  const std::string server = fmt::format("{}://{}", url.scheme, authority_of(url));
  const auto aborted = [&] { return abort != nullptr && abort->aborted_; };
  std::unique_ptr<ClientConnection> connection = core->take_idle(server);
  while (true) {
    const bool reused = connection != nullptr;
    if (!reused) {
      auto fresh = co_await core->connect(url, left_ms(end));
      if (!fresh) co_return fail(fresh.error());
      connection = std::move(*fresh);
    }
    if (aborted()) co_return fail(Code::unreachable, "the request was aborted here");
    if (abort != nullptr) abort->transport_ = &connection->transport;
    connection->transport.arm(left_ms(end));
    Attempt attempt;
    co_await try_request(*connection, *head, request, core->options().write_stall_ms, attempt);
    connection->transport.disarm();
    if (abort != nullptr) abort->transport_ = nullptr;
    if (aborted()) co_return fail(Code::unreachable, "the request was aborted here");
    if (attempt.head) {
      // What is left of a request that was answered early would be read as the next one.
      if (!attempt.sent) attempt.head->framing.keep_alive = false;
      auto state = std::make_unique<ResponseStream::State>(core, std::move(connection),
                                                           std::move(*attempt.head));
      co_return std::make_unique<ResponseStream>(std::move(state));
    }
    // The server closed a kept connection just as it was used again.
    const bool again = reused && !attempt.answered && !connection->transport.timed_out() &&
                       (!attempt.touched || may_repeat(request.method));
    if (!again) co_return fail(attempt.head.error());
    connection.reset();
  }
}

Task<Result<HttpResponse>> HttpClient::fetch(Url url, HttpRequest request, milliseconds deadline) {
  const std::size_t bytes_max = core_->options().response_bytes_max;
  const SteadyTime end = std::chrono::steady_clock::now() + deadline;
  const auto stream = co_await open(std::move(url), std::move(request), deadline);
  if (!stream) co_return fail(stream.error());
  HttpResponse response{(*stream)->status(), (*stream)->headers(), {}};
  while (true) {
    const Result<std::string> bytes = co_await (*stream)->read(milliseconds(left_ms(end)));
    if (!bytes) co_return fail(bytes.error());
    if (bytes->empty()) co_return response;
    if (response.body.size() + bytes->size() > bytes_max) {
      co_return fail(Code::too_large, fmt::format("a reply of more than {} bytes", bytes_max));
    }
    response.body += *bytes;
  }
}

}  // namespace llorch::net
