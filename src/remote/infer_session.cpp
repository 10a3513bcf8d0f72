#include "remote/infer_session.h"

#include <fmt/format.h>
#include <utility>

#include "protocol/json_text.h"

namespace llorch {

InferSession::InferSession(std::string job_id, SteadyTime sent) : sent_(sent) {
  figures_.job_id = std::move(job_id);
}

Result<std::string> InferSession::take(const JobStreamEvent& event, SteadyTime now) {
  figures_.total_ms = elapsed_ms(sent_, now);
  if (const auto* started = std::get_if<StartedEvent>(&event)) {
    figures_.model = started->model;
    figures_.seed = started->seed;
    figures_.prompt_tokens = started->prompt_tokens;
    figures_.cached_tokens = started->cached_tokens;
    progress_ = {.phase = MetricsEvent::Phase::prefill, .prompt_total = started->prompt_tokens};
  } else if (const auto* metrics = std::get_if<MetricsEvent>(&event)) {
    progress_ = *metrics;
  } else if (const auto* token = std::get_if<TokenEvent>(&event)) {
    if (token->i < figures_.tokens_out) return std::string{};
    if (token->i > figures_.tokens_out) {
      return fail(Code::internal, fmt::format("the stream lost a token: number {} came after {}",
                                              token->i, figures_.tokens_out));
    }
    if (!figures_.ttft_ms) figures_.ttft_ms = figures_.total_ms;
    ++figures_.tokens_out;
    figures_.text += token->t;
    return token->t;
  } else if (const auto* end = std::get_if<EndEvent>(&event)) {
    figures_.tokens_out = end->tokens_out;
    figures_.stop_reason = end->stop_reason;
    figures_.stop_sequence_matched = end->stop_sequence_matched;
    figures_.prefill_ms = end->prefill_ms;
    figures_.decode_time_ms = end->decode_time_ms;
    figures_.text += end->t;
    return end->t;
  } else if (const auto* failed = std::get_if<ErrorEvent>(&event)) {
    figures_.error = failed->error;
  }
  return std::string{};
}

void InferSession::broke(Error error, SteadyTime now) {
  figures_.total_ms = elapsed_ms(sent_, now);
  figures_.error = std::move(error);
}

bool InferSession::ended() const {
  return figures_.stop_reason || figures_.error;
}

std::string InferSession::waiting_for() const {
  if (progress_.phase == MetricsEvent::Phase::queued) return "waiting for a free slot";
  if (progress_.prompt_done == 0 || progress_.prompt_total == 0) return "reading the prompt";
  return fmt::format("reading the prompt {}/{}", progress_.prompt_done, progress_.prompt_total);
}

Result<void> InferSession::verdict() const {
  if (figures_.error) return fail(*figures_.error);
  if (!figures_.stop_reason) {
    return fail(
        Code::unreachable,
        fmt::format("the stream ended before the job did, after {} tokens", figures_.tokens_out),
        "run the same command again");
  }
  if (*figures_.stop_reason == StopReason::CANCELLED) {
    return fail(Code::cancelled, "job " + figures_.job_id + ": someone cancelled it");
  }
  return {};
}

double tokens_per_second(const InferFigures& figures) {
  if (figures.decode_time_ms > 0) {
    return static_cast<double>(figures.tokens_out) * 1000 / figures.decode_time_ms;
  }
  const double streamed_ms = figures.total_ms - figures.ttft_ms.value_or(figures.total_ms);
  if (streamed_ms <= 0 || figures.tokens_out < 2) return 0;
  return static_cast<double>(figures.tokens_out - 1) * 1000 / streamed_ms;
}

std::string statistics_line(const InferFigures& figures) {
  auto line = fmt::format("{} token{}", figures.tokens_out, figures.tokens_out == 1 ? "" : "s");
  if (figures.ttft_ms) line += fmt::format(", TTFT {:.0f} ms", *figures.ttft_ms);
  if (const double rate = tokens_per_second(figures); rate > 0) {
    line += fmt::format(", {:.1f} tok/s", rate);
  }
  if (figures.stop_reason) line += fmt::format(", stop {}", wire_name(*figures.stop_reason));
  return line;
}

std::string infer_json(const InferFigures& figures) {
  std::string out;
  JsonObjectWriter json(out);
  json.string("version", "1.0").string("job_id", figures.job_id).string("model", figures.model);
  json.string("text", figures.text).integer("tokens_out", figures.tokens_out);
  if (figures.stop_reason) {
    json.string("stop_reason", wire_name(*figures.stop_reason));
  } else {
    json.raw("stop_reason", "null");
  }
  if (!figures.stop_sequence_matched.empty()) {
    json.string("stop_sequence_matched", figures.stop_sequence_matched);
  }
  if (figures.seed) json.unsigned_integer("seed", *figures.seed);
  json.integer("prompt_tokens", figures.prompt_tokens);
  json.integer("cached_tokens", figures.cached_tokens);
  if (figures.ttft_ms) json.number("ttft_ms", *figures.ttft_ms);
  json.number("prefill_ms", figures.prefill_ms);
  json.number("decode_time_ms", figures.decode_time_ms).number("total_ms", figures.total_ms);
  json.number("tokens_per_second", tokens_per_second(figures));
  if (figures.error) {
    JsonObjectWriter error(json.key("error"));
    error.string("code", wire_name(figures.error->code)).string("message", figures.error->message);
    error.end();
  }
  json.end();
  return out;
}

std::string terminal_safe(std::string_view utf8) {
  std::string safe;
  safe.reserve(utf8.size());
  for (std::size_t at = 0; at < utf8.size(); ++at) {
    const auto byte = static_cast<unsigned char>(utf8[at]);
    const bool c1 = byte == 0xC2 && at + 1 < utf8.size() &&
                    static_cast<unsigned char>(utf8[at + 1]) < 0xA0;  // U+0080..U+009F
    if (c1) {
      ++at;
    } else if ((byte >= 0x20 && byte != 0x7F) || byte == '\n' || byte == '\t') {
      safe += utf8[at];
    }
  }
  return safe;
}

}  // namespace llorch
