#include "pool/model_reference.h"

#include <gtest/gtest.h>

#include "fakes/pool_world.h"
#include "pool/hub.h"

namespace llorch {
namespace {

// clause: P-10
TEST(ModelReference, TakesTheFormsOfTheContract) {
  struct Case {
    const char* name;
    const char* text;
    HubReference want;
  };
  const Case cases[] = {
      {"bare", "hf:Org/Repo-GGUF", {.repo = "Org/Repo-GGUF"}},
      {"quantisation", "hf:o/r:q8_0", {.repo = "o/r", .quantization = "Q8_0"}},
      {"revision", "hf:o/r@v1.2", {.repo = "o/r", .revision = "v1.2"}},
      {"file", "hf:o/r::d/x.gguf", {.repo = "o/r", .file = "d/x.gguf"}},
      {"all",
       "hf:o/r:Q4_0@abc::x.gguf",
       {.repo = "o/r", .quantization = "Q4_0", .revision = "abc", .file = "x.gguf"}},
  };
  for (const auto& [name, text, want] : cases) {
    SCOPED_TRACE(name);
    const auto parsed = parse_model_reference(text);
    ASSERT_TRUE(parsed) << parsed.error().message;
    const auto& got = std::get<HubReference>(*parsed);
    EXPECT_EQ(got.repo, want.repo);
    EXPECT_EQ(got.quantization, want.quantization);
    EXPECT_EQ(got.revision, want.revision);
    EXPECT_EQ(got.file, want.file);
  }
  EXPECT_EQ(std::get<IdReference>(*parse_model_reference("smollm2")).id, "smollm2");
  EXPECT_EQ(std::get<FileReference>(*parse_model_reference("file:/a/b.gguf")).path, "/a/b.gguf");
  EXPECT_EQ(std::get<FileReference>(*parse_model_reference("file:///a/b.gguf")).path, "/a/b.gguf");
}

// clause: P-19
TEST(ModelReference, RefusesWhatCouldLeadElsewhere) {
  for (const char* const text :
       {"", "../up", "a/b", "a b", "hf:", "hf:repo", "hf:o/r/x", "hf:../r", "hf:o/..",
        "hf:o/r::../x.gguf", "hf:o/r::/x.gguf", "hf:o/r::x.bin", "hf:o/r@../main", "hf:o/r?x",
        "hf:o/r::a?b.gguf", "file:relative.gguf", "file://host/x.gguf", "https://h/x.gguf"}) {
    SCOPED_TRACE(text);
    const auto parsed = parse_model_reference(text);
    ASSERT_FALSE(parsed);
    EXPECT_EQ(parsed.error().code, Code::invalid_request);
  }
}

TEST(ModelReference, ReadsQuantisationAndPartsFromFileNames) {
  EXPECT_EQ(quantization_of("tinyllama-1.1b-chat-v1.0.Q4_K_M.gguf"), "Q4_K_M");
  EXPECT_EQ(quantization_of("qwen2.5-0.5b-instruct-q4_k_m.gguf"), "Q4_K_M");
  EXPECT_EQ(quantization_of("SmolLM2-135M-Instruct.Q4_1.gguf"), "Q4_1");
  EXPECT_EQ(quantization_of("model-bf16-00001-of-00002.gguf"), "BF16");
  EXPECT_EQ(quantization_of("model.gguf"), "");
  EXPECT_EQ(quantization_of("m-Q4_K_L.gguf"), "Q4_K_L");
  EXPECT_EQ(quantization_of("Q4_K_M.gguf"), "Q4_K_M");
  EXPECT_EQ(quantization_of("my_model_q8_0.gguf"), "Q8_0");
  const auto split = parse_split_name("m-Q4_0-00002-of-00003.gguf");
  EXPECT_EQ(split.number, 2);
  EXPECT_EQ(split.count, 3);
  EXPECT_EQ(split_part_name(split, 1), "m-Q4_0-00001-of-00003.gguf");
  for (const char* const text : {"m.gguf", "m-00004-of-00003.gguf", "m-00000-of-00003.gguf",
                                 "m-00001-of-99999.gguf", "m-0000x-of-00003.gguf"}) {
    EXPECT_EQ(parse_split_name(text).count, 0) << text;
  }
  EXPECT_EQ(default_model_id("d/My Model-Q4_0-00001-of-00003.gguf"), "my-model-q4_0");
}

// clause: P-10
TEST(ModelReference, AQuantisationIsAWholeWordOfTheFileName) {
  // :Q4_K once gave a Q4_K_L file, and :Q4_K_L found none.
  struct Case {
    const char* name;
    std::string_view file;
    std::string_view word;
    bool want;
  };
  const Case cases[] = {{"the same", "X-Q4_K_L.gguf", "Q4_K_L", true},
                        {"another case", "X-Q4_K_L.gguf", "q4_k_l", true},
                        {"the start of one", "X-Q4_K_L.gguf", "Q4_K", false},
                        {"the end of one", "X-IQ4_XS.gguf", "Q4_XS", false},
                        {"one that no table knows", "X.Q9_ULTRA.gguf", "Q9_ULTRA", true},
                        {"with its prefix", "X-UD-Q4_K_XL.gguf", "UD-Q4_K_XL", true},
                        {"after an underscore", "x_q8_0.gguf", "Q8_0", true},
                        {"of a split model", "x-Q8_0-00001-of-00002.gguf", "Q8_0", true},
                        {"of the folder only", "Q8_0/x.gguf", "Q8_0", false}};
  for (const auto& [name, file, word, want] : cases) {
    SCOPED_TRACE(name);
    EXPECT_EQ(names_quantization(file, word), want);
  }
}

HubRepository repository(const std::vector<HubFile>& files) {
  return {.repo = "o/r", .commit = "abc", .files = files};
}

// clause: P-10
TEST(ChooseFiles, TakesTheBestThatFitsAndAllPartsOfASplitModel) {
  const auto all = repository({{"m.Q8_0.gguf", 9'000'000'000},
                               {"m.Q4_K_M.gguf", 5'000'000'000},
                               {"m.Q2_K.gguf", 2'000'000'000},
                               {"mmproj-m.gguf", 1},
                               {"README.md", 1},
                               {"s-F16-00001-of-00002.gguf", 8'000'000'000},
                               {"s-F16-00002-of-00002.gguf", 8'000'000'000},
                               {"t-Q6_K-00001-of-00002.gguf", 1},
                               {"m.Q4_K_L.gguf", 5'100'000'000}});
  struct Case {
    const char* name;
    HubReference reference;
    std::uint64_t memory_bytes;
    std::vector<std::string> want;  // empty: refused
  };
  const Case cases[] = {
      {"room for all", {}, 64'000'000'000, {"m.Q4_K_M.gguf"}},
      {"room for little", {}, 3'000'000'000, {"m.Q2_K.gguf"}},
      {"room for nothing", {}, 1'000'000'000, {}},
      {"a quantisation", {.quantization = "Q8_0"}, 0, {"m.Q8_0.gguf"}},
      {"a quantisation that is not there", {.quantization = "Q5_0"}, 0, {}},
      {"one that longer names begin with", {.quantization = "Q4_K"}, 0, {}},
      {"one of those longer names", {.quantization = "Q4_K_L"}, 0, {"m.Q4_K_L.gguf"}},
      {"a file", {.file = "m.Q2_K.gguf"}, 0, {"m.Q2_K.gguf"}},
      {"a file that is not there", {.file = "x.gguf"}, 0, {}},
      {"any part of a split one",
       {.file = "s-F16-00002-of-00002.gguf"},
       0,
       {"s-F16-00001-of-00002.gguf", "s-F16-00002-of-00002.gguf"}},
      {"a split one with a part missing", {.quantization = "Q6_K"}, 0, {}},
  };
  for (const auto& [name, reference, memory_bytes, want] : cases) {
    SCOPED_TRACE(name);
    const auto chosen = choose_files(all, reference, memory_bytes);
    ASSERT_EQ(chosen.has_value(), !want.empty());
    std::vector<std::string> names;
    for (const auto& file : chosen.value_or(std::vector<HubFile>{})) names.push_back(file.name);
    EXPECT_EQ(names, want);
  }
}

TEST(Http, AnOriginIsSchemeHostAndPort) {
  EXPECT_EQ(origin_of("https://Hub.example/a/b?c"), "https://hub.example");
  EXPECT_EQ(origin_of("http://h:81/x"), "http://h:81");
  EXPECT_EQ(origin_of("https://me:pw@h/x"), "https://h");
  EXPECT_NE(origin_of("https://h"), origin_of("http://h"));
  EXPECT_EQ(origin_of("a@b://h/x"), "a@b://h");
  EXPECT_NE(origin_of("https://h@evil"), origin_of("https://h"));
}

TEST(Http, RetriesWaitAsLongAsTheServerSaysOrDouble) {
  EXPECT_EQ(retry_delay_ms(1, {}), 500);
  EXPECT_EQ(retry_delay_ms(3, {}), 2'000);
  EXPECT_EQ(retry_delay_ms(60, {}), 16'000);
  EXPECT_EQ(retry_delay_ms(1, {.headers = {{"retry-after", "7"}}}), 7'000);
  EXPECT_EQ(retry_delay_ms(1, {.headers = {{"retry-after", "86400"}}}), std::nullopt);
  EXPECT_EQ(retry_delay_ms(1, {.headers = {{"retry-after", "Wed, 21 Oct"}}}), 500);
}

// clause: P-15
TEST(AskHub, RetriesWhatPassesAndExplainsWhatDoesNot) {
  struct Case {
    const char* name;
    std::vector<FakeHttp::Page> pages;
    std::optional<Code> error;
    std::int64_t waited_ms;
  };
  const FakeHttp::Page good{.body =
                                R"({"sha":"abc1","siblings":[{"rfilename":"m.gguf","size":5}]})"};
  const Case cases[] = {
      {"good", {good}, std::nullopt, 0},
      {"busy, then good",
       {{.status = 429, .headers = {{"retry-after", "3"}}}, good},
       std::nullopt,
       3'000},
      {"down", {{.status = 503}}, Code::unreachable, 3'500},
      {"private", {{.status = 401}}, Code::unauthorized, 0},
      {"gated", {{.status = 403}}, Code::forbidden, 0},
      {"absent", {{.status = 404}}, Code::model_not_found, 0},
      {"not JSON", {{.body = "<html>"}}, Code::unreachable, 0},
  };
  for (const auto& [name, pages, error, waited_ms] : cases) {
    SCOPED_TRACE(name);
    PoolWorld world;
    world.environment["HF_ENDPOINT"] = "http://hub/";
    world.environment["HF_TOKEN"] = "secret";
    world.http.pages["http://hub/api/models/o/r/revision/main?blobs=true"] = pages;
    const auto asked = ask_hub(world.context, "o/r", "main", false);
    ASSERT_EQ(asked.has_value(), !error);
    if (error) {
      EXPECT_EQ(asked.error().code, *error);
      EXPECT_FALSE(asked.error().next.empty());
    } else {
      EXPECT_EQ(asked->commit, "abc1");
      EXPECT_EQ(asked->find("m.gguf")->size_bytes, 5U);
    }
    EXPECT_EQ(world.waited_ms, waited_ms);
    EXPECT_EQ(world.http.requests.front().bearer, "secret");
  }
}

// clause: P-15, P-17
TEST(AskHub, TriesAgainWhatBrokeAndLeavesAHubThatIsNotThereToTheNextSource) {
  // A reset or a TLS fault of the first request ended the download.
  using Failure = FakeHttp::Failure;
  struct Case {
    const char* name;
    std::vector<Failure> failures;
    bool other_source;
    bool answered;
    std::int64_t waited_ms;
  };
  const Failure reset{Code::unreachable, false};
  const Failure stalled{Code::timeout, false};
  const Failure refused{Code::unreachable, true};
  const Case cases[] = {
      {"a reset", {reset}, false, true, 500},
      {"a reset, another source", {reset}, true, true, 500},
      {"two stalls", {stalled, stalled}, true, true, 1'500},
      {"resets only", {reset, reset, reset}, true, false, 1'500},
      {"refused once", {refused}, false, true, 500},
      {"refused, another source", {refused}, true, false, 0},
      {"refused always", {refused, refused, refused}, false, false, 1'500},
      {"no URL", {{Code::invalid_request, false}}, false, false, 0},
  };
  for (const auto& [name, failures, other_source, answered, waited_ms] : cases) {
    SCOPED_TRACE(name);
    PoolWorld world;
    world.environment["HF_ENDPOINT"] = "http://hub";
    world.http.pages["http://hub/api/models/o/r/revision/main?blobs=true"] = {
        {.body = R"({"sha":"abc1","siblings":[]})"}};
    world.http.failures = failures;
    const auto asked = ask_hub(world.context, "o/r", "main", other_source);
    EXPECT_EQ(asked.has_value(), answered);
    if (!answered && asked.error().code == Code::unreachable) {
      EXPECT_TRUE(asked.error().next.contains("HF_ENDPOINT"));
    }
    EXPECT_EQ(world.waited_ms, waited_ms);
  }
}

}  // namespace
}  // namespace llorch
