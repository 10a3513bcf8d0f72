#include "figures.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include "protocol/json_text.h"

namespace llorch::bench {
namespace {

double per_second(std::uint64_t count, double seconds) {
  return seconds > 0 ? static_cast<double>(count) / seconds : 0;
}

std::string percentiles(const Samples& samples) {
  std::string text;
  JsonObjectWriter out(text);
  out.unsigned_integer("count", samples.count()).number("p50", samples.percentile(50));
  out.number("p90", samples.percentile(90)).number("p99", samples.percentile(99));
  out.number("max", samples.max()).end();
  return text;
}

std::string line_of(std::string_view name, const Samples& samples) {
  if (samples.count() == 0) return {};
  return fmt::format("{:<22} p50 {:.1f}  p99 {:.1f}  max {:.1f} ms\n", name, samples.percentile(50),
                     samples.percentile(99), samples.max());
}

}  // namespace

void Samples::add(const Samples& others) {
  values_.insert(values_.end(), others.values_.begin(), others.values_.end());
}

double Samples::percentile(double percent) const {
  if (values_.empty()) return 0;
  std::vector<double> sorted = values_;
  const auto rank = std::ceil(percent / 100 * static_cast<double>(sorted.size()));
  const auto index = static_cast<std::ptrdiff_t>(std::max(rank, 1.0)) - 1;
  std::ranges::nth_element(sorted, sorted.begin() + index);
  return sorted[static_cast<std::size_t>(index)];
}

std::string to_json(const Figures& figures) {
  std::string text;
  JsonObjectWriter out(text);
  out.number("wall_s", figures.wall_s).number("client_cpu_s", figures.client_cpu_s);
  out.unsigned_integer("requests_ok", figures.requests_ok);
  out.unsigned_integer("prompt_tokens", figures.prompt_tokens);
  out.unsigned_integer("tokens_out", figures.tokens_out);
  out.number("tokens_per_s", per_second(figures.tokens_out, figures.wall_s));
  out.raw("ttft_ms", percentiles(figures.ttft_ms)).raw("gap_ms", percentiles(figures.gap_ms));
  out.raw("stream_tokens_per_s", percentiles(figures.stream_tokens_per_s));
  std::string errors;
  JsonObjectWriter kinds(errors);
  for (const auto& [kind, count] : figures.errors) kinds.unsigned_integer(kind, count);
  kinds.end();
  out.raw("errors", errors);
  if (figures.injected) {
    out.number("injected_ttft_ms", figures.injected_ttft_ms);
    out.unsigned_integer("injected_prompt_tokens", figures.injected_prompt_tokens);
    out.raw("quiet_gap_ms", percentiles(figures.quiet_gap_ms));
    out.raw("loaded_gap_ms", percentiles(figures.loaded_gap_ms));
  }
  out.end();
  return text;
}

std::string to_text(const Figures& figures) {
  std::string text = fmt::format(
      "{} requests ok in {:.2f} s, {} tokens out, {:.1f} tokens/s (client CPU {:.2f} s)\n",
      figures.requests_ok, figures.wall_s, figures.tokens_out,
      per_second(figures.tokens_out, figures.wall_s), figures.client_cpu_s);
  text += line_of("first token", figures.ttft_ms);
  text += line_of("gap between tokens", figures.gap_ms);
  if (figures.stream_tokens_per_s.count() > 0) {
    text += fmt::format("{:<22} p50 {:.1f} tokens/s\n", "one stream",
                        figures.stream_tokens_per_s.percentile(50));
  }
  if (figures.injected) {
    text += line_of("gap, quiet", figures.quiet_gap_ms);
    text += line_of("gap, beside the prompt", figures.loaded_gap_ms);
    text += fmt::format("{:<22} {:.1f} ms for {} tokens\n", "the prompt's first token",
                        figures.injected_ttft_ms, figures.injected_prompt_tokens);
  }
  for (const auto& [kind, count] : figures.errors) {
    text += fmt::format("failed: {} x {}\n", count, kind);
  }
  return text;
}

}  // namespace llorch::bench
