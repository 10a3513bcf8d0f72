#include "pool/optimize.h"

#include <algorithm>
#include <boost/json.hpp>
#include <gtest/gtest.h>

#include "base/limits.h"
#include "fakes/gguf_writer.h"
#include "fakes/pool_world.h"
#include "pool/model_store.h"

namespace llorch {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

struct Speed {
  double loss = 3.0;  // a token
  double prefill = 100;
  double decode = 100;
};

// A root with one model, "mine" as Q4_1, and a llorch-candled that measures what the test says.
struct OptimizeWorld : PoolWorld {
  std::map<std::string, Speed> speeds{
      {"Q4_1", {3.0, 300, 100}}, {"Q8_0", {3.001, 600, 100}}, {"Q4_0", {3.02, 900, 170}}};
  std::int64_t tokens = 24'064;
  std::vector<std::string> runs;  // "make Q8_0", "measure Q8_0"
  std::string fail_at;            // the run that fails
  OptimizeOptions options{.model = "mine"};
  fs::path original = folder / ".test-models/mine/tiny.Q4_1.gguf";
  fs::path optimized = folder / ".test-models/mine/optimized";

  OptimizeWorld() {
    write_original(tiny_model());
    EXPECT_TRUE(register_model(context, original, "mine"));
    options.texts = {folder.write("text.txt", "a text")};
    processes.programs["llorch-candled"] = [this](const RunRequest& request) {
      return candled(request);
    };
  }

