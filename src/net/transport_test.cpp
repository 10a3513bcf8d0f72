// What the kernel is told about a connection.
#include "net/transport.h"

#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "base/limits.h"

namespace llorch::net {
namespace {

int option_of(tcp::socket& socket, int level, int name) {
  int value = -1;
  socklen_t size = sizeof value;
  EXPECT_EQ(::getsockopt(socket.native_handle(), level, name, &value, &size), 0);
  return value;
}

// A client whose machine lost its power kept its job's slot until the next write failed, or for
// ever while nothing was written.
// clause: W-25
TEST(Transport, LetsTheKernelAskASilentPeerWhetherItIsStillThere) {
  asio::io_context io{1};
  Transport transport(tcp::socket(io, tcp::v4()), std::make_shared<WheelTimer>(io.get_executor()));
  transport.prepare();
  tcp::socket& socket = transport.socket();
  EXPECT_NE(option_of(socket, SOL_SOCKET, SO_KEEPALIVE), 0);
  EXPECT_EQ(option_of(socket, IPPROTO_TCP, TCP_KEEPINTVL), limits::probe_interval_s);
  EXPECT_EQ(option_of(socket, IPPROTO_TCP, TCP_KEEPCNT), limits::probes_max);
#ifndef __APPLE__
  EXPECT_EQ(option_of(socket, IPPROTO_TCP, TCP_KEEPIDLE), limits::probe_after_s);
  EXPECT_EQ(option_of(socket, IPPROTO_TCP, TCP_USER_TIMEOUT), limits::unanswered_ms);
#endif
}

}  // namespace
}  // namespace llorch::net
