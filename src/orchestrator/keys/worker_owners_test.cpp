#include "orchestrator/keys/worker_owners.h"

#include <gtest/gtest.h>

namespace llorch {
namespace {

constexpr std::int64_t made_at_ms = 1'800'000'000'000;

class WorkerOwnersTest : public testing::Test {
 protected:
  Identity worker(const char* name) {
    auto fresh = keys.make({.name = name, .role = "worker"}, made_at_ms);
    EXPECT_TRUE(fresh);
    keys.put(fresh->row);
    return *keys.identify("Bearer " + fresh->secret, made_at_ms);
  }
  bool claims(const Identity& by) { return owners.claim("w1", by, keys, made_at_ms).has_value(); }
  bool speaks(const Identity& by) { return owners.check("w1", by).has_value(); }

  KeyRing keys{"a-token-of-16-characters"};
  WorkerOwners owners;
};

// clause: O-27
TEST_F(WorkerOwnersTest, OnlyTheKeyThatRegisteredAWorkerSpeaksForIt) {
  const auto own = worker("own"), other = worker("other");
  EXPECT_TRUE(claims(own) && speaks(own) && claims(own));
  EXPECT_FALSE(claims(other) || speaks(other));
  EXPECT_EQ(owners.check("w1", other).error().code, Code::forbidden);
  EXPECT_TRUE(speaks(Identity{}));  // an admin
  EXPECT_TRUE(speaks(own));         // which leaves the owner as it is
  owners.forget("w1");
  EXPECT_TRUE(claims(other));
  EXPECT_FALSE(speaks(own));
}

// clause: O-27
TEST_F(WorkerOwnersTest, AnotherKeyTakesOverOnceTheOwnersIsRevoked) {
  const auto own = worker("own"), other = worker("other");
  ASSERT_TRUE(claims(own) && keys.revoke(own.key_id(), made_at_ms));
  EXPECT_TRUE(claims(other) && speaks(other));
}

// clause: O-27
TEST_F(WorkerOwnersTest, AWorkerOfTheTokenIsNobodyElses) {
  EXPECT_TRUE(claims(Identity{}));
  EXPECT_FALSE(claims(worker("other")));
}

TEST_F(WorkerOwnersTest, OfAWorkerWithoutAnOwnerTheFirstToSpeakIsIt) {
  const auto own = worker("own"), other = worker("other");
  EXPECT_EQ(owners.owner("w1"), std::nullopt);
  EXPECT_TRUE(speaks(own));
  EXPECT_FALSE(speaks(other) || claims(other));
}

// clause: O-27
TEST_F(WorkerOwnersTest, ARestartKeepsTheOwner) {
  const auto own = worker("own"), other = worker("other");
  ASSERT_TRUE(claims(own));
  const auto kept = owners.owner("w1");
  owners = WorkerOwners();
  owners.restore("w1", kept.value());
  EXPECT_FALSE(speaks(other) || claims(other));
  EXPECT_TRUE(speaks(own));
}

TEST_F(WorkerOwnersTest, WithoutKeysNobodyOwnsAnything) {
  keys = KeyRing({});
  EXPECT_TRUE(claims(Identity{}));
  keys = KeyRing("a-token-of-16-characters");
  EXPECT_TRUE(claims(worker("first")));
}

}  // namespace
}  // namespace llorch
