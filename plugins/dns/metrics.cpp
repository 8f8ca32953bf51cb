#include "dns/metrics.hpp"

#include <cstdio>

namespace sallyport::dns {

std::uint32_t Metrics::series(std::string_view name, std::string_view labels) const {
  std::uint32_t id = 0;  // a full table gives the series that counts the overflow
  metrics_->define(host_, policy::str(name), policy::str(labels), &id);
  return id;
}

template <std::size_t kBuckets>
Metrics::Histogram<kBuckets> Metrics::histogram(std::string_view name, std::string_view labels,
                                                std::span<const std::uint64_t> bounds_ns) const {
  Histogram<kBuckets> out;
  const std::string base(name);
  const std::string with(labels);
  for (std::size_t i = 0; i < kBuckets; ++i) {
    char bound[32] = "+Inf";
    if (i < bounds_ns.size()) std::snprintf(bound, sizeof bound, "%g", static_cast<double>(bounds_ns[i]) / 1e9);
    out.buckets[i] = series(base + "_bucket", with + ",le=\"" + bound + "\"");
  }
  out.count = series(base + "_count", with);
  out.sum = series(base + "_sum", with);
  return out;
}

void Metrics::define(const policy::Host& host, const std::vector<net::Upstream>& upstreams) {
  metrics_ = host.get<policy_metrics_v1>(POLICY_METRICS_ID);
  host_ = host.raw();
  if (metrics_ == nullptr) return;
  for (const Transport transport : {Transport::kUdp, Transport::kTcp}) {
    for (std::size_t rcode = 0; rcode < kRcodes; ++rcode) {
      const std::string labels = std::string(transport == Transport::kTcp ? "transport=\"tcp\"" : "transport=\"udp\"") +
                                 ",rcode=\"" + std::string(rcode_word(rcode)) + "\"";
      queries_[static_cast<std::size_t>(transport)][rcode] = series("sallyport_dns_queries_total", labels);
    }
  }
  cache_hits_ = series("sallyport_dns_cache_hits_total", "");
  spoofs_ = series("sallyport_dns_spoof_suspect_total", "");
  merged_ = series("sallyport_dns_merged_total", "");
  for (std::size_t i = 1; i < net::kTunnelBudgets; ++i) {
    const std::string word(net::tunnel_budget_word(static_cast<net::TunnelBudget>(i)));
    tunnel_suspects_[i] = series("sallyport_dns_tunnel_suspects_total", "budget=\"" + word + "\"");
  }
  constexpr std::string_view kRequest = "sallyport_dns_request_duration_seconds";
  hit_durations_ =
      histogram<RequestDurations::kBounds.size() + 1>(kRequest, "cache=\"hit\"", RequestDurations::kBounds);
  miss_durations_ =
      histogram<RequestDurations::kBounds.size() + 1>(kRequest, "cache=\"miss\"", RequestDurations::kBounds);
  for (const net::Upstream& upstream : upstreams) {
    upstream_durations_.push_back(histogram<net::Resolver::kDurationBounds.size() + 1>(
        "sallyport_dns_upstream_duration_seconds", "upstream=\"" + net::text_of({upstream}) + "\"",
        net::Resolver::kDurationBounds));
  }
}

void Metrics::add(std::uint32_t id, std::uint64_t now, std::uint64_t before) const {
  if (now != before) metrics_->add(host_, id, now - before);
}

// Buckets of the exposition format hold everything up to their bound.
template <std::size_t kBuckets>
void Metrics::add(const Histogram<kBuckets>& to, const std::array<std::uint64_t, kBuckets>& now,
                  const std::array<std::uint64_t, kBuckets>& before, std::uint64_t nanoseconds) const {
  std::uint64_t up_to = 0;
  for (std::size_t i = 0; i < kBuckets; ++i) {
    up_to += now[i] - before[i];
    add(to.buckets[i], up_to, 0);
  }
  add(to.count, up_to, 0);
  add(to.sum, nanoseconds, 0);
}

void Metrics::add(const Counted& now, const Counted& before) const {
  if (metrics_ == nullptr) return;
  for (std::size_t transport = 0; transport < queries_.size(); ++transport)
    for (std::size_t rcode = 0; rcode < kRcodes; ++rcode)
      add(queries_[transport][rcode], now.answers.replies[transport][rcode], before.answers.replies[transport][rcode]);
  add(cache_hits_, now.answers.cache_hits, before.answers.cache_hits);
  add(spoofs_, now.resolver.spoof_suspects, before.resolver.spoof_suspects);
  add(merged_, now.resolver.merged, before.resolver.merged);
  for (std::size_t i = 1; i < net::kTunnelBudgets; ++i)
    add(tunnel_suspects_[i], now.answers.tunnel_suspects[i], before.answers.tunnel_suspects[i]);
  add(hit_durations_, now.hits.counts, before.hits.counts, now.hits.total_ns - before.hits.total_ns);
  add(miss_durations_, now.misses.counts, before.misses.counts, now.misses.total_ns - before.misses.total_ns);
  for (std::size_t i = 0; i < upstream_durations_.size() && i < now.upstreams.size(); ++i) {
    const net::Resolver::Durations was = i < before.upstreams.size() ? before.upstreams[i] : net::Resolver::Durations{};
    add(upstream_durations_[i], now.upstreams[i].counts, was.counts, now.upstreams[i].total_ns - was.total_ns);
  }
}

}  // namespace sallyport::dns
