#include "engine/llama_engine.h"

#include <atomic>
#include <condition_variable>
#include <exception>
#include <filesystem>
#include <mutex>
#include <optional>
#include <sys/resource.h>
#include <thread>
#include <utility>
#include <variant>

#include "base/limits.h"
#include "base/log.h"
#include "engine/embedder.h"
#include "engine/engine_core.h"
#include "engine/kv_disk.h"
#include "engine/kv_fingerprint.h"
#include "engine/memory_commit.h"
#include "engine/task_thread.h"
#include "sys/file_system.h"
#include "sys/host.h"

namespace llorch {
namespace {

constexpr int compute_nice =
    5;  // the network thread preempts us, a busy desktop does not starve us
constexpr auto snapshot_every = std::chrono::milliseconds{50};
constexpr auto memory_every = std::chrono::seconds{1};
constexpr auto for_ever = std::chrono::milliseconds::max();

struct Submit {
  std::shared_ptr<Run> run;
};
struct Prepared {
  std::shared_ptr<Run> run;
  Result<std::unique_ptr<ReadyRun>> ready;
};
struct Cancel {
  std::shared_ptr<Outbox> outbox;
};
struct Arrived {
  std::string file;
  std::shared_ptr<const KvSnapshot> snapshot;
};
using Post = std::variant<Submit, Prepared, Cancel, Arrived>;

class LlamaEngine final : public Engine {
 public:
  LlamaEngine(LoadedModel loaded, const CoreOptions& options, std::optional<KvFolderOptions> folder,
              std::unique_ptr<StepTrace> trace)
      : loaded_(std::move(loaded)),
        embedder_(loaded_),
        disk_(open_disk(std::move(folder))),
        prepare_("prepare", limits::prepare_stack_bytes),
        // Some models' rules of splitting recurse for each character.
        tokenize_("tokenize", limits::prepare_stack_bytes),
        embed_("embed", limits::prepare_stack_bytes),
        engine_([this, options, trace = std::move(trace)]() mutable {
          run(options, std::move(trace));
        }) {}

  ~LlamaEngine() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake();
    ending_.request_stop();
    engine_.join();
  }

  const ModelCard& card() const override { return loaded_.card; }

  EngineLoad load() const override {
    const std::lock_guard lock(load_mutex_);
    const auto now = std::chrono::steady_clock::now();
    if (now - memory_read_ >= memory_every) {
      memory_read_ = now;
      memory_free_bytes_ = free_memory();
    }
    auto load = load_;
    load.memory_free_bytes = memory_free_bytes_;
    if (load.waiting_since) load.waiting_ms_total += elapsed_ms(*load.waiting_since, now);
    if (!disk_) return load;
    const auto restored = load.kv_disk.restored_total;
    load.kv_disk = disk_->load();
    load.kv_disk.restored_total = restored;
    return load;
  }

  void submit(JobRequest job, std::shared_ptr<Outbox> outbox) override {
    auto run = std::make_shared<Run>(std::move(job), std::move(outbox));
    run->outbox->on_room([this] { wake(); });
    post(Submit{run});
    // Weak: a run cancelled meanwhile costs neither its preparation nor its memory.
    prepare_.post([this, waiting = std::weak_ptr(run)] {
      const auto asked = waiting.lock();
      if (!asked) return;
      const PrepareContext context{*loaded_.vocabulary, *loaded_.chat, loaded_.card};
      post(Prepared{asked, safely<std::unique_ptr<ReadyRun>>("the job could not be prepared", [&] {
                      return make_ready(asked->request, context);
                    })});
    });
  }

  void cancel(const std::shared_ptr<Outbox>& outbox) override { post(Cancel{outbox}); }

  void tokenize(std::string text, bool special, bool add_bos, Reply<Tokenized> reply) override {
    tokenize_.post([this, text = std::move(text), special, add_bos, reply = std::move(reply)] {
      reply(safely<Tokenized>("the text could not be tokenized", [&]() -> Result<Tokenized> {
        auto tokens = loaded_.vocabulary->tokenize(text, special, add_bos);
        if (!tokens) return fail(tokens.error());
        Tokenized out{.tokens = std::move(*tokens), .pieces = {}};
        for (const auto token : out.tokens) {
          out.pieces.push_back(loaded_.vocabulary->piece(token, true));
        }
        return out;
      }));
    });
  }

