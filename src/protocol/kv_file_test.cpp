#include "protocol/kv_file.h"

#include <gtest/gtest.h>

#include "base/limits.h"

namespace llorch {
namespace {

KvFileHead typical() {
  return {.fingerprint = "weights=1 layout=streams",
          .scope = "tenant",
          .tokens = {1, 2, -1, 49'151},
          .state_bytes = 1'000,
          .state_sum = 0xdeadbeef};
}

// clause: W-60
TEST(KvFile, AHeadComesBackAsItWasWritten) {
  for (const auto& scope : {"", "tenant"}) {
    auto head = typical();
    head.scope = scope;
    const auto bytes = encode_kv_file_head(head);
    EXPECT_EQ(kv_file_head_bytes(bytes).value(), bytes.size());
    EXPECT_EQ(kv_file_head_bytes(bytes.substr(0, kv_file_start_bytes)).value(), bytes.size());
    EXPECT_EQ(decode_kv_file_head(bytes).value(), head);
  }
}

// clause: W-60
TEST(KvFile, EveryFlippedBitAndEveryCutIsRefused) {
  const auto bytes = encode_kv_file_head(typical());
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    auto flipped = bytes;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
    const auto head = decode_kv_file_head(flipped);
    ASSERT_FALSE(head) << "bit " << bit;
    EXPECT_EQ(head.error().code, Code::invalid_request);
  }
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(decode_kv_file_head(bytes.substr(0, size))) << size << " bytes";
  }
  EXPECT_FALSE(decode_kv_file_head(bytes + "x"));
}

TEST(KvFile, SizesPastTheLimitsAreRefusedBeforeAnythingIsReserved) {
  struct Case {
    const char* name;
    std::size_t at;
    std::string_view bytes;
  };
  const Case cases[] = {{"fingerprint", 12, std::string_view("\xff\xff\xff\xff", 4)},
                        {"no fingerprint", 12, std::string_view("\0\0\0\0", 4)},
                        {"scope", 16, std::string_view("\xff\xff\xff\xff", 4)},
                        {"tokens", 20, std::string_view("\xff\xff\xff\xff", 4)},
                        {"no token", 20, std::string_view("\0\0\0\0", 4)},
                        {"no state", 24, std::string_view("\0\0\0\0\0\0\0\0", 8)},
                        {"version", 8, std::string_view("\2\0\0\0", 4)}};
  for (const auto& [name, at, wrong] : cases) {
    SCOPED_TRACE(name);
    auto bytes = encode_kv_file_head(typical());
    EXPECT_FALSE(kv_file_head_bytes(bytes.replace(at, wrong.size(), wrong)));
  }
}

// clause: W-61
TEST(KvFile, NamesTellScopesTokensAndFingerprintsApart) {
  const auto name = kv_file_name("a", "tenant", {1, 2});
  EXPECT_EQ(name, kv_file_name("a", "tenant", {1, 2}));
  EXPECT_TRUE(name.starts_with(kv_file_prefix("a")));
  for (const auto& other :
       {kv_file_name("b", "tenant", {1, 2}), kv_file_name("a", "", {1, 2}),
        kv_file_name("a", "tenant", {1}), kv_file_name("a", "tenant", {2, 1})}) {
    EXPECT_NE(name, other);
    EXPECT_TRUE(is_kv_file_name(other));
  }
}

TEST(KvFile, OnlyItsOwnNamesAreNames) {
  const auto name = kv_file_name("a", "", {1});
  const auto temporary = kv_temporary_name(name, "0123abcd");
  EXPECT_TRUE(is_kv_temporary_name(temporary));
  EXPECT_FALSE(is_kv_file_name(temporary));
  EXPECT_FALSE(is_kv_temporary_name(name));
  for (const auto& other :
       {std::string(), std::string(".kv"), std::string("notes.kv"), name + "x",
        "x" + name.substr(1), name.substr(1), "../" + name, name + ".01234567.tmp2"}) {
    EXPECT_FALSE(is_kv_file_name(other)) << other;
    EXPECT_FALSE(is_kv_temporary_name(other)) << other;
  }
  EXPECT_FALSE(is_kv_temporary_name(name + ".0123abc.tmp"));
  EXPECT_FALSE(is_kv_temporary_name("a.0123abcd.tmp"));
}

}  // namespace
}  // namespace llorch
