#include "orchestrator/keys/key_ring.h"

#include <gtest/gtest.h>

#include "base/limits.h"

namespace llorch {
namespace {

constexpr std::int64_t now = 1'800'000'000'000;

class KeyRingTest : public testing::Test {
 protected:
  KeyRing::Fresh add(KeyRequest request) {
    if (request.default_priority.empty()) request.default_priority = request.highest_priority;
    auto fresh = ring.make(request, now);
    EXPECT_TRUE(fresh) << fresh.error().message;
    ring.put(fresh->row);
    return std::move(*fresh);
  }
  Result<Identity> sent(const std::string& secret, std::int64_t at = now) const {
    return ring.identify("Bearer " + secret, at);
  }
  std::string why(const std::string& secret, std::int64_t at = now) const {
    const auto identity = sent(secret, at);
    EXPECT_FALSE(identity);
    if (identity) return {};
    EXPECT_EQ(identity.error().code, Code::unauthorized);
    return identity.error().message;
  }

  KeyRing ring{"a-token-of-16-characters"};
};

// clause: O-20
TEST_F(KeyRingTest, TheTokenMayDoAllAndIsNoStoredKey) {
  const auto identity = sent("a-token-of-16-characters");
  ASSERT_TRUE(identity);
  EXPECT_TRUE(identity->is_admin() && identity->may_call(Role::admin));
  EXPECT_TRUE(identity->sees("anyone") && identity->may_use("any"));
  EXPECT_TRUE(ring.keys().empty());
  EXPECT_NE(why("a-token-of-16-character").find("no such key"), std::string::npos);
  EXPECT_FALSE(ring.identify(std::nullopt, now));
  EXPECT_FALSE(ring.identify("Basic a-token-of-16-characters", now));
}

// clause: O-22
TEST_F(KeyRingTest, ASecretIsKeptAsItsHashOnly) {
  const auto fresh = add({.name = "ci", .tenant = "acme"});
  EXPECT_TRUE(fresh.secret.starts_with("llk_" + fresh.row.key_id + "_"));
  EXPECT_EQ(fresh.secret.size(), 4 + fresh.row.key_id.size() + 1 + 64);
  EXPECT_EQ(fresh.row.hash.size(), 64U);
  EXPECT_EQ(fresh.secret.find(fresh.row.hash), std::string::npos);
  EXPECT_NE(add({.name = "ci", .tenant = "acme"}).secret, fresh.secret);
  const auto identity = sent(fresh.secret);
  ASSERT_TRUE(identity);
  EXPECT_EQ(identity->key_id(), fresh.row.key_id);
  auto other = fresh.secret;
  other.back() = other.back() == '0' ? '1' : '0';
  EXPECT_NE(why(other).find("no such key"), std::string::npos);
  EXPECT_NE(why("llk_" + fresh.row.key_id + "_").find("no such key"), std::string::npos);
  EXPECT_NE(why("llk_nobody_0").find("no such key"), std::string::npos);
  EXPECT_NE(why(fresh.row.hash).find("no such key"), std::string::npos);
}

// clause: O-26
TEST_F(KeyRingTest, AKeyEndsByItsTimeOrByRevocationAndSaysWhich) {
  const auto fresh = add({.name = "ci", .expires_in_s = 60});
  EXPECT_TRUE(sent(fresh.secret, now + 59'999));
  EXPECT_NE(why(fresh.secret, now + 60'000).find("expired at 2027-"), std::string::npos);
  const auto revoked = ring.revoke(fresh.row.key_id, now + 5);
  ASSERT_TRUE(revoked);
  EXPECT_EQ(revoked->revoked_at_ms, now + 5);
  EXPECT_NE(why(fresh.secret).find("was revoked at"), std::string::npos);
  EXPECT_EQ(ring.revoke(fresh.row.key_id, now + 9)->revoked_at_ms, now + 5);  // idempotent
  EXPECT_EQ(ring.revoke("nobody", now).error().code, Code::not_found);
  EXPECT_EQ(ring.renew(fresh.row.key_id).error().code, Code::conflict);
}

// clause: O-26
TEST_F(KeyRingTest, ARotatedKeyIsTheSameKeyWithAnotherSecret) {
  const auto old = add({.name = "ci", .tenant = "acme", .tokens_per_minute = 10});
  const auto fresh = ring.renew(old.row.key_id);
  ASSERT_TRUE(fresh);
  EXPECT_TRUE(sent(old.secret));  // until the new one is on the disk
  ring.renewed(fresh->row);
  EXPECT_FALSE(sent(old.secret));
  const auto identity = sent(fresh->secret);
  ASSERT_TRUE(identity);
  EXPECT_EQ(identity->tenant(), "acme");
}

// Symptom: rotate and revoke at once left the key usable until a restart.
TEST_F(KeyRingTest, ARevocationWinsOverARotationOnItsWay) {
  const auto old = add({.name = "ci"});
  const auto fresh = ring.renew(old.row.key_id);
  ASSERT_TRUE(fresh && ring.revoke(old.row.key_id, now));
  ring.renewed(fresh->row);
  EXPECT_NE(why(old.secret).find("revoked"), std::string::npos);
  EXPECT_FALSE(sent(fresh->secret));
}

// clause: O-20
TEST_F(KeyRingTest, WithoutATokenThereIsAlwaysAnAdminKey) {
  ring = KeyRing({});
  EXPECT_FALSE(ring.is_on());
  EXPECT_EQ(ring.make({.name = "c"}, now).error().code, Code::conflict);
  const auto first = add({.name = "root", .role = "admin"});
  EXPECT_TRUE(ring.is_on());
  const auto client = add({.name = "c"});
  EXPECT_EQ(ring.revoke(first.row.key_id, now).error().code, Code::conflict);
  const auto second = add({.name = "root2", .role = "admin"});
  EXPECT_TRUE(ring.revoke(first.row.key_id, now));
  EXPECT_EQ(ring.revoke(second.row.key_id, now).error().code, Code::conflict);
  EXPECT_TRUE(ring.revoke(client.row.key_id, now));
  EXPECT_TRUE(ring.is_on());
}

// clause: O-21
TEST_F(KeyRingTest, EachRoleMayCallItsOwnRoutesAndAdminsAll) {
  struct Case {
    const char* role;
    bool open, client, worker, admin;
  };
  for (const auto& [role, open, client, worker, admin] :
       {Case{"client", true, true, false, false}, Case{"worker", true, false, true, false},
        Case{"admin", true, true, true, true}}) {
    SCOPED_TRACE(role);
    const auto identity = sent(add({.name = "n", .role = role}).secret);
    ASSERT_TRUE(identity);
    EXPECT_EQ(identity->may_call(Role::open).has_value(), open);
    EXPECT_EQ(identity->may_call(Role::client).has_value(), client);
    EXPECT_EQ(identity->may_call(Role::worker).has_value(), worker);
    EXPECT_EQ(identity->may_call(Role::admin).has_value(), admin);
  }
  const auto refused = sent(add({.name = "n"}).secret)->may_call(Role::worker);
  EXPECT_EQ(refused.error().code, Code::forbidden);
  EXPECT_NE(refused.error().message.find("has the role client; this takes worker or admin"),
            std::string::npos)
      << refused.error().message;
}

// clause: O-23
TEST_F(KeyRingTest, AClientSeesItsTenantOnly) {
  const auto client = sent(add({.name = "n", .tenant = "acme"}).secret);
  EXPECT_TRUE(client->sees("acme"));
  EXPECT_FALSE(client->sees("") || client->sees("other"));
  EXPECT_TRUE(sent(add({.name = "n", .role = "admin"}).secret)->sees("other"));
  TaskRequest task;
  EXPECT_TRUE(client->rule(task));
  EXPECT_EQ(task.tenant, "acme");
  EXPECT_TRUE(client->rule(task));
  task.tenant = "other";
  EXPECT_EQ(client->rule(task).error().code, Code::forbidden);
}

// clause: O-24
TEST_F(KeyRingTest, ModelsAndPrioritiesAreThoseOfTheKey) {
  const auto any = sent(add({.name = "n"}).secret);
  EXPECT_TRUE(any->may_use("whatever"));
  EXPECT_EQ(any->priority(std::nullopt), Priority::interactive);
  const auto bound = sent(add({.name = "n",
                               .models = {"qwen", "a\"b"},
                               .highest_priority = "interactive",
                               .default_priority = "batch"})
                              .secret);
  EXPECT_TRUE(bound->may_use("qwen") && bound->may_use("a\"b"));
  EXPECT_FALSE(bound->may_use("phi3"));
  EXPECT_EQ(bound->priority(std::nullopt), Priority::batch);
  EXPECT_EQ(bound->priority(Priority::interactive), Priority::interactive);
  const auto low = sent(add({.name = "n", .highest_priority = "batch"}).secret);
  EXPECT_EQ(low->priority(std::nullopt), Priority::batch);
  EXPECT_EQ(low->priority(Priority::batch), Priority::batch);
  EXPECT_EQ(low->priority(Priority::interactive).error().code, Code::forbidden);
}

// clause: O-25
TEST_F(KeyRingTest, AQuotaIsAKeysOwnAndTellsWhenToComeBack) {
  const auto secret = add({.name = "n", .tokens_per_minute = 60}).secret;
  const auto identity = *sent(secret);
  EXPECT_TRUE(ring.check_quota(identity, 0));
  ring.charge(identity.key_id(), 61, 0);
  const auto refused = ring.check_quota(identity, 0);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::quota_exceeded);
  EXPECT_EQ(refused.error().retry_after_ms, 2'000);
  EXPECT_TRUE(ring.check_quota(identity, 2'000));
  const auto unbound = *sent(add({.name = "n"}).secret);
  ring.charge(unbound.key_id(), 1'000'000, 0);
  EXPECT_TRUE(ring.check_quota(unbound, 0));
  ring.charge("", 1'000'000, 0);
  EXPECT_TRUE(ring.check_quota(Identity{}, 0));
}

TEST_F(KeyRingTest, ThereIsABoundOnKeys) {
  for (std::size_t i = 0; i < limits::keys_max; ++i) {
    ring.put(StoredKey{.key_id = "k" + std::to_string(i)});
  }
  EXPECT_EQ(ring.make({.name = "one more"}, now).error().code, Code::conflict);
}

// clause: O-26
TEST_F(KeyRingTest, WhatTheStoreHeldCountsAgain) {
  const auto client = add({.name = "n", .models = {"qwen"}});
  const auto revoked = add({.name = "gone"});
  ASSERT_TRUE(ring.revoke(revoked.row.key_id, now));
  std::vector<StoredKey> rows;
  for (const auto& [id, key] : ring.keys()) rows.push_back(key->row);
  ring = KeyRing({});
  ring.load(rows);
  ASSERT_TRUE(ring.is_on() && sent(client.secret));
  EXPECT_FALSE(sent(client.secret)->may_use("phi3"));
  EXPECT_FALSE(sent(revoked.secret));
}

}  // namespace
}  // namespace llorch
