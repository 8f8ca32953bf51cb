// The plugin's counters in policy.metrics/1 (README.md lists them). Without the extension nothing is counted there.
//
// Threads  Made on [main]; add() from any thread.
#pragma once

#include <policy/ext/metrics.h>

#include <policy/plugin.hpp>
#include <string_view>

#include "sni-filter/flow.hpp"

namespace sallyport::sni {

class Metrics {
 public:
  explicit Metrics(const policy::Host& host) : host_(host), api_(host.get<policy_metrics_v1>(POLICY_METRICS_ID)) {
    if (!api_) return;
    for (const Series& one : kSeries) (void)define(one.name, one.labels, ids_[&one - kSeries]);
    (void)define("sallyport_connections_active", R"(plugin="sni-filter")", active_);
  }

  // What has been counted in one thread since `before`; active is over all of them.
  void add(const Counters& before, const Counters& now, std::size_t active) const {
    if (!api_) return;
    for (const Series& one : kSeries) {
      const std::uint64_t more = now.*one.counter - before.*one.counter;
      if (more > 0) api_->add(host_.raw(), ids_[&one - kSeries], more);
    }
    api_->set(host_.raw(), active_, active);
  }

 private:
  struct Series {
    std::string_view name, labels;
    std::uint64_t Counters::* counter;
  };
  static constexpr Series kSeries[] = {
      {"sallyport_connections_total", R"(plugin="sni-filter",result="allowed")", &Counters::opened},
      {"sallyport_connections_total", R"(plugin="sni-filter",result="denied")", &Counters::denied},
      {"sallyport_connections_total", R"(plugin="sni-filter",result="failed")", &Counters::failed},
      {"sallyport_connections_total", R"(plugin="sni-filter",result="shed")", &Counters::shed},
      {"sallyport_bytes_total", R"(plugin="sni-filter",direction="up")", &Counters::up},
      {"sallyport_bytes_total", R"(plugin="sni-filter",direction="down")", &Counters::down},
      {"sallyport_tls_client_hellos_total", R"(result="ok")", &Counters::hello_ok},
      {"sallyport_tls_client_hellos_total", R"(result="no_sni")", &Counters::hello_no_sni},
      {"sallyport_tls_client_hellos_total", R"(result="ech")", &Counters::hello_ech},
      {"sallyport_tls_client_hellos_total", R"(result="malformed")", &Counters::hello_malformed},
  };

  policy_code define(std::string_view name, std::string_view labels, std::uint32_t& id) const {
    return api_->define(host_.raw(), policy::str(name), policy::str(labels), &id);
  }

  policy::Host host_;
  const policy_metrics_v1* api_;
  std::uint32_t ids_[std::size(kSeries)] = {};
  std::uint32_t active_ = 0;
};

}  // namespace sallyport::sni
