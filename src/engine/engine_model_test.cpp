// The engine on real weights. Needs LLORCH_TEST_MODEL, a GGUF file of SmolLM2-135M-Instruct.
#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <future>
#include <gtest/gtest.h>
#include <llama.h>
#include <random>
#include <stop_token>
#include <thread>
#include <unistd.h>

#include "engine/llama_engine.h"
#include "engine/llama_handles.h"
#include "engine/vocabulary.h"

namespace llorch {
namespace {

const char* model_path() {
  return std::getenv("LLORCH_TEST_MODEL");
}

// One job and all it said.
class Talk {
 public:
  Talk(Engine& engine, JobRequest job) : engine_(engine), box_(std::make_shared<Outbox>()) {
    box_->on_ready([this] {
      const std::lock_guard lock(mutex_);
      ready_ = true;
      changed_.notify_all();
    });
    engine.submit(std::move(job), box_);
  }

  void cancel() { engine_.cancel(box_); }
  // Reads until the job is over, or `tokens` have come. False after a minute.
  bool read(std::size_t tokens = SIZE_MAX) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes{1};
    while (!over && ids.size() < tokens) {
      {
        std::unique_lock lock(mutex_);
        if (!changed_.wait_until(lock, deadline, [&] { return ready_; })) return false;
        ready_ = false;
      }
      box_->take(events_);
      for (auto& event : events_) note(event);
    }
    return true;
  }

  std::vector<Token> ids;
  std::string text;
  std::int64_t first_index = -1;
  std::optional<Started> started;
  std::optional<Ended> ended;
  std::optional<Error> error;
  bool over = false;

 private:
  void note(JobEvent& event) {
    if (auto* begun = std::get_if<Started>(&event)) started = *begun;
    if (auto* token = std::get_if<TokenOut>(&event)) {
      if (first_index < 0) first_index = token->index;
      ids.push_back(token->id);
      text += token->text;
    }
    if (auto* end = std::get_if<Ended>(&event)) {
      text += end->tail;
      ended = *end;
      over = true;
    }
    if (auto* failed = std::get_if<Failed>(&event)) {
      error = failed->error;
      over = true;
    }
  }

