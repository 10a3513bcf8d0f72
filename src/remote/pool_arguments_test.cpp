#include "remote/pool_arguments.h"

#include <gtest/gtest.h>

namespace llorch {
namespace {

using Words = std::vector<std::string>;

PoolCommand pool_of(const Words& words) {
  const auto request = parse_pool_words(words);
  const auto* const command = request ? std::get_if<PoolCommand>(&*request) : nullptr;
  EXPECT_NE(command, nullptr) << (request ? "another request" : request.error().message);
  return command ? *command : PoolCommand{};
}

// clause: C-12
TEST(PoolWords, TakeTheHostBeforeOrAfter) {
  struct Case {
    const char* name;
    Words words;
    std::string host;
    Words want;
  };
  const Case cases[] = {
      {"none", {"worker", "list"}, "", {"worker", "list"}},
      {"before", {"--host", "h", "worker", "list"}, "h", {"worker", "list"}},
      {"after", {"worker", "list", "--host", "h"}, "h", {"worker", "list"}},
      {"between", {"worker", "--host", "h", "list", "--json"}, "h", {"worker", "list", "--json"}},
      {"joined", {"status", "--host=h", "--json"}, "h", {"status", "--json"}},
      {"twice the same", {"--host", "h", "status", "--host", "h"}, "h", {"status"}},
      {"behind --",
       {"worker", "test", "x", "--", "--host", "h"},
       "",
       {"worker", "test", "x", "--", "--host", "h"}},
      {"words unknown here",
       {"models", "future", "--flag=1"},
       "",
       {"models", "future", "--flag=1"}},
      {"help of a command",
       {"worker", "spawn", "--help", "--host", "h"},
       "h",
       {"worker", "spawn", "--help"}},
  };
  for (const auto& [name, words, host, want] : cases) {
    SCOPED_TRACE(name);
    const auto command = pool_of(words);
    EXPECT_EQ(command.host, host);
    EXPECT_EQ(command.words, want);
  }
}

TEST(PoolWords, RefuseWhatCannotBeMeant) {
  struct Case {
    const char* name;
    Words words;
    std::string_view next;
  };
  const Case cases[] = {
      {"no value", {"status", "--host"}, "--help"},
      {"empty host", {"status", "--host", ""}, "--help"},
      {"two hosts", {"--host", "a", "status", "--host", "b"}, "--help"},
      {"no command", {"--host", "a"}, "--help"},
      {"unknown command", {"workers", "list"}, "worker"},
      {"a flag first", {"--json", "status"}, "--help"},
      {"install without host", {"install"}, "--host"},
      {"install with more", {"install", "x", "--host", "h"}, "--help"},
      {"copy without id", {"models", "copy", "--from", "a", "--to", "b"}, "copy ID"},
      {"copy to itself", {"models", "copy", "x", "--from", "a", "--to", "a"}, "copy ID"},
      {"copy with host", {"models", "copy", "x", "--to", "a", "--host", "b"}, "copy ID"}};
  for (const auto& [name, words, next] : cases) {
    SCOPED_TRACE(name);
    const auto request = parse_pool_words(words);
    ASSERT_FALSE(request);
    EXPECT_EQ(request.error().code, Code::invalid_request);
    EXPECT_NE(request.error().next.find(next), std::string::npos) << request.error().next;
  }
}

TEST(PoolWords, ShowHelpInstallAndCopy) {
  for (const Words& words : {Words{},
                             {"--help"},
                             {"-h"},
                             {"install", "--help"},
                             {"models", "copy", "-h"},
                             {"--help", "--host", "h"}}) {
    const auto request = parse_pool_words(words);
    ASSERT_TRUE(request);
    EXPECT_TRUE(std::holds_alternative<PoolHelp>(*request));
  }
  const auto put = parse_pool_words({"upgrade", "--host", "h"});
  ASSERT_TRUE(put);
  EXPECT_TRUE(std::get<InstallCommand>(*put).upgrade);
  const auto copy = parse_pool_words({"models", "copy", "qwen", "--from", "a"});
  ASSERT_TRUE(copy);
  EXPECT_EQ(std::get<CopyCommand>(*copy).model, "qwen");
  EXPECT_EQ(std::get<CopyCommand>(*copy).from, "a");
  EXPECT_EQ(std::get<CopyCommand>(*copy).to, "");
}

// clause: C-13
TEST(PoolWords, ListenIsTheAddressOfASpawnedWorker) {
  const auto given =
      pool_of({"worker", "spawn", "cpu", "--model", "m", "--listen", "0.0.0.0", "--host", "h"});
  EXPECT_EQ(given.words, (Words{"worker", "spawn", "--host", "0.0.0.0", "cpu", "--model", "m"}));
  EXPECT_EQ(given.host, "h");
  EXPECT_FALSE(given.spawns_for_itself);
  EXPECT_TRUE(pool_of({"worker", "spawn", "cpu", "--model", "m"}).spawns_for_itself);
  EXPECT_EQ(pool_of({"worker", "list", "--listen", "x"}).words,
            (Words{"worker", "list", "--listen", "x"}));
}

// clause: C-14
TEST(PoolWords, AGpuWithoutABackendIsSeen) {
  struct Case {
    const char* name;
    Words words;
    bool missing;
  };
  const Case cases[] = {
      {"missing", {"worker", "spawn", "--gpu", "0", "--model", "m"}, true},
      {"missing, joined", {"worker", "spawn", "--gpu=0", "--model=m", "--no-wait"}, true},
      {"missing, with an address", {"worker", "spawn", "--listen", "::", "--gpu", "0"}, true},
      {"named first", {"worker", "spawn", "cuda", "--gpu", "0"}, false},
      {"named last", {"worker", "spawn", "--gpu", "0", "--no-wait", "cuda"}, false},
      {"no gpu", {"worker", "spawn", "--model", "m"}, false},
      {"another command", {"worker", "list", "--gpu", "0"}, false}};
  for (const auto& [name, words, missing] : cases) {
    SCOPED_TRACE(name);
    const auto command = pool_of(words);
    EXPECT_EQ(command.backend_missing_at != 0, missing);
    if (missing) {
      EXPECT_EQ(command.gpu, "0");
    }
  }
}

// clause: C-14
TEST(GpuBackend, IsTheFirstAvailableOneThatHasTheDevice) {
  constexpr std::string_view cuda =
      R"({"backends":[{"name":"cpu","available":true,"priority":3,"devices":[{"index":0}]},
      {"name":"vulkan","available":true,"priority":4,"devices":[{"index":0},{"index":5}]},
      {"name":"metal","available":false,"priority":1,"reason":"not available on Linux"},
      {"name":"cuda","available":true,"priority":2,"devices":[{"index":0},{"index":1}]}]})";
  constexpr std::string_view none =
      R"({"backends":[{"name":"cpu","available":true,"priority":3,"devices":[]},
      {"name":"cuda","available":false,"priority":2,"reason":"no NVIDIA GPU detected"}]})";
  constexpr std::string_view metal =
      R"({"backends":[{"name":"metal","available":true,"priority":1,"devices":[]}]})";
  struct Case {
    const char* name;
    std::string_view json;
    std::string_view gpu;
    std::string_view want;
    Code code = Code::internal;
  };
  const Case cases[] = {{"cuda before vulkan", cuda, "1", "cuda"},
                        {"only vulkan has it", cuda, "5", "vulkan"},
                        {"metal counts no devices", metal, "0", "metal"},
                        {"no such device", cuda, "7", "", Code::invalid_request},
                        {"no GPU", none, "0", "", Code::not_found},
                        {"no number", cuda, "x", "", Code::invalid_request},
                        {"negative", cuda, "-1", "", Code::invalid_request},
                        {"no JSON", "oops", "0", "", Code::internal},
                        {"no list", "{}", "0", "", Code::internal}};
  for (const auto& [name, json, gpu, want, code] : cases) {
    SCOPED_TRACE(name);
    const auto got = choose_gpu_backend(json, gpu, "host h");
    ASSERT_EQ(got.has_value(), !want.empty());
    if (got) {
      EXPECT_EQ(*got, want);
    } else {
      EXPECT_EQ(got.error().code, code);
    }
  }
  EXPECT_NE(choose_gpu_backend(none, "0", "host h").error().message.find("no NVIDIA GPU"),
            std::string::npos);
}

}  // namespace
}  // namespace llorch
