// Prometheus' text format, version 0.0.4, and a histogram to feed it.
// Threads: one owner.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace llorch {

// Counts of observations by upper bound. Shape: bounds ascending, +Inf is implied.
class Histogram {
 public:
  explicit Histogram(std::vector<double> bounds);
  void observe(double value);

  std::span<const double> bounds() const { return bounds_; }
  // One a bound and one above all; not cumulative.
  std::span<const std::uint64_t> counts() const { return counts_; }
  double sum() const { return sum_; }

 private:
  std::vector<double> bounds_;
  std::vector<std::uint64_t> counts_;
  double sum_ = 0;
};

// Milliseconds from one token to a long answer.
std::vector<double> duration_bounds_ms();

using MetricLabels = std::initializer_list<std::pair<std::string_view, std::string_view>>;

class MetricsText {
 public:
  static constexpr std::string_view content_type = "text/plain; version=0.0.4; charset=utf-8";

  // A family's HELP and TYPE lines; samples follow until the next family.
  MetricsText& counter(std::string_view name, std::string_view help);
  MetricsText& gauge(std::string_view name, std::string_view help);
  MetricsText& sample(double value, MetricLabels labels = {});
  // A whole family: buckets, sum and count.
  MetricsText& histogram(std::string_view name, std::string_view help, const Histogram& values);

  const std::string& text() const { return text_; }

 private:
  void family(std::string_view name, std::string_view help, std::string_view type);
  void line(std::string_view suffix, double value, MetricLabels labels);

  std::string name_;
  std::string text_;
};

}  // namespace llorch
