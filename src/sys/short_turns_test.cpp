#include "sys/short_turns.h"

#include <cstdio>
#include <fstream>
#include <gtest/gtest.h>
#include <optional>
#include <string>
#include <sys/utsname.h>
#include <thread>

namespace llorch {
namespace {

// Of the calling thread; nullopt where the kernel does not tell.
std::optional<long> turn_ns() {
  std::ifstream file("/proc/thread-self/sched");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("se.slice")) return std::stol(line.substr(line.find(':') + 1));
  }
  return std::nullopt;
}

bool has_short_turns() {
  utsname system{};
  if (::uname(&system) != 0) return false;
  int major = 0;
  int minor = 0;
  const int read = std::sscanf(system.release, "%d.%d", &major, &minor);
  return read == 2 && (major > 6 || (major == 6 && minor >= 12));
}

TEST(ShortTurns, AreOfTheThreadThatAsks) {
  const auto before = turn_ns();
  if (!before || !has_short_turns()) GTEST_SKIP() << "it takes Linux 6.12 and its /proc";
  std::optional<long> after;
  std::thread asking([&] {
    ask_for_short_turns();
    after = turn_ns();
  });
  asking.join();
  EXPECT_EQ(after, 500'000);
  EXPECT_EQ(turn_ns(), before);
}

}  // namespace
}  // namespace llorch
