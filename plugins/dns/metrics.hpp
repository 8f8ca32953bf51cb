// Metrics: what the workers count, as series of policy.metrics/1 (docs/metrics.md). Each worker counts for itself and
// hands over once a second what has been added; nothing shared is touched for a query.
//
// Threads  define() on [main]; add() from any worker's thread.
#pragma once

#include <policy/ext/metrics.h>

#include <array>
#include <policy/plugin.hpp>
#include <vector>

#include "dns/responder.hpp"
#include "dns/server.hpp"
#include "support/resolver.hpp"

namespace sallyport::dns {

// All that one worker has counted since it started.
struct Counted {
  Counters answers;
  RequestDurations hits, misses;
  net::ResolverCounters resolver;
  std::vector<net::Resolver::Durations> upstreams;  // in the order of the config
};

class Metrics {
 public:
  // A host without policy.metrics/1 is fine: add() does nothing then.
  void define(const policy::Host& host, const std::vector<net::Upstream>& upstreams);
  void add(const Counted& now, const Counted& before) const;

 private:
  template <std::size_t kBuckets>
  struct Histogram {
    std::array<std::uint32_t, kBuckets> buckets{};
    std::uint32_t count = 0, sum = 0;
  };
  std::uint32_t series(std::string_view name, std::string_view labels) const;
  template <std::size_t kBuckets>
  Histogram<kBuckets> histogram(std::string_view name, std::string_view labels,
                                std::span<const std::uint64_t> bounds_ns) const;
  template <std::size_t kBuckets>
  void add(const Histogram<kBuckets>& to, const std::array<std::uint64_t, kBuckets>& now,
           const std::array<std::uint64_t, kBuckets>& before, std::uint64_t nanoseconds) const;
  void add(std::uint32_t id, std::uint64_t now, std::uint64_t before) const;

  const policy_metrics_v1* metrics_ = nullptr;
  policy_host* host_ = nullptr;
  std::array<std::array<std::uint32_t, kRcodes>, 2> queries_{};
  std::array<std::uint32_t, net::kTunnelBudgets> tunnel_suspects_{};
  std::uint32_t cache_hits_ = 0, spoofs_ = 0, merged_ = 0;
  Histogram<RequestDurations::kBounds.size() + 1> hit_durations_, miss_durations_;
  std::vector<Histogram<net::Resolver::kDurationBounds.size() + 1>> upstream_durations_;
};

}  // namespace sallyport::dns
