#include "net/name_lookup.h"

#include <future>
#include <gtest/gtest.h>
#include <memory>

#include "base/limits.h"
#include "net/testing.h"
#include "net/wheel_timer.h"

namespace llorch::net {
namespace {

using testing::patience;
using testing::run_on;
using testing::until;

// A resolver that hangs until the test is over.
struct Stuck {
  std::promise<void> over;
  std::shared_future<void> gate = over.get_future().share();
  Resolver resolver() const {
    return [gate = gate](const std::string&, std::uint16_t) -> Result<Endpoints> {
      gate.wait();
      return fail(Code::unreachable, "nobody hears this");
    };
  }
  ~Stuck() { over.set_value(); }
};

struct Looking {
  asio::io_context io{1};
  std::shared_ptr<WheelTimer> timer = std::make_shared<WheelTimer>(io.get_executor());
  Task<Result<Endpoints>> look_up(std::string host, std::int64_t limit_ms, Resolver resolver) {
    return net::look_up(std::move(host), 80, timer, limit_ms, std::move(resolver));
  }
};

TEST(LookUp, AsksTheSystemForNamesAndTakesAddressesAsTheyAre) {
  const Stuck stuck;
  Looking at;
  run_on(at.io, [&]() -> Task<void> {
    for (const char* const address : {"127.0.0.1", "::1"}) {
      const auto found = co_await at.look_up(address, patience.count(), stuck.resolver());
      const auto endpoints = found.value_or(Endpoints(1));
      EXPECT_EQ(endpoints.size(), 1U);
      EXPECT_EQ(endpoints.front().address().to_string(), address);
    }
    const auto named = co_await at.look_up("localhost", patience.count(), resolve_by_system);
    const auto first = named.value_or(Endpoints(1)).front();
    EXPECT_TRUE(first.address().is_loopback());
    EXPECT_EQ(first.port(), 80);
  });
}

// Leaving waited for getaddrinfo, half a minute where no name server answers.
TEST(LookUp, EndsAtItsLimitAndAnExitDoesNotWaitForTheSystem) {
  const Stuck stuck;
  {
    Looking at;
    run_on(at.io, [&]() -> Task<void> {
      const auto found = co_await at.look_up("a.test", 50, stuck.resolver());
      EXPECT_EQ(found.error().code, Code::timeout);
    });
  }
  Looking dropped;
  const auto task = [&]() -> Task<void> {
    const auto found = co_await dropped.look_up("a.test", patience.count(), stuck.resolver());
    ADD_FAILURE() << found.has_value();
  };
  TaskGroup group(dropped.io.get_executor());
  group.spawn(task());
  dropped.io.poll();
  // Both io_contexts go while their resolvers hang, or this test would.
}

TEST(LookUp, HasALimitOfThreadsThatHang) {
  const Stuck stuck;
  Looking at;
  int refused = 0;
  const auto task = [&]() -> Task<void> {
    const auto found = co_await at.look_up("a.test", 50, stuck.resolver());
    refused += found.error().code == Code::unreachable ? 1 : 0;
  };
  run_on(at.io, [&]() -> Task<void> {
    TaskGroup group(at.io.get_executor());
    for (int n = 0; n < limits::lookups_max + 1; ++n) group.spawn(task());
    co_await group.join();
  });
  EXPECT_GE(refused, 1);
}

}  // namespace
}  // namespace llorch::net
