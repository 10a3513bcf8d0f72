#include "protocol/prefix_hash.h"

#include <gtest/gtest.h>
#include <set>
#include <string>

namespace llorch {
namespace {

ChatMessage message(std::string role, std::string content) {
  ChatMessage out;
  out.role = std::move(role);
  out.content = std::move(content);
  return out;
}

PromptSource text_of(std::size_t bytes) {
  std::string text;
  for (std::size_t i = 0; i < bytes; ++i) text += static_cast<char>('a' + i % 23);
  return text;
}

// clause: W-44
TEST(PrefixChain, HasOneHashAFullBlock) {
  struct Case {
    std::size_t bytes;
    std::size_t want;
  };
  for (const auto& [bytes, want] :
       {Case{0, 0}, Case{255, 0}, Case{256, 1}, Case{511, 1}, Case{512, 2}, Case{1 << 20, 4096}}) {
    SCOPED_TRACE(bytes);
    EXPECT_EQ(prefix_chain("", "m", text_of(bytes)).size(), want);
  }
}

TEST(PrefixChain, SharesExactlyTheCommonBlocks) {
  auto changed = std::get<std::string>(text_of(1024));
  changed[600] = '!';
  const auto one = prefix_chain("", "m", text_of(1024));
  const auto two = prefix_chain("", "m", changed);
  EXPECT_EQ(one[0], two[0]);
  EXPECT_EQ(one[1], two[1]);
  EXPECT_NE(one[2], two[2]);
  EXPECT_NE(one[3], two[3]) << "a hash covers all before it";
}

TEST(PrefixChain, IsRootedInScopeModelAndKindOfPrompt) {
  const auto text = text_of(256);
  ChatPrompt chat;
  chat.messages = {message("user", std::get<std::string>(text))};
  std::set<PrefixHash> roots;
  for (const auto& chain :
       {prefix_chain("", "m", text), prefix_chain("s", "m", text), prefix_chain("", "n", text),
        prefix_chain("sm", "", text), prefix_chain("", "m", chat)}) {
    roots.insert(chain.front());
  }
  EXPECT_EQ(roots.size(), 5U);
}

TEST(PrefixChain, OfAChatGrowsWithItsTurns) {
  ChatPrompt first;
  first.messages = {message("system", std::string(300, 's')),
                    message("user", std::string(300, 'u'))};
  ChatPrompt second = first;
  second.messages.push_back(message("assistant", std::string(300, 'a')));
  const auto one = prefix_chain("", "m", first);
  const auto two = prefix_chain("", "m", second);
  ASSERT_GT(two.size(), one.size());
  EXPECT_TRUE(std::equal(one.begin(), one.end(), two.begin()));
}

TEST(PrefixChain, TellsWhereAFieldEnds) {
  ChatPrompt one;
  one.messages = {message("user", "ab" + std::string(300, 'x'))};
  ChatPrompt two;
  two.messages = {message("usera", "b" + std::string(300, 'x'))};
  EXPECT_NE(prefix_chain("", "m", one), prefix_chain("", "m", two));
  ChatPrompt tools = one;
  tools.tools = {{"f", "", "{}"}};
  EXPECT_NE(prefix_chain("", "m", one), prefix_chain("", "m", tools));
}

// Workers and orchestrator of different versions meet: these values must never change.
TEST(PrefixChain, KeepsItsValuesForEver) {
  const auto chain = prefix_chain("scope", "model", text_of(512));
  ASSERT_EQ(chain.size(), 2U);
  EXPECT_EQ(to_hex(chain[0]), "29bdd35d0905d112");
  EXPECT_EQ(to_hex(chain[1]), "241dde319d6c51e1");
  EXPECT_EQ(to_hex(prefix_chain("", "m", std::vector<Token>(64, 7)).front()), "f4e7a7949704b8ec");
}

TEST(PrefixHash, IsSixteenHexadecimalDigits) {
  for (const PrefixHash hash : {PrefixHash{0}, PrefixHash{0x0123456789ABCDEF}, ~PrefixHash{0}}) {
    EXPECT_EQ(prefix_hash_from_hex(to_hex(hash)), hash);
  }
  EXPECT_EQ(to_hex(0xAB), "00000000000000ab");
  for (const char* const bad :
       {"", "0", "00000000000000AB", "00000000000000abc", "-000000000000001", "0x00000000000001"}) {
    SCOPED_TRACE(bad);
    EXPECT_FALSE(prefix_hash_from_hex(bad).has_value());
  }
}

}  // namespace
}  // namespace llorch
