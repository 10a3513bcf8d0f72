// Every decoder of an OpenAI body takes or refuses any bytes; what it takes is in range.
#include "base/limits.h"
#include "fuzz.h"
#include "protocol/openai_request.h"
#include "protocol/prefix_hash.h"

namespace {

void check(const llorch::Result<llorch::OpenAiRequest>& got) {
  using namespace llorch;
  if (!got) return fuzz::require(!got.error().violations.empty());
  const JobRequest& job = got->job;
  const auto in = [](const std::optional<double>& value, double min, double max) {
    fuzz::require(!value || (*value >= min && *value <= max));
  };
  in(job.sampling.temperature, 0, 2);
  in(job.sampling.top_p, 0, 1);
  in(job.sampling.min_p, 0, 1);
  in(job.sampling.repetition_penalty, 0, 2);
  in(job.sampling.presence_penalty, -2, 2);
  in(job.sampling.frequency_penalty, -2, 2);
  for (const auto& [token, bias] : job.sampling.logit_bias) {
    fuzz::require(token >= 0 && bias >= -100 && bias <= 100);
  }
  fuzz::require(job.stop.size() <= limits::stop_strings_max);
  for (const auto& stop : job.stop) {
    fuzz::require(!stop.empty() && stop.size() <= limits::stop_bytes_max);
  }
  fuzz::require(!job.max_tokens || *job.max_tokens > 0);
  fuzz::require(job.top_logprobs.value_or(0) <= limits::top_logprobs_max);
  fuzz::require(job.format.source.size() <= limits::schema_bytes_max);
  if (const auto* const chat = std::get_if<ChatPrompt>(&job.prompt)) {
    fuzz::require(!chat->messages.empty());
  }
  (void)prefix_chain("scope", "model", job.prompt);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace llorch;
  const auto body = fuzz::text_of(bytes, size);
  check(decode_chat_request(body));
  check(decode_completion_request(body));
  if (const auto got = decode_embedding_request(body)) {
    fuzz::require(!got->inputs.empty() && got->inputs.size() <= limits::embedding_inputs_max);
  }
  fuzz::tried(decode_tokenize_request(body));
  fuzz::tried(decode_detokenize_request(body));
  return 0;
}
