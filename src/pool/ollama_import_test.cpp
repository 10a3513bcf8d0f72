#include "pool/ollama_import.h"

#include <algorithm>
#include <gtest/gtest.h>

#include "fakes/gguf_writer.h"
#include "fakes/pool_world.h"

namespace llorch {
namespace {

std::string tiny_file() {
  const auto bytes = tiny_model().file();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string manifest(const std::string& digest, std::size_t size,
                     const std::string& type = "application/vnd.ollama.image.model") {
  return R"({"schemaVersion":2,"config":{"digest":"sha256:00"},"layers":[)"
         R"({"mediaType":"application/vnd.ollama.image.template","digest":"x","size":1},)"
         R"({"mediaType":")" +
         type + R"(","digest":")" + digest + R"(","size":)" + std::to_string(size) + "}]}";
}

// A store with one sound model, llama3.2:1b.
struct OllamaWorld : PoolWorld {
  TemporaryFolder store;
  std::string bytes = tiny_file();
  std::string sha256 = sha256_of(bytes);
  std::string official = "manifests/registry.ollama.ai/library/";

  OllamaWorld() {
    environment["OLLAMA_MODELS"] = store.path();
    store.write("blobs/sha256-" + sha256, bytes);
    store.write(official + "llama3.2/1b", manifest("sha256:" + sha256, bytes.size()));
  }
};

// clause: P-19
TEST(BlobName, TakesADigestAndNothingElse) {
  const std::string hex(64, 'a');
  EXPECT_EQ(blob_name("sha256:" + hex), "sha256-" + hex);
  for (const std::string& bad :
       {std::string(), hex, "sha256-" + hex, "sha256:" + hex + "a",
        "sha256:" + std::string(64, 'A'), std::string("sha256:../../../../etc/passwd"),
        "sha256:" + hex.substr(1) + "/", "md5:" + hex}) {
    EXPECT_EQ(blob_name(bad), "") << bad;
  }
}

// clause: P-39
TEST(ImportOllama, RegistersWhatTheStoreHoldsInPlace) {
  OllamaWorld world;
  world.store.write("manifests/hf.co/Org/Repo-GGUF/Q4_0",
                    manifest("sha256:" + world.sha256, world.bytes.size()));
  const auto imported = import_ollama(world.context);
  ASSERT_TRUE(imported) << imported.error().message;
  EXPECT_TRUE(imported->refused.empty());
  ASSERT_EQ(imported->added.size(), 2u);
  const auto catalog = read_catalog(world.files, world.context.root);
  const auto* entry = catalog->find("llama3.2-1b");
  ASSERT_NE(entry, nullptr);
  EXPECT_EQ(entry->path, world.store / ("blobs/sha256-" + world.sha256));
  EXPECT_EQ(entry->sha256, world.sha256);
  EXPECT_EQ(entry->name, "llama3.2:1b");
  EXPECT_EQ(entry->architecture, "llama");
  EXPECT_TRUE(entry->downloaded);
  const auto* foreign = catalog->find("org-repo-gguf-q4_0");
  ASSERT_NE(foreign, nullptr);
  EXPECT_EQ(foreign->name, "hf.co/Org/Repo-GGUF:Q4_0");
  EXPECT_TRUE(import_ollama(world.context)->added.empty());  // again: nothing new
}

// clause: P-39
TEST(ImportOllama, SkipsWhatIsNoModelWithAReason) {
  struct Case {
    const char* name;
    std::string text;
    const char* says;
  };
  OllamaWorld world;
  const auto good = "sha256:" + world.sha256;
  const auto size = world.bytes.size();
  const Case cases[] = {
      {"not JSON", "{", "no JSON object"},
      {"no layers", "{}", "no layers"},
      {"no model", manifest(good, size, "application/vnd.ollama.image.params"), "no model file"},
      {"an adapter", manifest(good, size, "application/vnd.ollama.image.adapter"), "adapter"},
      {"a path as digest", manifest("sha256:../../etc/passwd", size), "digest"},
      {"a missing blob", manifest("sha256:" + std::string(64, '0'), size), "missing"},
      {"a short blob", manifest(good, size + 1), "size"}};
  for (const auto& [name, text, says] : cases) {
    SCOPED_TRACE(name);
    world.store.write(world.official + "bad/latest", text);
    const auto imported = import_ollama(world.context);
    ASSERT_TRUE(imported);
    ASSERT_EQ(imported->refused.size(), 1u);
    EXPECT_TRUE(imported->refused[0].starts_with("ollama bad:latest: "));
    EXPECT_NE(imported->refused[0].find(says), std::string::npos) << imported->refused[0];
    EXPECT_NE(read_catalog(world.files, world.context.root)->find("llama3.2-1b"), nullptr);
  }
}

TEST(ImportOllama, FollowsATagThatWasPulledAgain) {
  OllamaWorld world;
  ASSERT_EQ(import_ollama(world.context)->added.size(), 1u);
  const auto newer = world.bytes + std::string(32, '\0');
  const auto sha256 = sha256_of(newer);
  world.store.write("blobs/sha256-" + sha256, newer);
  world.store.write(world.official + "llama3.2/1b", manifest("sha256:" + sha256, newer.size()));
  const auto again = import_ollama(world.context);
  ASSERT_EQ(again->added.size(), 1u);
  EXPECT_EQ(again->added[0].sha256, sha256);
}

TEST(ImportOllama, SaysWhereItLookedForAStore) {
  PoolWorld world;
  world.environment["HOME"] = "/nowhere";
  const auto imported = import_ollama(world.context);
  ASSERT_FALSE(imported);
  EXPECT_EQ(imported.error().code, Code::not_found);
  EXPECT_NE(imported.error().message.find("/nowhere/.ollama/models"), std::string::npos);
}

}  // namespace
}  // namespace llorch
