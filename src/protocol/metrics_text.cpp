#include "protocol/metrics_text.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <charconv>
#include <cmath>
#include <utility>

namespace llorch {
namespace {

void append_escaped(std::string& out, std::string_view text, bool quotes) {
  for (const char c : text) {
    if (c == '\\') {
      out += "\\\\";
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '"' && quotes) {
      out += "\\\"";
    } else {
      out += c;
    }
  }
}

void append_value(std::string& out, double value) {
  if (std::isnan(value)) {
    out += "NaN";
  } else if (std::isinf(value)) {
    out += value > 0 ? "+Inf" : "-Inf";
  } else if (std::abs(value) < 1e15 && value == std::floor(value)) {
    out += std::to_string(static_cast<std::int64_t>(value));  // no exponent in a count
  } else {
    std::array<char, 32> buffer;
    const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value).ptr;
    out.append(buffer.data(), end);
  }
}

}  // namespace

Histogram::Histogram(std::vector<double> bounds)
    : bounds_(std::move(bounds)), counts_(bounds_.size() + 1) {
  assert(std::ranges::is_sorted(bounds_));
}

void Histogram::observe(double value) {
  const auto bound = std::ranges::lower_bound(bounds_, value);
  ++counts_[static_cast<std::size_t>(bound - bounds_.begin())];
  sum_ += value;
}

std::vector<double> duration_bounds_ms() {
  return {5, 10, 25, 50, 100, 250, 500, 1'000, 2'500, 5'000, 10'000, 30'000, 60'000, 300'000};
}

void MetricsText::family(std::string_view name, std::string_view help, std::string_view type) {
  name_ = name;
  text_.append("# HELP ").append(name) += ' ';
  append_escaped(text_, help, false);
  text_.append("\n# TYPE ").append(name).append(" ").append(type) += '\n';
}

MetricsText& MetricsText::counter(std::string_view name, std::string_view help) {
  family(name, help, "counter");
  return *this;
}

MetricsText& MetricsText::gauge(std::string_view name, std::string_view help) {
  family(name, help, "gauge");
  return *this;
}

void MetricsText::line(std::string_view suffix, double value, MetricLabels labels) {
  text_.append(name_).append(suffix);
  char separator = '{';
  for (const auto& [name, text] : labels) {
    (text_ += separator).append(name).append("=\"");
    append_escaped(text_, text, true);
    text_ += '"';
    separator = ',';
  }
  text_ += labels.size() == 0 ? " " : "} ";
  append_value(text_, value);
  text_ += '\n';
}

MetricsText& MetricsText::sample(double value, MetricLabels labels) {
  line("", value, labels);
  return *this;
}

MetricsText& MetricsText::histogram(std::string_view name, std::string_view help,
                                    const Histogram& values) {
  family(name, help, "histogram");
  std::uint64_t below = 0;
  for (std::size_t i = 0; i < values.counts().size(); ++i) {
    below += values.counts()[i];
    std::string bound = "+Inf";
    if (i < values.bounds().size()) {
      bound.clear();
      append_value(bound, values.bounds()[i]);
    }
    line("_bucket", static_cast<double>(below), {{"le", bound}});
  }
  line("_sum", values.sum(), {});
  line("_count", static_cast<double>(below), {});
  return *this;
}

}  // namespace llorch
