#include "protocol/metrics_text.h"

#include <gtest/gtest.h>
#include <limits>

namespace llorch {
namespace {

// Source: Prometheus exposition formats, text format 0.0.4
TEST(MetricsText, WritesFamiliesAndSamples) {
  MetricsText metrics;
  metrics.counter("worker_requests_total", "Requests by outcome.")
      .sample(3, {{"outcome", "ok"}})
      .sample(0, {{"outcome", "a\"b\\c\nd"}});
  metrics.gauge("worker_memory_bytes", "Memory\nin use.").sample(1.5e9);
  EXPECT_EQ(metrics.text(),
            "# HELP worker_requests_total Requests by outcome.\n"
            "# TYPE worker_requests_total counter\n"
            "worker_requests_total{outcome=\"ok\"} 3\n"
            "worker_requests_total{outcome=\"a\\\"b\\\\c\\nd\"} 0\n"
            "# HELP worker_memory_bytes Memory\\nin use.\n"
            "# TYPE worker_memory_bytes gauge\n"
            "worker_memory_bytes 1500000000\n");
}

TEST(MetricsText, WritesValuesPrometheusReads) {
  struct Case {
    const char* name;
    double value;
    std::string_view want;
  };
  const Case cases[] = {{"whole", 12, "g 12\n"},
                        {"fraction", 0.25, "g 0.25\n"},
                        {"negative", -1, "g -1\n"},
                        {"not a number", std::numeric_limits<double>::quiet_NaN(), "g NaN\n"},
                        {"infinite", -std::numeric_limits<double>::infinity(), "g -Inf\n"}};
  for (const auto& [name, value, want] : cases) {
    SCOPED_TRACE(name);
    MetricsText metrics;
    metrics.gauge("g", "h").sample(value);
    EXPECT_TRUE(metrics.text().ends_with(want)) << metrics.text();
  }
}

TEST(MetricsText, WritesCumulativeBuckets) {
  Histogram histogram({10, 100});
  for (const double value : {1.0, 10.0, 50.0, 1000.0}) histogram.observe(value);
  MetricsText metrics;
  metrics.histogram("d_ms", "Duration.", histogram);
  EXPECT_EQ(metrics.text(),
            "# HELP d_ms Duration.\n# TYPE d_ms histogram\n"
            "d_ms_bucket{le=\"10\"} 2\nd_ms_bucket{le=\"100\"} 3\nd_ms_bucket{le=\"+Inf\"} 4\n"
            "d_ms_sum 1061\nd_ms_count 4\n");
}

TEST(Histogram, CountsAtTheBoundBelow) {
  Histogram histogram(duration_bounds_ms());
  histogram.observe(5);
  histogram.observe(5.1);
  histogram.observe(1e9);
  EXPECT_EQ(histogram.counts().front(), 1U);
  EXPECT_EQ(histogram.counts()[1], 1U);
  EXPECT_EQ(histogram.counts().back(), 1U);
}

}  // namespace
}  // namespace llorch
