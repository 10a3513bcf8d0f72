#include "orchestrator/routes.h"

#include <gtest/gtest.h>
#include <set>
#include <string>

namespace llorch {
namespace {

std::set<std::string> routes_of(Role role) {
  std::set<std::string> names;
  for (const auto& route : orchestrator_routes()) {
    if (route.role == role) names.insert(std::string(route.method) + " " + std::string(route.path));
  }
  return names;
}

// clause: O-21
TEST(Routes, OnlyWhatTellsNothingOfAnyoneIsOpen) {
  EXPECT_EQ(routes_of(Role::open),
            (std::set<std::string>{"GET /health", "GET /ready", "GET /metrics"}));
}

// clause: O-21
TEST(Routes, AWorkerMayComeBeatAndLeave) {
  EXPECT_EQ(routes_of(Role::worker),
            (std::set<std::string>{"POST /workers/register", "POST /workers/{}/heartbeat",
                                   "DELETE /v2/workers/{}"}));
}

// clause: O-21
TEST(Routes, AClientMayDoNothingThatIsNotAboutItsOwnJobs) {
  for (const auto& name : routes_of(Role::client)) {
    const auto path = name.substr(name.find(' ') + 1);
    bool own = false;
    for (const char* prefix :
         {"/v1/", "/v2/tasks", "/cancel", "/v2/explain/", "/v2/meta/version", "/v2/usage"}) {
      own = own || path.starts_with(prefix);
    }
    EXPECT_TRUE(own) << name << ": whose jobs does it show a client, and who checked that?";
  }
}

}  // namespace
}  // namespace llorch
