#include "orchestrator/body_decoder.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <future>
#include <gtest/gtest.h>
#include <vector>

#include "net/task_group.h"

namespace llorch {
namespace {

constexpr std::chrono::seconds patience{20};

std::shared_ptr<const std::string> body_of(std::size_t bytes) {
  return std::make_shared<const std::string>(bytes, 'x');
}

// clause: O-51
TEST(BodyDecoder, DecodesLargeBodiesAsideAndABoundedNumberOfThem) {
  asio::io_context io{1};
  std::promise<void> go;
  const auto held = go.get_future().share();
  const BodyDecoder::How<std::size_t> how = [held](std::string_view text) -> Result<std::size_t> {
    held.wait();  // as one that takes its time
    return text.size();
  };
  const BodyDecoder::How<std::size_t> fast = [](std::string_view text) -> Result<std::size_t> {
    return text.size();
  };
  std::size_t decoded = 0;
  Code refused = Code::internal;
  BodyDecoder decoder(io.get_executor());
  net::TaskGroup tasks(io.get_executor());
  const auto large = [&]() -> Task<void> {
    const auto body = body_of(limits::decode_inline_bytes_max + 1);
    const auto size = co_await decoder.decode<std::size_t>(body, how);
    if (size) decoded += 1;
    if (!size) refused = size.error().code;
  };
  const auto small = [&]() -> Task<void> {
    const auto body = body_of(10);
    const auto size = co_await decoder.decode<std::size_t>(body, fast);
    EXPECT_EQ(size.value_or(0), 10U) << "not held up by those that wait";
    EXPECT_EQ(decoded, 0U);
    go.set_value();
  };
  for (std::size_t n = 0; n < limits::decode_waiting_max + 1; ++n) tasks.spawn(large());
  tasks.spawn(small());
  io.run_for(patience);
  EXPECT_EQ(decoded, limits::decode_waiting_max);
  EXPECT_EQ(refused, Code::queue_full);
  EXPECT_EQ(tasks.size(), 0U);
}

}  // namespace
}  // namespace llorch
