#include "net/file_limit.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include "base/limits.h"

namespace llorch::net {
namespace {

// With the soft limit of most shells, 1024, the worker stopped answering at 1000 connections.
TEST(FileLimit, IsRaisedToTheHardLimit) {
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit low{64, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &low), 0);
  const std::size_t files = raise_file_limit();
  rlimit after{};
  EXPECT_EQ(::getrlimit(RLIMIT_NOFILE, &after), 0);
  EXPECT_GT(after.rlim_cur, 64U);
  EXPECT_EQ(files, after.rlim_cur);
#ifndef __APPLE__
  EXPECT_EQ(after.rlim_cur, before.rlim_max);
#endif
  EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
}

TEST(FileLimit, LeavesRoomForWhatIsNoConnection) {
  struct Case {
    const char* name;
    std::size_t files, connections;
  };
  const Case cases[] = {
      {"none known", 0, 1},
      {"a very low one", 100, 50},
      {"a shell's", 1'024, 1'024 - limits::files_reserved},
      {"just enough", 16'000 + limits::files_reserved, 16'000},
      {"without end", SIZE_MAX, 16'000},
  };
  for (const auto& [name, files, connections] : cases) {
    SCOPED_TRACE(name);
    EXPECT_EQ(connections_within(files), connections);
  }
}

}  // namespace
}  // namespace llorch::net
