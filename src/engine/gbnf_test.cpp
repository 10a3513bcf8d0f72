#include "engine/gbnf.h"

#include <gtest/gtest.h>

#include "engine/grammar.h"
#include "engine/schema_patterns.h"

namespace llorch {
namespace {

struct BadCase {
  const char* name;
  const char* gbnf;
  const char* says;
};

// clause: W-29
TEST(CheckGbnf, SaysWhereAndWhyWithoutQuotingTheText) {
  const BadCase cases[] = {
      {"unbalanced", "root ::= ((\"canary\"", "line 1: expecting ')'"},
      {"second line", "root ::= a\na ::= {\"canary\"\n", "line 2: "},
      {"no arrow", "# canary\n\nroot canary", "line 3: expecting ::="},
      {"open string", "root ::= \"canary", "line 1: unexpected end of input"},
      {"bad escape", "root ::= \"\\canary\"", "line 1: unknown escape"},
      {"no rules", "   \n", "no rule `root`"},
      {"no root", "start ::= \"canary\"", "no rule `root`"},
      {"undefined", "root ::= other", "the rule `other` is used, but not defined"},
      {"too often", "root ::= \"canary\"{9999}", "line 1: number of repetitions"},
      {"far too often", "root ::= \"a\"{99999999999999999999999}", "line 1: a number is too large"},
      {"nothing to repeat", "root ::= *", "line 1: expecting preceding item"}};
  for (const auto& [name, gbnf, says] : cases) {
    SCOPED_TRACE(name);
    testing::internal::CaptureStderr();
    const auto got = check_gbnf(gbnf, "grammar", nullptr);
    EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
    ASSERT_FALSE(got);
    EXPECT_EQ(got.error().code, Code::invalid_request);
    EXPECT_NE(got.error().message.find(says), std::string::npos) << got.error().message;
    EXPECT_EQ(got.error().message.find("canary"), std::string::npos) << got.error().message;
    ASSERT_EQ(got.error().violations.size(), 1u);
    EXPECT_EQ(got.error().violations.front().field, "grammar");
  }
}

#if defined(LLORCH_LLAMA_PATCHED)
// third_party/patches/0007: llama.cpp's parser counts down from -3 and takes all memory there is.
TEST(CheckGbnf, RefusesBoundsTheWrongWayRound) {
  for (const char* gbnf :
       {"root ::= \"a\"{5,2}", "root ::= (\"a\" | [b]) { 5 , 2 }", "root ::= (\"a\"{5,#}\n2})"}) {
    const auto got = check_gbnf(gbnf, "grammar", nullptr);
    ASSERT_FALSE(got) << gbnf;
    EXPECT_NE(got.error().message.find("more than its most"), std::string::npos);
  }
  const auto schema =
      grammar_of_format({.kind = OutputFormat::Kind::json_schema,
                         .source = R"({"type":"string","minLength":5,"maxLength":2})"});
  EXPECT_TRUE(!schema || !check_gbnf(schema->gbnf, "response_format", nullptr));
}

TEST(CheckGbnf, RefusesARepetitionOfMoreThanCanBeHeld) {
  const auto gbnf = "root ::= \"" + std::string(50'000, 'a') + "\"{2000}";
  EXPECT_FALSE(check_gbnf(gbnf, "grammar", nullptr));
}
#endif

TEST(CheckGbnf, TakesWhatLlamaCppTakes) {
  for (const char* gbnf : {"root ::= \"{5,2}\" [{5,2}] # {5,2}\n",
                           "# first\nroot ::= a b?\na ::= [^\"\\]x-z]{2,3}\nb ::= .",
                           "root ::= \"a\"{2} \"b\"{2,} \"c\"{0,0}\r\n"}) {
    const auto got = check_gbnf(gbnf, "grammar", nullptr);
    EXPECT_TRUE(got) << gbnf << ": " << got.error().message;
  }
}

TEST(WithRulePrefix, RenamesRulesAndNothingElse) {
  EXPECT_EQ(with_rule_prefix("root ::= a \"a \\\" b\" [a\\]b]{2,5} | a1-b?\na ::= .\n", "t0-"),
            "t0-root ::= t0-a \"a \\\" b\" [a\\]b]{2,5} | t0-a1-b?\nt0-a ::= .\n");
}

TEST(GrammarOfFormat, RefusesASchemaThatIsNoneByField) {
  for (const char* schema : {R"({"type":"nonsense"})", "{", R"({"$ref":"#/nowhere"})"}) {
    const auto got = grammar_of_format({.kind = OutputFormat::Kind::json_schema, .source = schema});
    ASSERT_FALSE(got) << schema;
    ASSERT_EQ(got.error().violations.size(), 1u);
    EXPECT_EQ(got.error().violations.front().field, "response_format");
  }
}

// llama.cpp prints such a pattern to stderr, and then accepts any string for it.
TEST(WithoutForeignPatterns, TakesOutWhatTheLibraryWouldPrint) {
  struct Case {
    const char* name;
    std::string schema;
    std::string want;
  };
  const Case cases[] = {
      {"not anchored", R"({"type":"string","pattern":"canary"})", R"({"type":"string"})"},
      {"look-ahead", R"({"items":{"pattern":"^(?=canary)$","type":"string"}})",
       R"({"items":{"type":"string"}})"},
      {"fine", R"({"pattern": "^a+$"})", R"({"pattern": "^a+$"})"},
      {"no regex: refused later", R"({"pattern": "^($"})", R"({"pattern": "^($"})"},
      {"data", R"({"const": {"pattern": "x"}})", R"({"const": {"pattern": "x"}})"},
      {"a property of that name", R"({"properties": {"pattern": {"type": "string"}}})",
       R"({"properties": {"pattern": {"type": "string"}}})"}};
  for (const auto& [name, schema, want] : cases) {
    SCOPED_TRACE(name);
    testing::internal::CaptureStderr();
    const auto got = without_foreign_patterns(schema);
    static_cast<void>(grammar_of_format({OutputFormat::Kind::json_schema, schema}));
    EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
    ASSERT_TRUE(got);
    EXPECT_EQ(*got, want);
  }
}

}  // namespace
}  // namespace llorch
