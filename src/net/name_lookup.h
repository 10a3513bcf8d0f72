// The addresses of a host name, for no longer than asked and without holding up an exit.
// Threads: the io thread awaits; the system's resolver blocks a thread that nobody waits for.
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "net/asio.h"
#include "net/wheel_timer.h"

namespace llorch::net {

using Endpoints = std::vector<asio::ip::tcp::endpoint>;

// Blocks, for as long as it takes. Errors: unreachable.
using Resolver = std::function<Result<Endpoints>(const std::string& host, std::uint16_t port)>;
Result<Endpoints> resolve_by_system(const std::string& host, std::uint16_t port);

// An address is its own answer. The wait holds its timer: it may be dropped with its io_context,
// after all else. Errors: unreachable (no such name, or limits::lookups_max of them
// are under way), timeout.
Task<Result<Endpoints>> look_up(std::string host, std::uint16_t port,
                                std::shared_ptr<WheelTimer> timer, std::int64_t limit_ms,
                                Resolver resolve = resolve_by_system);

}  // namespace llorch::net
