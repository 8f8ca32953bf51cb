#include "report.hpp"

#include <algorithm>
#include <cstdio>

namespace sallyport::bench {
namespace {

double middle(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 != 0 ? values[half] : (values[half - 1] + values[half]) / 2;
}

}  // namespace

void Collector::ReportRuns(const std::vector<Run>& runs) {
  for (const Run& run : runs) {
    if (run.run_type != Run::RT_Iteration) continue;
    const std::string& name = run.run_name.function_name;
    if (run.error_occurred) {
      errors_.push_back(name + ": " + run.error_message);
      continue;
    }
    const auto [found, added] = rounds_.try_emplace(name);
    if (added) order_.push_back(name);
    found->second.nanoseconds.push_back(run.cpu_accumulated_time / static_cast<double>(run.iterations) * 1e9);
    for (const auto& [counter, value] : run.counters) found->second.counters[counter] = value.value;
  }
}

void Collector::print_table() const {
  std::vector<std::string> names = order_;
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    const Rounds& of = rounds_.at(name);
    const auto [least, most] = std::minmax_element(of.nanoseconds.begin(), of.nanoseconds.end());
    std::printf("%-48s %12.1f ns (%.1f to %.1f, %zu rounds)", name.c_str(), middle(of.nanoseconds), *least, *most,
                of.nanoseconds.size());
    for (const auto& [counter, value] : of.counters) std::printf(" %s=%.4g", counter.c_str(), value);
    std::putchar('\n');
  }
}

std::optional<double> Collector::median(const std::string& name) const {
  const auto found = rounds_.find(name);
  if (found == rounds_.end()) return std::nullopt;
  return middle(found->second.nanoseconds);
}

std::optional<double> Collector::counter(const std::string& name) const {
  const std::size_t colon = name.rfind(':');
  if (colon == std::string::npos) return std::nullopt;
  const auto found = rounds_.find(name.substr(0, colon));
  if (found == rounds_.end()) return std::nullopt;
  const auto value = found->second.counters.find(name.substr(colon + 1));
  if (value == found->second.counters.end()) return std::nullopt;
  return value->second;
}

}  // namespace sallyport::bench
