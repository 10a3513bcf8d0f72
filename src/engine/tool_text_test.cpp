#include "engine/tool_text.h"

#include <algorithm>
#include <gtest/gtest.h>

#include "engine/gbnf.h"

namespace llorch {
namespace {

ToolSpec weather() {
  return {.name = "get_weather",
          .description = "The weather",
          .parameters_json =
              R"({"type":"object","properties":{"city":{"type":"string"}},"required":["city"]})"};
}

ChatPrompt asking(ToolChoice choice = {}) {
  ChatPrompt chat;
  chat.messages.push_back({.role = "user", .content = "Weather in Oslo?"});
  chat.tools = {weather(), {.name = "set_light", .description = "", .parameters_json = "{}"}};
  chat.tool_choice = std::move(choice);
  return chat;
}

const ToolChoice required{.kind = ToolChoice::Kind::required, .function = {}};
const ToolChoice set_light{.kind = ToolChoice::Kind::function, .function = "set_light"};

// clause: W-34
TEST(ToolsAsText, TellsTheToolsInTheSystemMessage) {
  const auto alone = tools_as_text(asking());
  ASSERT_EQ(alone.messages.size(), 2u);
  EXPECT_EQ(alone.messages[0].role, "system");
  EXPECT_NE(alone.messages[0].content.find("\"name\":\"get_weather\""), std::string::npos);
  EXPECT_NE(alone.messages[0].content.find("\"city\":{\"type\":\"string\"}"), std::string::npos);
  EXPECT_TRUE(alone.tools.empty());

  auto chat = asking(set_light);
  chat.messages.insert(chat.messages.begin(), {.role = "developer", .content = "Be brief."});
  const auto merged = tools_as_text(chat);
  ASSERT_EQ(merged.messages.size(), 2u);
  EXPECT_TRUE(merged.messages[0].content.starts_with("Be brief.\n\n"));
  EXPECT_EQ(merged.messages[0].content.find("get_weather"), std::string::npos) << "not asked for";

  chat.tool_choice = {.kind = ToolChoice::Kind::none, .function = {}};
  EXPECT_EQ(tools_as_text(chat).messages[0].content, "Be brief.");
}

// clause: W-33
TEST(ToolsAsText, ShowsCallsAndResultsInTurns) {
  ChatPrompt chat;
  chat.messages = {
      {.role = "user", .content = "Weather?"},
      {.role = "assistant",
       .content = "Let me see.",
       .tool_calls = {{.id = "a", .name = "get_weather", .arguments_json = R"({"city":"Oslo"})"},
                      {.id = "b", .name = "get_weather", .arguments_json = R"({"city":"Rome"})"}}},
      {.role = "tool", .content = "rain", .tool_call_id = "a"},
      {.role = "tool", .content = "sun", .tool_call_id = "b"},
      {.role = "user", .content = "Thanks"}};
  const auto shown = tools_as_text(chat);
  ASSERT_EQ(shown.messages.size(), 3u);
  EXPECT_EQ(shown.messages[1].content,
            "Let me see.\n<tool_call>\n{\"name\": \"get_weather\", \"arguments\": "
            "{\"city\":\"Oslo\"}}\n</tool_call>\n<tool_call>\n{\"name\": \"get_weather\", "
            "\"arguments\": {\"city\":\"Rome\"}}\n</tool_call>");
  EXPECT_TRUE(shown.messages[1].tool_calls.empty());
  EXPECT_EQ(shown.messages[2].role, "user");
  EXPECT_EQ(shown.messages[2].content,
            "<tool_response>\nget_weather: rain\n</tool_response>\n<tool_response>\nget_weather: "
            "sun\n</tool_response>\nThanks");
}

// clause: W-34
TEST(ToolGrammar, HoldsARequiredCallFromTheStart) {
  const auto spec = tool_grammar(asking(required), {}, 200);
  ASSERT_TRUE(spec) << spec.error().message;
  EXPECT_FALSE(spec->lazy);
  EXPECT_TRUE(check_gbnf(spec->gbnf, "tools", nullptr));
  EXPECT_NE(spec->gbnf.find("char{0,400}"), std::string::npos) << "a string that always ends";
  EXPECT_NE(spec->gbnf.find("t0-space ::= \" \"?"), std::string::npos) << "and no endless blanks";
  // SmolLM2 called set_light(true) again and again until max_tokens, and the answer was "length".
  EXPECT_EQ(spec->gbnf.find("{0,7}"), std::string::npos) << "one call";
  EXPECT_EQ(tool_grammar(asking(required), {}, std::nullopt)->gbnf.find("char{0,"),
            std::string::npos);

  const auto one = tool_grammar(asking(set_light), {}, 200);
  ASSERT_TRUE(one);
  EXPECT_EQ(one->gbnf.find("get_weather"), std::string::npos);
}

TEST(ToolGrammar, WaitsForACallWhenTextIsAllowed) {
  const auto spec = tool_grammar(asking(), {}, 200);
  ASSERT_TRUE(spec);
  EXPECT_TRUE(spec->lazy);
  EXPECT_NE(spec->gbnf.find("root ::= call ( gap call ){0,7}"), std::string::npos);
  EXPECT_EQ(spec->trigger_patterns, std::vector<std::string>{"<tool_call>"});
  auto chat = asking();
  chat.parallel_tool_calls = false;
  EXPECT_NE(tool_grammar(chat, {}, 200)->gbnf.find("root ::= call\n"), std::string::npos);
  const auto either = tool_grammar(asking(), {OutputFormat::Kind::json_object, ""}, 200);
  ASSERT_TRUE(either);
  EXPECT_FALSE(either->lazy) << "the text is bound too";
  EXPECT_TRUE(check_gbnf(either->gbnf, "tools", nullptr));
}

// Two schemas may both define "#/$defs/place", and mean different things.
TEST(ToolGrammar, KeepsTheDefinitionsOfToolsApart) {
  auto chat = asking(required);
  for (std::size_t i = 0; i < 2; ++i) {
    chat.tools[i].parameters_json =
        R"({"properties":{"p":{"$ref":"#/$defs/place"}},"$defs":{"place":{"enum":["place)" +
        std::to_string(i) + R"("]}}})";
  }
  const auto spec = tool_grammar(chat, {}, 100);
  ASSERT_TRUE(spec) << spec.error().message;
  EXPECT_NE(spec->gbnf.find("place0"), std::string::npos);
  EXPECT_NE(spec->gbnf.find("place1"), std::string::npos);
}

