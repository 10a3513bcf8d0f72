// llorch-render-chat: what the engine's ChatFormat makes of conversations, to compare with Jinja.
// Reads one OpenAI chat body a line, prints one JSON object a line: {"prompt":…} or {"error":…}.
#include <fstream>
#include <iostream>
#include <iterator>
#include <llama.h>
#include <string>

#include "engine/chat_format.h"
#include "engine/llama_handles.h"
#include "protocol/json_text.h"
#include "protocol/openai_request.h"

namespace {

using namespace llorch;

std::string render(const ChatFormat& format, const std::string& body) {
  std::string line;
  JsonObjectWriter out(line);
  const auto request = decode_chat_request(body);
  if (!request) {
    out.string("error", request.error().message).end();
    return line;
  }
  const auto rendered = format.render(std::get<ChatPrompt>(request->job.prompt), {});
  if (!rendered) {
    out.string("error", rendered.error().message).end();
    return line;
  }
  std::string special;  // only what is read with control tokens
  for (const auto& segment : rendered->segments) {
    if (segment.special) special += segment.text;
  }
  out.string("prompt", prompt::joined(rendered->segments)).string("special", special).end();
  return line;
}

int run(const char* model_path, const char* template_path) {
  llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
  llama_backend_init();
  auto params = llama_model_default_params();
  params.vocab_only = true;
  const ModelHandle model(llama_model_load_from_file(model_path, params));
  if (!model) return 1;
  const Vocabulary vocabulary(llama_model_get_vocab(model.get()));
  std::ifstream file(template_path, std::ios::binary);
  const std::string jinja(std::istreambuf_iterator<char>(file), {});
  if (jinja.empty()) {
    std::cerr << template_path << ": cannot be read\n";
    return 1;
  }
  const ChatFormat format(model.get(), vocabulary, jinja);
  if (format.source() != "gguf") {
    std::cerr << "the template is not used: " << format.refusal() << '\n';
    return 1;
  }
  for (std::string body; std::getline(std::cin, body);) std::cout << render(format, body) << '\n';
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 3) return run(argv[1], argv[2]);
  std::cerr << "usage: llorch-render-chat VOCABULARY.gguf TEMPLATE.jinja < bodies\n";
  return 2;
}
