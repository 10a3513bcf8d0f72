#include "fakes/blocking_http.h"

#include <algorithm>
#include <arpa/inet.h>
#include <cctype>
#include <cstdlib>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

namespace llorch {

BlockingClient::BlockingClient(std::uint16_t port, int receive_buffer_bytes) {
  socket_ = ::socket(AF_INET, SOCK_STREAM, 0);
  const timeval limit{.tv_sec = 20, .tv_usec = 0};
  ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  ::setsockopt(socket_, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  if (receive_buffer_bytes > 0) {
    ::setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &receive_buffer_bytes,
                 sizeof receive_buffer_bytes);
  }
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) close();
}

BlockingClient::~BlockingClient() {
  close();
}

void BlockingClient::close(bool reset) {
  if (socket_ < 0) return;
  if (reset) {
    const linger at_once{.l_onoff = 1, .l_linger = 0};
    ::setsockopt(socket_, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  }
  ::close(socket_);
  socket_ = -1;
}

void BlockingClient::send(std::string_view method, std::string_view path, std::string_view body,
                          const Headers& headers) {
  std::string text = std::string(method) + " " + std::string(path) + " HTTP/1.1\r\n";
  const bool has_host =
      std::ranges::any_of(headers, [](const auto& h) { return h.first == "Host"; });
  if (!has_host) text += "Host: localhost\r\n";
  for (const auto& [name, value] : headers) text += name + ": " + value + "\r\n";
  if (method == "POST") text += "Content-Length: " + std::to_string(body.size()) + "\r\n";
  text += "\r\n";
  text += body;
  for (std::size_t sent = 0; sent < text.size();) {
    const auto count = ::send(socket_, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
    if (count <= 0) return;
    sent += static_cast<std::size_t>(count);
  }
}

bool BlockingClient::fill() {
  char bytes[16 * 1024];
  const auto count = socket_ < 0 ? -1 : ::recv(socket_, bytes, sizeof bytes, 0);
  if (count <= 0) return false;
  raw_.append(bytes, static_cast<std::size_t>(count));
  return true;
}

bool BlockingClient::take_line(std::string& line) {
  while (true) {
    if (const auto end = raw_.find("\r\n"); end != std::string::npos) {
      line = raw_.substr(0, end);
      raw_.erase(0, end + 2);
      return true;
    }
    if (!fill()) return false;
  }
}

BlockingReply BlockingClient::read_head() {
  BlockingReply reply;
  std::string line;
  if (!take_line(line) || line.size() < 12) return reply;
  reply.status = static_cast<unsigned>(std::atoi(line.c_str() + 9));
  while (take_line(line) && !line.empty()) {
    const auto colon = line.find(": ");
    auto name = line.substr(0, colon);
    std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::tolower(c); });
    reply.headers[name] = colon == std::string::npos ? "" : line.substr(colon + 2);
  }
  chunked_ = reply.headers["transfer-encoding"] == "chunked";
  left_ = std::strtoull(reply.headers["content-length"].c_str(), nullptr, 10);
  reply.complete = !chunked_ && left_ == 0;
  return reply;
}

bool BlockingClient::read_piece(BlockingReply& reply) {
  if (reply.complete) return false;
  if (!chunked_) {
    if (raw_.empty() && !fill()) return false;
    const auto count = std::min(left_, raw_.size());
    reply.body += raw_.substr(0, count);
    raw_.erase(0, count);
    left_ -= count;
    reply.complete = left_ == 0;
    return true;
  }
  std::string line;
  if (!take_line(line)) return false;
  const auto count = std::strtoull(line.c_str(), nullptr, 16);
  while (raw_.size() < count + 2) {
    if (!fill()) return false;
  }
  reply.body += raw_.substr(0, count);
  raw_.erase(0, count + 2);
  reply.complete = count == 0;
  return true;
}

bool BlockingClient::read_until(BlockingReply& reply, std::string_view needle) {
  while (reply.body.find(needle) == std::string::npos) {
    if (!read_piece(reply)) return false;
  }
  return true;
}

void BlockingClient::read_rest(BlockingReply& reply) {
  while (read_piece(reply)) {
  }
}

BlockingReply BlockingClient::read_reply() {
  auto reply = read_head();
  if (reply.status != 0) read_rest(reply);
  return reply;
}

BlockingReply ask(std::uint16_t port, std::string_view method, std::string_view path,
                  std::string_view body, const BlockingClient::Headers& headers) {
  BlockingClient client(port);
  client.send(method, path, body, headers);
  return client.read_reply();
}

}  // namespace llorch