  void detokenize(std::vector<Token> tokens, Reply<std::string> reply) override {
    tokenize_.post([this, tokens = std::move(tokens), reply = std::move(reply)] {
      for (const auto token : tokens) {
        if (!loaded_.vocabulary->contains(token)) {
          return reply(fail_field(
              {.field = "tokens",
               .constraint = "token ids of this model",
               .message = "token id " + std::to_string(token) + " is not in the vocabulary"}));
        }
      }
      reply(loaded_.vocabulary->text_of(tokens));
    });
  }

  void embed(EmbeddingRequest request, std::stop_token stop, Reply<Embeddings> reply) override {
    embed_.post(
        [this, request = std::move(request), stop = std::move(stop), reply = std::move(reply)] {
          lower_priority();
          const auto left = [&] { return stop.stop_requested() || ending_.stop_requested(); };
          reply(safely<Embeddings>("the input could not be embedded",
                                   [&] { return embedder_.embed(request, left); }));
        });
  }

 private:
  // llama.cpp's library throws of its own kinds. Shape: work() → Result<T>.
  template <typename T, typename Work>
  static Result<T> safely(const char* what, Work&& work) {
    try {
      return work();
    } catch (const std::exception& thrown) {
      return fail(Code::internal, std::string(what) + ": " + thrown.what());
    }
  }

  std::unique_ptr<KvDisk> open_disk(std::optional<KvFolderOptions> folder) {
    if (!folder) return nullptr;
    return std::make_unique<KvDisk>(
        make_file_system(), std::move(*folder),
        [this](const std::string& file, std::shared_ptr<const KvSnapshot> snapshot) {
          post(Arrived{file, std::move(snapshot)});
        });
  }

  std::int64_t free_memory() const {
    if (loaded_.card.backend == "cpu") {
      return static_cast<std::int64_t>(read_host_facts().memory_available_bytes);
    }
    std::size_t free_bytes = 0;
    std::size_t total_bytes = 0;
    ggml_backend_dev_memory(loaded_.device, &free_bytes, &total_bytes);
    return static_cast<std::int64_t>(free_bytes);
  }

  void post(Post message) {
    {
      const std::lock_guard lock(mutex_);
      inbox_.push_back(std::move(message));
    }
    posted_.notify_one();
  }

  void wake() {
    {
      const std::lock_guard lock(mutex_);
      woken_ = true;
    }
    posted_.notify_one();
  }

  // Takes what is posted; waits for it at most `wait`. False when the engine is to stop.
  bool take_posts(std::chrono::milliseconds wait, std::vector<Post>& posts) {
    std::unique_lock lock(mutex_);
    const auto some = [&] { return stopping_ || woken_ || !inbox_.empty(); };
    if (wait > wait.zero() && wait < for_ever) posted_.wait_for(lock, wait, some);
    if (wait == for_ever) posted_.wait(lock, some);
    woken_ = false;
    posts.swap(inbox_);
    return !stopping_;
  }

  static void apply(EngineCore& core, std::vector<Post>& posts) {
    for (auto& message : posts) {
      if (auto* submit = std::get_if<Submit>(&message)) core.add(std::move(submit->run));
      if (auto* done = std::get_if<Prepared>(&message)) {
        core.prepared(done->run, std::move(done->ready));
      }
      if (auto* cancel = std::get_if<Cancel>(&message)) core.cancel(cancel->outbox);
      if (auto* read = std::get_if<Arrived>(&message)) core.arrived(read->file, read->snapshot);
    }
    posts.clear();
  }

  void publish(const EngineCore& core) {
    auto load = core.snapshot();
    const std::lock_guard lock(load_mutex_);
    load_ = std::move(load);
  }

  // Of the calling thread and, on Linux, of the threads it starts.
  static void lower_priority() {
#ifdef __linux__
    setpriority(PRIO_PROCESS, 0, compute_nice);
#endif
  }

  ThreadPoolHandle start_compute_threads() const {
    lower_priority();
    if (loaded_.card.backend != "cpu" || !loaded_.context) return nullptr;
    auto pool = start_threads(loaded_.threads);
    if (pool) llama_attach_threadpool(loaded_.context.get(), pool.get(), nullptr);
    return pool;
  }

