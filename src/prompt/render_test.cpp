#include "prompt/render.h"

#include <fstream>
#include <gtest/gtest.h>
#include <iterator>
#include <set>
#include <string_view>

#include "base/limits.h"
#include "prompt/testdata/vectors.h"

namespace llorch::prompt {
namespace {

// clause: W-36
TEST(Render, WritesWhatThePublishedTemplateWrites) {
  for (const auto& [name, family, messages, expected] : vectors) {
    SCOPED_TRACE(name);
    const auto segments = render(family, messages);
    ASSERT_TRUE(segments) << segments.error().message;
    EXPECT_EQ(joined(*segments), expected);
  }
}

// clause: W-36
TEST(Render, NeverMarksContentAsSpecial) {
  for (const auto& [name, family, messages, expected] : vectors) {
    SCOPED_TRACE(name);
    const auto segments = render(family, messages);
    ASSERT_TRUE(segments);
    for (std::size_t i = 0; i < segments->size(); ++i) {
      const auto& segment = (*segments)[i];
      EXPECT_FALSE(segment.text.empty());
      if (i > 0) {
        EXPECT_NE(segment.special, (*segments)[i - 1].special);
      }
      if (!segment.special) continue;
      // The conversations keep client text between these two.
      EXPECT_EQ(segment.text.find("«"), std::string::npos) << segment.text;
      EXPECT_EQ(segment.text.find("»"), std::string::npos) << segment.text;
    }
  }
}

// clause: W-36
TEST(Render, LeavesTheFirstBeginningOfSequenceToTheTokeniser) {
  for (const auto& [name, family, messages, expected] : vectors) {
    SCOPED_TRACE(name);
    const auto text = joined(*render(family, messages));
    for (const auto* bos : {"<s>", "<bos>", "<|begin_of_text|>"}) {
      EXPECT_FALSE(text.starts_with(bos));
    }
  }
}

TEST(Render, GivesRawTheLastMessageAsItIs) {
  const Message messages[] = {{"system", "Be brief."}, {"user", " <s>Hello "}};
  EXPECT_EQ(*render(Family::raw, messages), (std::vector<Segment>{{" <s>Hello ", false}}));
}

TEST(Render, TakesDeveloperForSystem) {
  const Message developer[] = {{"developer", "Be brief."}, {"user", "Hello"}};
  const Message system[] = {{"system", "Be brief."}, {"user", "Hello"}};
  for (const auto& vector : vectors) {
    EXPECT_EQ(*render(vector.family, developer), *render(vector.family, system));
  }
}

TEST(Render, RefusesWhatATemplateCannotSay) {
  struct Case {
    const char* name;
    Family family;
    std::vector<Message> messages;
    Code want;
  };
  const Message user{"user", "Hello"}, assistant{"assistant", "Hi"}, system{"system", "S"};
  const Case cases[] = {
      {"nothing", Family::qwen, {}, Code::invalid_request},
      {"tool", Family::qwen, {user, {"tool", "7"}}, Code::invalid_request},
      {"two users in turn", Family::llama2, {user, user}, Code::invalid_request},
      {"answer first", Family::gemma, {assistant, user}, Code::invalid_request},
      {"system alone", Family::mistral_v2, {system}, Code::invalid_request},
      {"system later", Family::mistral_v3, {user, assistant, system}, Code::invalid_request},
      {"too many", Family::raw, std::vector<Message>(limits::messages_max + 1, user),
       Code::invalid_request},
      {"too long",
       Family::raw,
       {{"user", std::string(limits::prompt_bytes_max + 1, 'a')}},
       Code::too_large}};
  for (const auto& [name, family, messages, want] : cases) {
    SCOPED_TRACE(name);
    const auto segments = render(family, messages);
    ASSERT_FALSE(segments);
    EXPECT_EQ(segments.error().code, want);
  }
}

std::string published(std::string_view family) {
  std::ifstream file(std::string(LLORCH_PROMPT_TESTDATA) + "/templates/" + std::string(family) +
                     ".jinja");
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(FamilyFrom, KnowsThePublishedTemplates) {
  struct Case {
    const char* file;
    Family want;
  };
  const Case cases[] = {{"qwen", Family::qwen},
                        {"chatml", Family::chatml},
                        {"llama2", Family::llama2},
                        {"llama3", Family::llama3},
                        {"mistral_v2", Family::mistral_v2},
                        {"mistral_v3", Family::mistral_v3},
                        {"phi3", Family::phi3},
                        {"zephyr", Family::zephyr},
                        {"gemma", Family::gemma}};
  for (const auto& [file, want] : cases) {
    SCOPED_TRACE(file);
    const auto source = published(file);
    ASSERT_FALSE(source.empty());
    // contract: §6 never by architecture alone (TinyLlama-Chat, Mistral and Llama say "llama")
    for (const auto* architecture : {"llama", "qwen2", ""}) {
      EXPECT_EQ(family_from(source, architecture), want);
    }
  }
}

TEST(FamilyFrom, KnowsOtherTemplatesForWhatTheyAre) {
  struct Case {
    const char* name;
    std::string_view source;
    std::optional<Family> want;
  };
  const Case cases[] = {{"none", "", Family::raw},
                        {"Phi-4", "<|im_start|>user<|im_sep|>", std::nullopt},
                        {"Mistral v7", "[SYSTEM_PROMPT] [INST] x[/INST]", std::nullopt},
                        {"Mistral tekken", "[INST]x[/INST]", std::nullopt},
                        {"Vicuna", "USER: x ASSISTANT: ", std::nullopt}};
  for (const auto& [name, source, want] : cases) {
    SCOPED_TRACE(name);
    EXPECT_EQ(family_from(source, "llama"), want);
  }
  EXPECT_EQ(family_from("<|user|> <|assistant|> eos_token", "chatglm"), std::nullopt);
}

TEST(FamilyName, IsEachFamilysOwn) {
  std::set<std::string_view> names;
  for (int i = 0; i <= static_cast<int>(Family::raw); ++i) {
    names.insert(family_name(static_cast<Family>(i)));
  }
  EXPECT_EQ(names.size(), static_cast<std::size_t>(Family::raw) + 1);
}

}  // namespace
}  // namespace llorch::prompt
