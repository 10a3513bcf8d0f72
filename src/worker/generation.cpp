#include "worker/generation.h"

namespace llorch {
namespace {

template <class T>
void fill(std::optional<T>& field, const std::optional<T>& setting, T otherwise) {
  if (!field) field = setting.value_or(otherwise);
}

}  // namespace

void fill_openai_sampling(SamplingFields& fields, const SamplingSettings& settings,
                          const SamplingDefaults& model) {
  fill(fields.temperature, settings.temperature, model.temperature);
  fill(fields.top_p, settings.top_p, model.top_p);
  fill(fields.min_p, settings.min_p, model.min_p);
  fill(fields.repetition_penalty, settings.repetition_penalty, model.repetition_penalty);
  fill(fields.presence_penalty, settings.presence_penalty, model.presence_penalty);
  fill(fields.frequency_penalty, settings.frequency_penalty, model.frequency_penalty);
  fill(fields.top_k, settings.top_k, model.top_k);
}

void fill_execute_sampling(SamplingFields& fields) {
  fill_openai_sampling(fields, SamplingSettings{}, SamplingDefaults{});
}

Result<void> check_generates(const ModelCard& card) {
  if (!card.embeddings_only) return {};
  Error error{.code = Code::invalid_request,
              .message = "this model only embeds; use /v1/embeddings"};
  error.violations = {{"model", "generates", "this model only embeds; use /v1/embeddings"}};
  return fail(std::move(error));
}

}  // namespace llorch