  void run(const CoreOptions& options, std::unique_ptr<StepTrace> trace) {
    const auto pool = start_compute_threads();
    auto with_disk = options;
    with_disk.kv.disk = disk_.get();
    EngineCore core(loaded_, with_disk, [&] { publish(core); }, std::move(trace));
    std::vector<Post> posts;
    auto published = std::chrono::steady_clock::time_point{};
    for (std::chrono::milliseconds wait{0}; take_posts(wait, posts);) {
      const bool changed = !posts.empty();
      apply(core, posts);
      if (core.has_jobs()) commit_.allow(false);
      const bool idle = !core.step();
      if (!core.has_jobs()) commit_.allow(true);
      wait = !idle                ? std::chrono::milliseconds{0}
             : core.has_pending() ? std::chrono::milliseconds{limits::kv_idle_ms}
                                  : for_ever;
      const auto now = std::chrono::steady_clock::now();
      if (idle || changed || now - published >= snapshot_every) {
        published = now;
        publish(core);
      }
    }
    apply(core, posts);
    core.finish();
    publish(core);
    if (pool) llama_detach_threadpool(loaded_.context.get());
  }

  const LoadedModel loaded_;
  MemoryCommit commit_;  // of that model's cells
  Embedder embedder_;

  std::mutex mutex_;
  std::condition_variable posted_;
  std::vector<Post> inbox_;
  bool stopping_ = false;
  bool woken_ = false;

  mutable std::mutex load_mutex_;
  EngineLoad load_;
  mutable std::chrono::steady_clock::time_point memory_read_;
  mutable std::int64_t memory_free_bytes_ = 0;

  const std::unique_ptr<KvDisk> disk_;  // posts to the inbox, serves the engine thread
  std::stop_source ending_;
  TaskThread prepare_;
  TaskThread tokenize_;  // a text of 8 MiB must not delay the jobs that are prepared
  TaskThread embed_;
  std::thread engine_;  // last: it uses all of the above
};

// One token through the model: the weights' pages are there when the first job comes.
void warm_up(const LoadedModel& loaded) {
  if (!loaded.context) return;
  Batch batch(1);
  batch.add(0, 0, 0, true);
  if (llama_decode(loaded.context.get(), batch.get()) == 0) {
    llama_synchronize(loaded.context.get());
  }
  llama_memory_clear(llama_get_memory(loaded.context.get()), false);
}

std::uint64_t snapshot_bytes_max(const EngineOptions& options) {
  const auto wanted = static_cast<std::uint64_t>(options.kv_ram_mib) * limits::mib;
  return std::min(wanted, read_host_facts().memory_available_bytes / limits::kv_ram_share);
}

Result<std::optional<KvFolderOptions>> kv_folder_of(const EngineOptions& options,
                                                    const LoadedModel& loaded) {
  if (!options.keeps_on_disk() || !loaded.context) return std::nullopt;
  if (!cells_can_move(loaded.model.get())) {
    log_event(LogLevel::warn, "engine", "kv_dir_unused",
              {{"why", "this model's cells cannot be put back (sliding window or recurrent)"}});
    return std::nullopt;
  }
  const auto files = make_file_system();
  auto fingerprint = kv_fingerprint(*files, options, loaded);
  if (!fingerprint) return fail(fingerprint.error());
  return KvFolderOptions{.path = std::filesystem::absolute(options.kv_dir),
                         .bytes_max = static_cast<std::uint64_t>(options.kv_disk_mib) * limits::mib,
                         .fingerprint = std::move(*fingerprint)};
}

}  // namespace

Result<std::unique_ptr<Engine>> load_llama_engine(const EngineOptions& options,
                                                  const std::function<void(double)>& progress) {
  try {
    std::unique_ptr<StepTrace> trace;
    if (!options.trace_path.empty()) {
      auto opened = StepTrace::open(options.trace_path);
      if (!opened) return fail(opened.error());
      trace = std::move(*opened);
    }
    if (options.keeps_on_disk()) {
      const auto files = make_file_system();
      if (auto ready = prepare_kv_folder(*files, options.kv_dir); !ready) {
        return fail(ready.error());
      }
    }
    auto loaded = load_model(options, progress);
    if (!loaded) return fail(loaded.error());
    auto folder = kv_folder_of(options, *loaded);
    if (!folder) return fail(folder.error());
    warm_up(*loaded);
    const CoreOptions core{.itl_target_ms = options.itl_target_ms,
                           .draft_tokens = options.draft_tokens,
                           .kv = {.snapshot_bytes_max = snapshot_bytes_max(options)}};
    return std::make_unique<LlamaEngine>(std::move(*loaded), core, std::move(*folder),
                                         std::move(trace));
  } catch (const std::exception& thrown) {
    return fail(Code::model_load_failed, "model file " + options.model_path + ": " + thrown.what());
  }
}

}  // namespace llorch
