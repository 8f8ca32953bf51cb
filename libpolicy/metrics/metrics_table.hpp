// MetricsTable: every counter and gauge of a gateway, in shared memory (policy.metrics/1, docs/metrics.md).
//
// Form     A sealed memfd of kMaxSeries series: name, labels, a 64-bit value. Series are added and never removed;
// counters
//          outlive the worker that counts. Series 0 is sallyport_metric_overflow_total: what found no room counts
//          there.
// Threads  All functions from any thread of any process that maps it; no lock. add() and set() are one atomic
// operation. Trust    Workers that parse traffic write here. text() leaves out what is no metric: a name outside
// "sallyport_",
//          labels that are not key="value" pairs. Values can be anything; nothing is decided by them.
// Crashes  A process that dies inside define() costs one series.
// Errors   kExhausted: no room; kMalformed: a name or labels that text() would leave out; kCorrupt: no such table.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "memory/shared_memory.hpp"
#include "result/result.hpp"

namespace sallyport {

class MetricsTable {
 public:
  static constexpr std::uint32_t kMaxSeries = 4096;
  static constexpr std::size_t kMaxName = 95;
  static constexpr std::size_t kMaxLabels = 255;
  static constexpr std::uint32_t kOverflow = 0;  // the series that counts what found no room

  static Result<MetricsTable> create();
  static Result<MetricsTable> map(int fd);  // the descriptor stays the caller's

  int fd() const noexcept { return memory_.fd(); }  // to hand to workers; -1 for a mapped table

  // Finds or adds. labels: `transport="udp",rcode="NOERROR"` or empty, as they stand in the exposition format.
  // An error: count into kOverflow instead.
  Result<std::uint32_t> define(std::string_view name, std::string_view labels) noexcept;

  // An id that was not given out counts into kOverflow.
  void add(std::uint32_t id, std::uint64_t amount) noexcept;
  void set(std::uint32_t id, std::uint64_t value) noexcept;
  std::uint64_t value(std::uint32_t id) const noexcept;

  // The Prometheus exposition format 0.0.4: HELP and TYPE of known names, families together, sorted. Durations
  // (`_duration_seconds`, and `_sum` of such a histogram) are counted in nanoseconds and shown in seconds.
  std::string text() const;

  std::uint32_t series() const noexcept;  // in use

 private:
  struct Header;
  struct Series;

  MetricsTable() = default;
  Header& header() const noexcept;
  Series& at(std::uint32_t id) const noexcept;

  SharedMemory memory_;
};

}  // namespace sallyport
