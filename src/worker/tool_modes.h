// What llorch-candled does beside serving: requantise its model, measure it on a text or this
// machine with it. Each prints one JSON object (or a table) to stdout, progress to stderr, and
// gives the exit code. Threads: one; no server runs beside it.
#pragma once

#include <functional>
#include <string_view>

#include "engine/calibration.h"
#include "engine/perplexity.h"
#include "engine/requantize.h"
#include "worker/options.h"

namespace llorch {

using Requantizer = std::function<Result<Requantized>(FileSystem&, const RequantizeRequest&,
                                                      const std::function<void(double)>&)>;
using PerplexityMeter = std::function<Result<PerplexityReport>(
    const EngineOptions&, std::string_view text, const std::function<void(double)>&)>;
using Calibrator = std::function<Result<Calibration>(const EngineOptions&)>;

// {"type":"Q8_0","from":"Q4_1","out":"/…","source_bytes":…,"weights_bytes":…,"file_bytes":…,
//  "seconds":…}
int run_requantize(RequantizeModel command, const Settings& settings, const Requantizer& make);

// {"model":…,"text":…,"tokens":24064,"tokens_scored":11985,"perplexity":…,"stderr":…,
//  "tokens_per_second":…,"enough_for_a_verdict":true,"prefill_tokens_per_second":…,
//  "decode_tokens_per_second":…,"chunk_tokens":512,"chunk_loss":[…]}
int run_perplexity(MeasurePerplexity command, const Settings& settings,
                   const PerplexityMeter& measure);

// A table of what was tried, or {"model":…,"rows":[{"threads":2,"batch_tokens":512,
//  "flash_attention":true,"decode_ms":…,"prefill_ms_per_token":…,"chosen":true}]}
int run_calibration(CalibrateModel command, const Settings& settings, const Calibrator& calibrate);

}  // namespace llorch