TEST(ToolGrammar, RefusesParametersByField) {
  for (const char* schema : {R"({"type":"array"})", R"({"type":"object","properties":{"a":5}})"}) {
    auto chat = asking();
    chat.tools[1].parameters_json = schema;
    const auto spec = tool_grammar(chat, {}, {});
    ASSERT_FALSE(spec) << schema;
    ASSERT_EQ(spec.error().violations.size(), 1u);
    EXPECT_EQ(spec.error().violations.front().field, "tools[1].function.parameters");
  }
}

struct Heard {
  std::string content;
  std::vector<ToolCall> calls;
  bool operator==(const Heard& other) const {
    const auto same = [](const ToolCall& a, const ToolCall& b) {
      return a.id == b.id && a.name == b.name && a.arguments_json == b.arguments_json;
    };
    return content == other.content && std::ranges::equal(calls, other.calls, same);
  }
};

Heard listen(const std::string& text, std::size_t step) {
  const auto parser = make_tool_text_parser(nullptr, 7);
  Heard heard;
  const auto note = [&](const std::vector<ChatDelta>& deltas) {
    for (const auto& delta : deltas) {
      heard.content += delta.content;
      if (!delta.tool_index) continue;
      if (!delta.tool_id.empty()) {
        EXPECT_EQ(*delta.tool_index, heard.calls.size());
        heard.calls.push_back({.id = delta.tool_id, .name = delta.tool_name, .arguments_json = {}});
      }
      heard.calls.at(*delta.tool_index).arguments_json += delta.tool_arguments;
    }
  };
  for (std::size_t at = 0; at < text.size(); at += step) {
    note(parser->feed(text.substr(at, step), false));
  }
  note(parser->feed("", true));
  return heard;
}

struct TextCase {
  const char* name;
  std::string text;
  std::string content;
  std::vector<std::string> arguments;
};

// clause: W-34
TEST(ToolTextParser, ReadsTheSameHoweverTheTextIsCut) {
  const std::string call = "<tool_call>\n{\"name\": \"f\", \"arguments\": ";
  const TextCase cases[] = {
      {"text", "plain < text <tool", "plain < text <tool", {}},
      {"one call", call + R"({"a": "}\"]{"}})" + "\n</tool_call>", "", {R"({"a": "}\"]{"})"}},
      {"text and two calls",
       "Look: " + call + "{}}</tool_call>\n " + call + "{\"b\":[1]}}</tool_call>",
       "Look: ",
       {"{}", "{\"b\":[1]}"}},
      {"text after a call", call + "{}}</tool_call> so it is", "so it is", {"{}"}},
      {"cut in the arguments", call + "{\"a\": \"long", "", {"{\"a\": \"long"}},
      {"cut in the name", "<tool_call>\n{\"name\": \"f", "<tool_call>\n{\"name\": \"f", {}},
      {"no call", "<tool_call> is a mark", "<tool_call> is a mark", {}},
      {"a mark before a call", "<tool_call>" + call + "{}}</tool_call>", "<tool_call>", {"{}"}},
      {"no object",
       "<tool_call>{\"name\": \"f\", \"arguments\": 5}</tool_call>",
       "<tool_call>{\"name\": \"f\", \"arguments\": 5}</tool_call>",
       {}}};
  for (const auto& [name, text, content, arguments] : cases) {
    SCOPED_TRACE(name);
    const auto whole = listen(text, text.size());
    EXPECT_EQ(whole.content, content);
    ASSERT_EQ(whole.calls.size(), arguments.size());
    for (std::size_t i = 0; i < arguments.size(); ++i) {
      EXPECT_EQ(whole.calls[i].name, "f");
      EXPECT_EQ(whole.calls[i].arguments_json, arguments[i]);
    }
    for (const std::size_t step : {1, 2, 3, 7, 13}) EXPECT_EQ(listen(text, step), whole) << step;
  }
}

TEST(ToolTextParser, TellsArgumentsAsTheyCome) {
  const auto parser = make_tool_text_parser(nullptr, 7);
  const auto head = parser->feed("<tool_call>{\"name\": \"f\", \"arguments\": {\"a\"", false);
  ASSERT_EQ(head.size(), 2u);
  EXPECT_EQ(head[0].tool_name, "f");
  EXPECT_EQ(head[0].tool_id, tool_call_id(7, 0));
  EXPECT_EQ(head[1].tool_arguments, "{\"a\"");
  const auto next = parser->feed(":1", false);
  ASSERT_EQ(next.size(), 1u);
  EXPECT_EQ(next[0].tool_arguments, ":1");
}

}  // namespace
}  // namespace llorch
