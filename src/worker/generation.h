// What every route that generates text does to a decoded job before it runs. Pure.
// Threads: any.
#pragma once

#include "base/result.h"
#include "base/settings.h"
#include "engine/engine.h"
#include "protocol/job.h"

namespace llorch {

// Fills what a client of /v1 left open: from [models.ID], else the model's own defaults.
void fill_openai_sampling(SamplingFields& fields, const SamplingSettings& settings,
                          const SamplingDefaults& model);
// The same for /execute, whose defaults the contract fixes.
void fill_execute_sampling(SamplingFields& fields);

// Errors: invalid_request (the model only embeds).
Result<void> check_generates(const ModelCard& card);

}  // namespace llorch
