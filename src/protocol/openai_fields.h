// An OpenAI body inside another one: what /execute reads under `openai.body`.
// Threads: any.
#pragma once

#include "protocol/field_reader.h"
#include "protocol/openai_request.h"

namespace llorch {

OpenAiRequest read_openai(OpenAiRoute route, FieldReader& fields, Violations& violations);

}  // namespace llorch
