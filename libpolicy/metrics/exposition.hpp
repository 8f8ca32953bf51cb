// The Prometheus exposition format 0.0.4 (https://prometheus.io/docs/instrumenting/exposition_formats/), and what
// docs/metrics.md says of each metric.
//
// Form     ASCII lines. prometheus-cpp's serializer would want every label taken apart and put together again; the
//          format is one line a series.
// Threads  Pure.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sallyport {

enum class MetricType : std::uint8_t { kCounter, kGauge, kHistogram };

struct KnownMetric {
  std::string_view name;
  MetricType type;
  std::string_view help;
};

// docs/metrics.md, sorted by name.
std::span<const KnownMetric> known_metrics() noexcept;

struct Sample {
  std::string name, labels;
  std::uint64_t value = 0;
};

// "sallyport_" or "process_" and [a-z0-9_].
bool is_metric_name(std::string_view name) noexcept;
// Empty, or key="value" pairs with commas between; printable ASCII, with backslash, quote and \n escaped as the format
// wants it.
bool are_labels(std::string_view labels) noexcept;

// Equal series are added up. Others than is_metric_name() and are_labels() are left out.
std::string exposition(std::vector<Sample> samples);

}  // namespace sallyport