  void write_original(const GgufWriter& model) {
    const auto bytes = model.file();
    folder.write(".test-models/mine/tiny.Q4_1.gguf",
                 {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  }
  // The Q8_0 of an original that was overwritten since, which serves.
  void use_and_replace_original() {
    options.use = true;
    ASSERT_TRUE(optimize_model(context, options));
    ASSERT_EQ(entry().quantization, "Q8_0");
    write_original(tiny_model({}, [](GgufWriter& out) { out.text("general.name", "Another"); }));
    runs.clear();
  }

  static std::string value_of(const RunRequest& request, const std::string& flag) {
    const auto at = std::ranges::find(request.argv, flag);
    return at == request.argv.end() ? "" : *std::next(at);
  }

  Result<RunOutcome> candled(const RunRequest& request) {
    const fs::path out = value_of(request, "--out");
    const fs::path model = out.empty() ? fs::path(value_of(request, "--model")) : out;
    const auto type = model.stem().extension().string().substr(1);
    runs.push_back((out.empty() ? "measure " : "make ") + type);
    if (runs.back() == fail_at) {
      return RunOutcome{.exit_status = exit_no_room, .err = "error: disk: full\nnext: free some\n"};
    }
    if (!out.empty()) {
      fs::copy_file(original, out);
      return RunOutcome{.exit_status = 0, .out = "{}"};
    }
    const auto& speed = speeds.at(type);
    const json::object report = {
        {"tokens", tokens},
        {"tokens_scored", tokens / 2},
        {"perplexity", std::exp(speed.loss)},
        {"stderr", 0.1},
        {"prefill_tokens_per_second", speed.prefill},
        {"decode_tokens_per_second", speed.decode},
        {"chunk_loss", {speed.loss * tokens / 4, speed.loss * tokens / 4}}};
    return RunOutcome{.exit_status = 0, .out = json::serialize(report)};
  }

  CatalogEntry entry() { return *read_catalog(files, context.root)->find("mine"); }
  bool there(const char* type) {
    return fs::exists(optimized / ("tiny." + std::string(type) + ".gguf"));
  }
};

// clause: P-36
TEST(Optimize, MakesAndMeasuresTheOriginalAndBothCandidates) {
  OptimizeWorld world;
  const auto result = optimize_model(world.context, world.options);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(world.runs, (std::vector<std::string>{"measure Q4_1", "make Q8_0", "measure Q8_0",
                                                  "make Q4_0", "measure Q4_0"}));
  ASSERT_EQ(result->record.variants.size(), 3u);
  const auto& q8_0 = *result->record.variants[1].figures;
  EXPECT_NEAR(q8_0.rise_percent, 0.1, 0.001);  // exp(0.001)
  EXPECT_NEAR(q8_0.perplexity, std::exp(3.001), 1e-6);
  EXPECT_EQ(q8_0.tokens, 24'064);
  EXPECT_GT(result->record.variants[1].memory_bytes, 0u);
  EXPECT_TRUE(result->verdict);
  EXPECT_FALSE(result->changed);
  EXPECT_EQ(result->best, ".test-models/mine/optimized/tiny.Q8_0.gguf");
  EXPECT_EQ(result->in_use, world.entry().path);
  EXPECT_FALSE(world.there("Q8_0"));  // not asked for: only its figures are kept
  EXPECT_FALSE(world.there("Q4_0"));
}

// clause: P-37
TEST(Optimize, UseLetsTheBestWithinTheGuardServeAndKeepsTheOriginal) {
  OptimizeWorld world;
  const auto before = world.entry();
  world.options.use = true;
  const auto result = optimize_model(world.context, world.options);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_TRUE(result->changed);
  const auto after = world.entry();
  EXPECT_EQ(after.path, ".test-models/mine/optimized/tiny.Q8_0.gguf");
  EXPECT_EQ(after.quantization, "Q8_0");
  EXPECT_EQ(after.sha256.size(), 64u);
  EXPECT_TRUE(verify_model(world.context, "mine"));
  EXPECT_TRUE(fs::exists(world.original));
  EXPECT_TRUE(world.there("Q8_0"));
  EXPECT_FALSE(world.there("Q4_0"));
  const auto layout = find_lossy_layout(world.files, model_path(world.context.root, after));
  ASSERT_TRUE(layout);
  EXPECT_EQ(layout->type, "Q8_0");
  EXPECT_EQ(layout->from, before.quantization);
  EXPECT_NEAR(layout->rise_percent, 0.1, 0.001);
  EXPECT_FALSE(find_lossy_layout(world.files, world.original));
}

// clause: P-37
TEST(Optimize, TheWayBackRestoresTheEntryAndRemovesTheRest) {
  OptimizeWorld world;
  const auto before = world.entry();
  world.options.use = true;
  ASSERT_TRUE(optimize_model(world.context, world.options));
  const auto back = restore_original(world.context, "mine");
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_TRUE(back->changed);
  EXPECT_EQ(world.entry().path, before.path);
  EXPECT_EQ(world.entry().quantization, before.quantization);
  EXPECT_FALSE(world.there("Q8_0"));
  EXPECT_FALSE(restore_original(world.context, "mine")->changed);
  // Its figures are known: used again without measuring, for the file comes out the same.
  world.runs.clear();
  ASSERT_TRUE(optimize_model(world.context, world.options));
  EXPECT_EQ(world.runs, (std::vector<std::string>{"make Q8_0"}));
  EXPECT_EQ(world.entry().quantization, "Q8_0");
}

// The old weights served on: a Q8_0 was there, so it was not made of the new ones.
// clause: P-37
TEST(Optimize, MakesAllAnewOfAnOriginalThatWasReplaced) {
  for (const bool registered_again : {true, false}) {
    SCOPED_TRACE(registered_again);
    OptimizeWorld world;
    world.use_and_replace_original();
    if (registered_again) {
      ASSERT_TRUE(register_model(world.context, world.original, "mine"));
    }
    const auto result = optimize_model(world.context, world.options);
    ASSERT_TRUE(result) << result.error().message;
    EXPECT_EQ(world.runs, (std::vector<std::string>{"measure Q4_1", "make Q8_0", "measure Q8_0",
                                                    "make Q4_0", "measure Q4_0"}));
    EXPECT_TRUE(result->changed);
    EXPECT_EQ(world.entry().quantization, "Q8_0");
    EXPECT_EQ(*world.files.read(world.optimized / "tiny.Q8_0.gguf", 10'000),
              *world.files.read(world.original, 10'000));
    EXPECT_TRUE(verify_model(world.context, "mine"));
  }
}

TEST(Optimize, AReplacedOriginalServesAgainWhereMakingItsLayoutsFails) {
  OptimizeWorld world;
  world.use_and_replace_original();
  world.fail_at = "measure Q4_1";
  EXPECT_FALSE(optimize_model(world.context, world.options));
  EXPECT_EQ(world.entry().quantization, "Q4_1");
  EXPECT_FALSE(world.there("Q8_0"));
}

TEST(Variants, RememberTheHashOfEachPartOfTheOriginal) {
  OptimizeWorld world;
  const VariantRecord record{.id = "mine",
                             .measured_with = {},
                             .original = {.path = "m-00001-of-00003.gguf",
                                          .extra_files = {"b", "c"},
                                          .extra_sha256 = {"", "2"}},
                             .variants = {Variant{.type = "Q4_1"}}};
  ASSERT_TRUE(write_variants(world.files, world.folder.path(), record));
  const auto read = read_variants(world.files, world.folder.path());
  ASSERT_TRUE(read && *read);
  EXPECT_EQ((*read)->original.extra_files, record.original.extra_files);
  EXPECT_EQ((*read)->original.extra_sha256, record.original.extra_sha256);
}

TEST(Optimize, GoesOnWhereAnInterruptedRunStopped) {
  OptimizeWorld world;
  world.fail_at = "measure Q4_0";
  const auto stopped = optimize_model(world.context, world.options);
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code, Code::insufficient_storage);
  EXPECT_NE(stopped.error().message.find("disk: full"), std::string::npos);
  EXPECT_EQ(stopped.error().next, "free some");
  world.folder.write(".test-models/mine/optimized/tiny.Q4_0.gguf.part", "half");
  world.fail_at.clear();
  world.runs.clear();
  ASSERT_TRUE(optimize_model(world.context, world.options));
  EXPECT_EQ(world.runs, (std::vector<std::string>{"measure Q4_0"}));
  EXPECT_FALSE(fs::exists(world.optimized / "tiny.Q4_0.gguf.part"));
}

TEST(Optimize, MeasuresAgainWhenTheTextIsAnotherOrFreshIsAskedFor) {
  OptimizeWorld world;
  ASSERT_TRUE(optimize_model(world.context, world.options));
  world.runs.clear();
  ASSERT_TRUE(optimize_model(world.context, world.options));
  EXPECT_TRUE(world.runs.empty());
  world.folder.write("text.txt", "another text");
  ASSERT_TRUE(optimize_model(world.context, world.options));
  EXPECT_EQ(world.runs.size(), 5u);
  world.runs.clear();
  world.options.fresh = true;
  ASSERT_TRUE(optimize_model(world.context, world.options));
  EXPECT_EQ(world.runs.size(), 5u);
}

// clause: P-37
TEST(Optimize, TooFewTokensGiveNoVerdictAndChangeNothing) {
  OptimizeWorld world;
  world.tokens = limits::perplexity_tokens_min - 512;
  world.options.use = true;
  const auto before = world.entry().path;
  const auto result = optimize_model(world.context, world.options);
  ASSERT_TRUE(result);
  EXPECT_FALSE(result->verdict);
  EXPECT_FALSE(result->changed);
  EXPECT_EQ(world.entry().path, before);
}

// clause: P-36
TEST(Optimize, RefusesAFullDiskBeforeAnythingIsMade) {
  OptimizeWorld world;
  world.files.free_bytes_told = 10;
  const auto result = optimize_model(world.context, world.options);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::insufficient_storage);
  EXPECT_TRUE(world.runs.empty());
}

TEST(Optimize, DeletingAModelTakesItsLayoutsWithIt) {
  OptimizeWorld world;
  world.options.use = true;
  ASSERT_TRUE(optimize_model(world.context, world.options));
  const auto deleted = delete_model(world.context, "mine");
  ASSERT_TRUE(deleted) << deleted.error().message;
  EXPECT_TRUE(deleted->files_removed);
  EXPECT_FALSE(fs::exists(world.folder / ".test-models/mine"));
}

TEST(BestWithinGuard, IsTheFastestThatCostsLittle) {
  const auto variant = [](double rise, double prefill, double decode) {
    return Variant{.figures = VariantFigures{.rise_percent = rise,
                                             .prefill_tokens_per_second = prefill,
                                             .decode_tokens_per_second = decode}};
  };
  struct Case {
    const char* name;
    std::vector<Variant> variants;
    std::size_t want;
  };
  const Case cases[] = {
      {"the fastest", {variant(0, 100, 100), variant(0.1, 200, 100), variant(0.4, 300, 100)}, 2},
      {"not beyond the guard", {variant(0, 100, 100), variant(0.51, 300, 300)}, 0},
      {"just within it", {variant(0, 100, 100), variant(0.5, 300, 300)}, 1},
      {"a better perplexity is no harm", {variant(0, 100, 100), variant(-1, 200, 200)}, 1},
      {"not for the noise", {variant(0, 100, 100), variant(0, 104, 104)}, 0},
      {"slower decoding counts", {variant(0, 100, 100), variant(0, 150, 60)}, 0}};
  for (const auto& [name, variants, want] : cases) {
    SCOPED_TRACE(name);
    EXPECT_EQ(&best_within_guard(variants), &variants[want]);
  }
}

TEST(CompareLosses, PairsTheChunks) {
  const VariantFigures original{.tokens_scored = 40, .losses = {30, 90}};
  VariantFigures other{.tokens_scored = 40, .losses = {32, 92}};
  compare_losses(original, other);
  EXPECT_NEAR(other.rise_percent, 100 * std::expm1(0.1), 1e-9);
  EXPECT_NEAR(other.rise_error_percent, 0, 1e-9);  // the same in each chunk
}

}  // namespace
}  // namespace llorch
