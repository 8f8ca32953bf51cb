// What a run of benchmarks measured: the CPU time of every round, by name, and figures that are no times.
//
// Threads  One: Google Benchmark reports from the main thread.
#pragma once

#include <benchmark/benchmark.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace sallyport::bench {

// Collects instead of printing run by run: rounds are interleaved, so nothing is whole before the end.
class Collector : public benchmark::BenchmarkReporter {
 public:
  bool ReportContext(const Context&) override { return true; }
  void ReportRuns(const std::vector<Run>& runs) override;

  void print_table() const;                                      // median (least to most), in nanoseconds
  std::optional<double> median(const std::string& name) const;   // nanoseconds of CPU an iteration
  std::optional<double> counter(const std::string& name) const;  // "benchmark:counter"
  const std::vector<std::string>& errors() const { return errors_; }

 private:
  struct Rounds {
    std::vector<double> nanoseconds;
    std::map<std::string, double> counters;
  };
  std::map<std::string, Rounds> rounds_;
  std::vector<std::string> order_, errors_;
};

// Every ratio that PERF.md and the issue name, of those that were measured. True: all are met.
bool print_targets(const Collector& measured);

}  // namespace sallyport::bench
