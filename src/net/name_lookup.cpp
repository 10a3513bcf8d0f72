#include "net/name_lookup.h"

#include <array>
#include <atomic>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/this_coro.hpp>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <memory>
#include <mutex>
#include <netdb.h>
#include <optional>
#include <system_error>
#include <thread>
#include <unistd.h>
#include <utility>

#include "base/limits.h"

namespace llorch::net {
namespace {

std::atomic<int> under_way{0};

// What the two threads share. The answer is announced by closing the pipe's end, which needs no
// io_context: that one may be gone by then.
struct Lookup {
  Lookup() {
    if (::pipe(ends.data()) != 0) return;
    for (const int end : ends) ::fcntl(end, F_SETFD, FD_CLOEXEC);
  }
  ~Lookup() { announce(); }
  Lookup(const Lookup&) = delete;
  Lookup& operator=(const Lookup&) = delete;

  void announce() {
    if (ends[1] >= 0) ::close(std::exchange(ends[1], -1));
  }

  std::array<int, 2> ends = {-1, -1};  // the first belongs to who waits
  std::mutex mutex;
  std::optional<Result<Endpoints>> answer;
};

// getaddrinfo cannot be stopped, and Asio's resolver waits for it when its io_context goes: hence
// a thread that is left to itself. It holds all that it uses.
bool begin(const std::shared_ptr<Lookup>& lookup, std::string host, std::uint16_t port,
           Resolver resolve) {
  bool begun = ++under_way <= limits::lookups_max;
  try {
    if (begun) {
      std::thread([lookup, host = std::move(host), port, resolve = std::move(resolve)] {
        auto answer = resolve(host, port);
        {
          const std::lock_guard lock(lookup->mutex);
          lookup->answer = std::move(answer);
        }
        --under_way;
        lookup->announce();
      }).detach();
    }
  } catch (const std::system_error&) {
    begun = false;  // no more threads
  }
  if (!begun) --under_way;
  return begun;
}

}  // namespace

Result<Endpoints> resolve_by_system(const std::string& host, std::uint16_t port) {
  addrinfo wanted{};
  wanted.ai_socktype = SOCK_STREAM;
  addrinfo* first = nullptr;
  const int failed = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &wanted, &first);
  if (failed != 0) {
    return fail(Code::unreachable,
                fmt::format("no address for {}: {}", host, ::gai_strerror(failed)));
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owned(first, ::freeaddrinfo);
  Endpoints found;
  for (const addrinfo* at = first; at != nullptr; at = at->ai_next) {
    asio::ip::tcp::endpoint endpoint;
    if (at->ai_addrlen > endpoint.capacity()) continue;
    std::memcpy(endpoint.data(), at->ai_addr, at->ai_addrlen);
    endpoint.resize(at->ai_addrlen);
    found.push_back(endpoint);
  }
  if (found.empty()) return fail(Code::unreachable, fmt::format("no address for {}", host));
  return found;
}

Task<Result<Endpoints>> look_up(std::string host, std::uint16_t port,
                                std::shared_ptr<WheelTimer> timer, std::int64_t limit_ms,
                                Resolver resolve) {
  boost::system::error_code no_address;
  const auto address = asio::ip::make_address(host, no_address);
  if (!no_address) co_return Endpoints{{address, port}};
  const auto lookup = std::make_shared<Lookup>();
  if (lookup->ends[0] < 0) co_return fail(Code::internal, "no more files can be opened");
  asio::posix::stream_descriptor answered(co_await asio::this_coro::executor, lookup->ends[0]);
  if (!begin(lookup, host, port, std::move(resolve))) {
    co_return fail(Code::unreachable, "too many host names are being looked up");
  }
  Deadline limit(timer->wheel(), [&answered] { answered.cancel(); });
  limit.arm(limit_ms);
  const auto [ended] =
      co_await answered.async_wait(asio::posix::stream_descriptor::wait_read, as_result);
  static_cast<void>(ended);
  const std::lock_guard lock(lookup->mutex);
  co_return lookup->answer.value_or(
      fail(Code::timeout, fmt::format("looking up {} took too long", host)));
}

}  // namespace llorch::net
