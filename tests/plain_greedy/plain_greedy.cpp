// llorch-plain-greedy: the shortest honest greedy loop over llama.cpp, to compare the engine with.
// Prints one JSON array of token ids a prompt. It shares no code with src/engine on purpose.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <llama.h>
#include <string>
#include <vector>

namespace {

struct Options {
  std::string model;
  std::string prompt_file;
  int tokens = 64;
  int chunk = 512;
  int context = 2048;
  int threads = 2;
  std::string flash_attn = "on";
};

std::vector<llama_token> tokenize(const llama_vocab* vocab, const std::string& text) {
  std::vector<llama_token> tokens(text.size() + 2);
  const auto count = llama_tokenize(vocab, text.data(), static_cast<int>(text.size()),
                                    tokens.data(), static_cast<int>(tokens.size()), true, true);
  tokens.resize(static_cast<std::size_t>(std::max(count, 0)));
  return tokens;
}

bool decode(llama_context* context, std::vector<llama_token>& tokens, std::size_t from,
            std::size_t to) {
  return llama_decode(context,
                      llama_batch_get_one(tokens.data() + from, static_cast<int>(to - from))) == 0;
}

llama_token likeliest(llama_context* context, int vocabulary) {
  const float* const row = llama_get_logits_ith(context, -1);
  return static_cast<llama_token>(std::max_element(row, row + vocabulary) - row);
}

int run(const Options& options) {
  llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
  auto model_params = llama_model_default_params();
  model_params.n_gpu_layers = 0;
  llama_model* const model = llama_model_load_from_file(options.model.c_str(), model_params);
  if (model == nullptr) return 1;
  auto params = llama_context_default_params();
  params.n_ctx = static_cast<unsigned>(options.context);
  params.n_batch = params.n_ubatch = static_cast<unsigned>(options.chunk);
  params.n_threads = params.n_threads_batch = options.threads;
  params.flash_attn_type =
      options.flash_attn == "on" ? LLAMA_FLASH_ATTN_TYPE_ENABLED : LLAMA_FLASH_ATTN_TYPE_DISABLED;
  llama_context* const context = llama_init_from_model(model, params);
  if (context == nullptr) return 1;
  const llama_vocab* const vocab = llama_model_get_vocab(model);

  std::ifstream file(options.prompt_file, std::ios::binary);
  const std::string prompt(std::istreambuf_iterator<char>(file), {});
  auto tokens = tokenize(vocab, prompt);
  const auto prompt_tokens = tokens.size();
  if (prompt_tokens == 0) return 1;
  // The last token by itself, as in the engine, which has it so whether the rest was cached or not.
  const auto chunk = static_cast<std::size_t>(options.chunk);
  const auto last = prompt_tokens - 1;
  for (std::size_t from = 0; from < last; from += chunk) {
    if (!decode(context, tokens, from, std::min(last, from + chunk))) return 1;
  }
  if (!decode(context, tokens, last, prompt_tokens)) return 1;
  for (int i = 0; i < options.tokens; ++i) {
    const auto next = likeliest(context, llama_vocab_n_tokens(vocab));
    if (llama_vocab_is_eog(vocab, next)) break;
    tokens.push_back(next);
    if (!decode(context, tokens, tokens.size() - 1, tokens.size())) return 1;
  }
  std::printf("[");
  for (auto i = prompt_tokens; i < tokens.size(); ++i) {
    std::printf("%s%d", i == prompt_tokens ? "" : ",", tokens[i]);
  }
  std::printf("]\n");
  llama_free(context);
  llama_model_free(model);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app{"A plain greedy loop over llama.cpp; prints the token ids of the answer as JSON."};
  app.add_option("model", options.model, "a GGUF file")->required();
  app.add_option("--prompt-file", options.prompt_file, "the bare prompt")->required();
  app.add_option("--n", options.tokens, "tokens to generate at most");
  app.add_option("--chunk", options.chunk, "tokens of one prefill step");
  app.add_option("--ctx", options.context, "context tokens");
  app.add_option("--threads", options.threads, "compute threads");
  app.add_option("--flash-attn", options.flash_attn, "on or off")
      ->check(CLI::IsMember({"on", "off"}));
  CLI11_PARSE(app, argc, argv);
  return run(options);
}