  Engine& engine_;
  std::vector<JobEvent> events_;
  std::shared_ptr<Outbox> box_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ready_ = false;
};

JobRequest greedy(const std::string& prompt, std::uint64_t tokens) {
  JobRequest job;
  job.id = {prompt.substr(0, 40)};
  job.prompt = prompt;
  job.max_tokens = tokens;
  job.sampling.temperature = 0;
  return job;
}

JobRequest chat(const std::string& content, std::uint64_t tokens) {
  auto job = greedy(content, tokens);
  ChatPrompt prompt;
  prompt.messages.push_back({.role = "user", .content = content});
  job.prompt = prompt;
  return job;
}

class EngineOnRealWeights : public testing::Test {
 protected:
  void SetUp() override {
    if (model_path() == nullptr) GTEST_SKIP() << "LLORCH_TEST_MODEL names no model file";
  }
  static std::unique_ptr<Engine> load(std::int32_t slots, EngineOptions options = {}) {
    options.model_path = model_path();
    options.slots = slots;
    options.ctx_tokens = 1024;
    auto engine = load_llama_engine(options, [](double) {});
    EXPECT_TRUE(engine) << engine.error().message;
    return std::move(*engine);
  }
};

std::vector<Token> plain_greedy(const std::string& prompt, int count) {
  auto model_params = llama_model_default_params();
  model_params.n_gpu_layers = 0;
  const ModelHandle model(llama_model_load_from_file(model_path(), model_params));
  auto params = llama_context_default_params();
  params.n_ctx = 1024;
  params.n_batch = params.n_ubatch = 512;
  params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_ENABLED;
  params.n_threads = params.n_threads_batch =
      static_cast<std::int32_t>(std::max(1U, std::thread::hardware_concurrency()));
  const ContextHandle context(llama_init_from_model(model.get(), params));
  const Vocabulary vocabulary(llama_model_get_vocab(model.get()));
  auto next = vocabulary.tokenize(prompt, true, true).value();
  std::vector<Token> answer;
  while (true) {
    if (llama_decode(context.get(),
                     llama_batch_get_one(next.data(), static_cast<int>(next.size()))))
      return {};
    const float* const row = llama_get_logits_ith(context.get(), -1);
    const auto token = static_cast<Token>(std::max_element(row, row + vocabulary.size()) - row);
    if (vocabulary.ends_generation(token)) return answer;
    answer.push_back(token);
    if (static_cast<int>(answer.size()) == count) return answer;
    next = {token};
  }
}

TEST_F(EngineOnRealWeights, SaysWhatAPlainGreedyLoopSays) {
  const auto engine = load(1);
  for (const char* prompt : {"The capital of France is", "def fibonacci(n):", "Once upon a time",
                             "1, 2, 3, 4,", "Water boils at"}) {
    auto job = greedy(prompt, 24);
    job.cache_scope = prompt;  // no prefix of another prompt, so the chunk borders are equal
    Talk talk(*engine, job);
    ASSERT_TRUE(talk.read());
    EXPECT_EQ(talk.ids, plain_greedy(prompt, 24)) << prompt;
  }
}

// clause: W-64
TEST_F(EngineOnRealWeights, GuessesWithoutChangingAnAnswer) {
  const auto guessing = load(2);
  const auto plain = load(2, {.draft_tokens = 0});
  std::vector<JobRequest> jobs;
  jobs.push_back(greedy("Months: January, February, March, January, February, March,", 150));
  jobs.push_back(greedy("1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6, 1, 2, 3,", 150));
  jobs.back().sampling = {.temperature = 0.7, .seed = 5};
  jobs.push_back(chat("Say the word 'yes' ten times.", 150));
  jobs.back().stop = {"yes, yes, yes, yes"};
  for (auto& job : jobs) {
    job.cache_scope = job.id.value;
    Talk guessed(*guessing, job);
    ASSERT_TRUE(guessed.read());
    Talk expected(*plain, job);
    ASSERT_TRUE(expected.read());
    EXPECT_EQ(guessed.ids, expected.ids) << job.id.value;
    EXPECT_EQ(guessed.text, expected.text);
    EXPECT_EQ(guessed.ended->reason, expected.ended->reason);
    // What was guessed wrong has left nothing in the cells: the answer as a prefix is as computed.
    auto further = job;
    further.resume_tokens = guessed.ids;
    further.max_tokens = *job.max_tokens + 8;
    further.stop.clear();
    Talk on(*guessing, further);
    ASSERT_TRUE(on.read());
    Talk fresh(*plain, further);
    ASSERT_TRUE(fresh.read());
    EXPECT_EQ(on.ids, fresh.ids);
  }
  EXPECT_GT(guessing->load().draft_hit_tokens_total, 0U) << "else nothing was tried";
  EXPECT_EQ(plain->load().draft_tokens_total, 0U);
}

// Jobs of 12 and of 80 tokens in turn: the long ones then stand in slots 1 and 3.
TEST_F(EngineOnRealWeights, ClosesGapsBetweenJobsWithoutChangingThem) {
  const auto engine = load(4, {.draft_tokens = 0});
  std::vector<std::unique_ptr<Talk>> talks;
  for (const std::uint64_t tokens : {12, 80, 12, 80}) {
    auto job = greedy("Story " + std::to_string(talks.size()) + ": once upon a time", tokens);
    job.ignore_eos = true;
    talks.push_back(std::make_unique<Talk>(*engine, job));
  }
  for (const auto& talk : talks) ASSERT_TRUE(talk->read());
  auto alone = greedy("Story 3: once upon a time", 80);
  alone.ignore_eos = true;
  alone.cache_scope = "else";
  Talk expected(*engine, alone);
  ASSERT_TRUE(expected.read());
  EXPECT_EQ(talks[3]->ids, expected.ids);
  // Its prompt lies where it was moved to, and nowhere else.
  Talk again(*engine, greedy("Story 3: once upon a time" + talks[3]->text, 4));
  ASSERT_TRUE(again.read());
  EXPECT_GT(again.started->cached_tokens, 60);
}

// clause: W-65
TEST_F(EngineOnRealWeights, TracesItsStepsIntoANewFile) {
  const auto path = testing::TempDir() + "steps" + std::to_string(getpid()) + ".json";
  {
    const auto engine = load(1, {.trace_path = path});
    Talk talk(*engine, greedy("Once upon a time", 8));
    ASSERT_TRUE(talk.read());
  }
  std::ifstream file(path);
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  EXPECT_TRUE(text.starts_with("[\n")) << text;
  EXPECT_TRUE(text.ends_with("\n]\n")) << text;
  for (const char* part : {"\"decode_rows\":1", "\"prefill_tokens\":4", "\"name\":\"sample\"",
                           "\"name\":\"answer\"", "\"tokens_out\":8"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part;
  }
  const auto again =
      load_llama_engine({.model_path = model_path(), .trace_path = path}, [](double) {});
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, Code::conflict);
  std::remove(path.c_str());
}

// clause: W-26, W-27
TEST_F(EngineOnRealWeights, RepeatsADeterministicJobAloneCrowdedAndResumed) {
  const auto engine = load(8);
  auto job = chat("Tell me a story about a dragon.", 40);
  job.deterministic = true;
  job.sampling.temperature = 0.9;
  job.sampling.seed = 11;
  Talk alone(*engine, job);
  ASSERT_TRUE(alone.read());
  ASSERT_GT(alone.ids.size(), 10u);

  std::vector<std::unique_ptr<Talk>> crowd;
  for (int i = 0; i < 7; ++i) {
    crowd.push_back(std::make_unique<Talk>(*engine, chat("Count from " + std::to_string(i), 60)));
  }
  Talk beside(*engine, job);
  ASSERT_TRUE(beside.read());
  EXPECT_EQ(beside.ids, alone.ids);
  EXPECT_EQ(beside.text, alone.text);
  for (auto& other : crowd) ASSERT_TRUE(other->read());

  for (const std::size_t cut : {std::size_t{1}, std::size_t{7}, alone.ids.size() - 1}) {
    auto rest = job;
    rest.resume_tokens.assign(alone.ids.begin(), alone.ids.begin() + static_cast<long>(cut));
    Talk resumed(*engine, rest);
    ASSERT_TRUE(resumed.read());
    EXPECT_EQ(resumed.first_index, static_cast<std::int64_t>(cut));
    auto whole = rest.resume_tokens;
    whole.insert(whole.end(), resumed.ids.begin(), resumed.ids.end());
    EXPECT_EQ(whole, alone.ids) << "cut at " << cut;
    EXPECT_EQ(resumed.started->resumed_text + resumed.text, alone.text);
  }
}

// Symptom: a worker lost between the last token and the end could not be resumed.
// clause: W-27
TEST_F(EngineOnRealWeights, EndsAtOnceWhenTheResumedTokensAreTheWholeAnswer) {
  const auto engine = load(1);
  auto job = greedy("Once upon a time", 12);
  job.ignore_eos = true;
  Talk whole(*engine, job);
  ASSERT_TRUE(whole.read());
  ASSERT_EQ(whole.ids.size(), 12u);
  job.resume_tokens = whole.ids;
  Talk rest(*engine, job);
  ASSERT_TRUE(rest.read());
  ASSERT_TRUE(rest.ended) << rest.error->message;
  EXPECT_TRUE(rest.ids.empty());
  EXPECT_EQ(rest.ended->reason, StopReason::MAX_TOKENS);
  EXPECT_EQ(rest.ended->tokens_out, 12);
  EXPECT_EQ(rest.started->resumed_text + rest.text, whole.text);

  job.resume_tokens.push_back(whole.ids.front());
  Talk past(*engine, job);
  ASSERT_TRUE(past.read());
  ASSERT_TRUE(past.error);
  EXPECT_EQ(past.error->code, Code::invalid_request);
  ASSERT_EQ(past.error->violations.size(), 1u);
  EXPECT_EQ(past.error->violations.front().field, "resume_tokens");
}

// clause: W-26
TEST_F(EngineOnRealWeights, LeavesNoPrefixOfADeterministicJobToOthers) {
  const auto engine = load(1);
  const std::string prompt =
      "The quick brown fox jumps over the lazy dog and then it goes on and "
      "on through the forest until the river stops it.";
  auto job = greedy(prompt, 4);
  job.deterministic = true;
  Talk first(*engine, job);
  ASSERT_TRUE(first.read());
  Talk second(*engine, greedy(prompt, 4));
  ASSERT_TRUE(second.read());
  EXPECT_EQ(second.started->cached_tokens, 0);
  Talk third(*engine, greedy(prompt, 4));
  ASSERT_TRUE(third.read());
  EXPECT_GT(third.started->cached_tokens, 16) << "the check above must be able to fail";
}

// Symptom: the end of a cancelled job counted a token that a full outbox had refused.
// clause: W-22
TEST_F(EngineOnRealWeights, CountsNoTokenThatAParkedSlotNeverSent) {
  const auto engine = load(1);
  auto job = greedy("Count: 1, 2, 3,", 800);
  job.ignore_eos = true;
  const auto box = std::make_shared<Outbox>();
  engine->submit(job, box);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds{60};
  auto parked_at = std::uint64_t{0};
  for (int still = 0; still < 20; ++still) {  // the engine makes no step any more: it is parked
    ASSERT_LT(std::chrono::steady_clock::now(), deadline);
    std::this_thread::sleep_for(std::chrono::milliseconds{20});
    const auto load = engine->load();
    if (load.slots_busy == 0 || load.engine_step != parked_at) still = 0;
    parked_at = load.engine_step;
  }
  engine->cancel(box);
  std::int64_t tokens = 0;
  std::optional<Ended> ended;
  std::vector<JobEvent> events;
  while (!ended) {
    ASSERT_LT(std::chrono::steady_clock::now(), deadline);
    box->take(events);
    for (const auto& event : events) {
      if (std::holds_alternative<TokenOut>(event)) ++tokens;
      if (const auto* end = std::get_if<Ended>(&event)) ended = *end;
    }
  }
  EXPECT_EQ(ended->tokens_out, tokens);
}

// clause: W-25
TEST_F(EngineOnRealWeights, FreesEverySlotAfterRandomCancels) {
  const auto engine = load(4);
  std::mt19937 random(3);
  std::vector<std::unique_ptr<Talk>> talks;
  for (int i = 0; i < 60; ++i) {
    auto job = chat(std::string(1 + random() % 300, 'x') + std::to_string(i), 50);
    job.ignore_eos = true;
    talks.push_back(std::make_unique<Talk>(*engine, job));
    if (i % 3 == 0) {
      ASSERT_TRUE(talks.back()->read(random() % 3));  // some are decoding by now
      talks.back()->cancel();
    } else if (i % 2 == 0) {
      talks[random() % talks.size()]->cancel();  // queued, prefilling, decoding or over
    }
  }
  for (auto& talk : talks) {
    talk->cancel();
    talk->cancel();  // idempotent
  }
  for (auto& talk : talks) {
    ASSERT_TRUE(talk->read());
    ASSERT_TRUE(talk->ended);
  }
  Talk after(*engine, chat("Hello", 4));
  ASSERT_TRUE(after.read());
  EXPECT_EQ(after.ids.size(), 4u);
  // The snapshot may be one step old when the last event arrives.
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds{10};
  while (engine->load().slots_busy > 0 && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::yield();
  }
  EXPECT_EQ(engine->load().slots_busy, 0);
  EXPECT_EQ(engine->load().queue_depth, 0);
}

// clause: W-23, W-29
TEST_F(EngineOnRealWeights, ObeysSchemasStopStringsAndLengths) {
  const auto engine = load(1);
  auto schema = chat("Give me a person as JSON.", 80);
  schema.format = {.kind = OutputFormat::Kind::json_schema,
                   .source = R"({"type":"object","properties":{"age":{"type":"integer"}},)"
                             R"("required":["age"],"additionalProperties":false})"};
  Talk json(*engine, schema);
  ASSERT_TRUE(json.read());
  ASSERT_TRUE(json.ended) << json.error->message;
  EXPECT_EQ(json.ended->reason, StopReason::EOS);
  EXPECT_NE(json.text.find("\"age\""), std::string::npos) << json.text;

  Talk whole(*engine, greedy("a b c d e f g", 20));
  ASSERT_TRUE(whole.read());
  ASSERT_GT(whole.text.size(), 8u);
  auto cut = greedy("a b c d e f g", 20);
  cut.stop = {whole.text.substr(3, 4)};
  Talk stopped(*engine, cut);
  ASSERT_TRUE(stopped.read());
  EXPECT_EQ(stopped.ended->reason, StopReason::STOP_SEQUENCE);
  EXPECT_EQ(stopped.ended->stop_sequence, cut.stop.front());
  EXPECT_EQ(stopped.text, whole.text.substr(0, whole.text.find(cut.stop.front())));

  Talk long_prompt(*engine, greedy(std::string(8000, 'z') + " word word", 5));
  Talk too_long(*engine, greedy(
                             [] {
                               std::string text;
                               for (int i = 0; i < 2000; ++i) text += " word";
                               return text;
                             }(),
                             5));
  ASSERT_TRUE(too_long.read());
  ASSERT_TRUE(too_long.error);
  EXPECT_EQ(too_long.error->code, Code::context_length_exceeded);
  ASSERT_TRUE(long_prompt.read());
}

// clause: W-29
TEST_F(EngineOnRealWeights, RefusesABadGrammarWithAReason) {
  const auto engine = load(1);
  auto job = chat("hi", 5);
  job.format = {.kind = OutputFormat::Kind::grammar, .source = "root ::= (("};
  Talk talk(*engine, job);
  ASSERT_TRUE(talk.read());
  ASSERT_TRUE(talk.error);
  EXPECT_EQ(talk.error->code, Code::invalid_request);
  ASSERT_EQ(talk.error->violations.size(), 1u);
  EXPECT_EQ(talk.error->violations.front().field, "grammar");
}

TEST_F(EngineOnRealWeights, ReusesAPrefixOfTheSameScopeOnly) {
  const auto engine = load(2);
  const std::string prefix(400, 'q');
  Talk first(*engine, greedy(prefix + " one", 2));
  ASSERT_TRUE(first.read());
  Talk same(*engine, greedy(prefix + " two", 2));
  ASSERT_TRUE(same.read());
  EXPECT_GT(same.started->cached_tokens, 16);
  auto other = greedy(prefix + " three", 2);
  other.cache_scope = "tenant-b";
  Talk foreign(*engine, other);
  ASSERT_TRUE(foreign.read());
  EXPECT_EQ(foreign.started->cached_tokens, 0);
}

// clause: W-36
TEST_F(EngineOnRealWeights, ReadsTypedControlTokensAsText) {
  const auto engine = load(1);
  Talk plain(*engine, chat("abc", 1));
  ASSERT_TRUE(plain.read());
  Talk typed(*engine, chat("abc<|im_end|>", 1));
  ASSERT_TRUE(typed.read());
  EXPECT_GT(typed.started->prompt_tokens, plain.started->prompt_tokens + 2)
      << "one control token would add one token";
}

// clause: W-37
TEST_F(EngineOnRealWeights, MakesUnitVectorsForEmbeddings) {
  const auto engine = load(1);
  std::mutex done;
  done.lock();
  Result<Embeddings> made;
  engine->embed({.inputs = {"a cat", "a kitten", "stock market"}, .dimensions = {}}, {},
                [&](auto got) {
                  made = std::move(got);
                  done.unlock();
                });
  done.lock();
  done.unlock();
  ASSERT_TRUE(made) << made.error().message;
  ASSERT_EQ(made->vectors.size(), 3u);
  const auto dot = [&](int a, int b) {
    double sum = 0;
    for (std::size_t i = 0; i < made->vectors[0].size(); ++i) {
      sum += static_cast<double>(made->vectors[static_cast<std::size_t>(a)][i]) *
             made->vectors[static_cast<std::size_t>(b)][i];
    }
    return sum;
  };
  EXPECT_NEAR(dot(0, 0), 1.0, 1e-4);
  EXPECT_GT(dot(0, 1), dot(0, 2));
}

// clause: E-3
TEST_F(EngineOnRealWeights, NamesTheFieldOfWhatItRefusesBesideItsJobs) {
  const auto engine = load(1);
  const auto embedding_error = [&](EmbeddingRequest request) {
    std::promise<Error> refused;
    engine->embed(std::move(request), {},
                  [&](auto got) { refused.set_value(got ? Error{} : got.error()); });
    return refused.get_future().get();
  };
  const auto field_of = [](const Error& error) {
    return error.violations.empty() ? "none" : error.violations.front().field;
  };
  EXPECT_EQ(field_of(embedding_error({.inputs = {"a"}, .dimensions = 1'000'000})), "dimensions");
  std::string longest;
  for (int i = 0; i < 3'000; ++i) longest += " word";
  const auto too_long = embedding_error({.inputs = {"a", longest}, .dimensions = {}});
  EXPECT_EQ(too_long.code, Code::context_length_exceeded);
  EXPECT_EQ(field_of(too_long), "input[1]");
  std::promise<Error> refused;
  engine->detokenize({1 << 30}, [&](auto got) { refused.set_value(got ? Error{} : got.error()); });
  EXPECT_EQ(field_of(refused.get_future().get()), "tokens");
}

TEST_F(EngineOnRealWeights, StopsEmbeddingForAClientThatLeft) {
  const auto engine = load(1);
  std::stop_source left;
  left.request_stop();
  std::promise<Code> answered;
  engine->embed({.inputs = {"a cat"}, .dimensions = {}}, left.get_token(),
                [&](auto got) { answered.set_value(got ? Code::internal : got.error().code); });
  EXPECT_EQ(answered.get_future().get(), Code::cancelled);
}

}  // namespace
}  // namespace llorch
