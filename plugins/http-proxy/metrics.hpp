// The plugin's counters in policy.metrics/1 (README.md lists them). Without the extension nothing is counted there.
//
// Threads  Made on [main]; add() from any thread.
#pragma once

#include <policy/ext/metrics.h>

#include <array>
#include <policy/plugin.hpp>
#include <string>

#include "http-proxy/connection.hpp"

namespace sallyport::http_proxy {

class Metrics {
 public:
  explicit Metrics(const policy::Host& host) : host_(host), api_(host.get<policy_metrics_v1>(POLICY_METRICS_ID)) {
    if (!api_) return;
    for (std::size_t i = 0; i < classes_.size(); ++i) {
      classes_[i] = define("sallyport_http_requests_total",
                           i == 0 ? "code_class=\"none\"" : "code_class=\"" + std::to_string(i) + "xx\"");
    }
    const char* const connections = "sallyport_connections_total";
    allowed_ = define(connections, R"(plugin="http-proxy",result="allowed")");
    denied_ = define(connections, R"(plugin="http-proxy",result="denied")");
    failed_ = define(connections, R"(plugin="http-proxy",result="failed")");
    shed_ = define(connections, R"(plugin="http-proxy",result="shed")");
    active_ = define("sallyport_connections_active", R"(plugin="http-proxy")");
    up_ = define("sallyport_bytes_total", R"(plugin="http-proxy",direction="up")");
    down_ = define("sallyport_bytes_total", R"(plugin="http-proxy",direction="down")");
  }

  // What has been counted in one thread since `before`; active is over all of them.
  void add(const Counters& before, const Counters& now, std::size_t active) const {
    if (!api_) return;
    for (std::size_t i = 1; i < classes_.size(); ++i) raise(classes_[i], before.by_class[i], now.by_class[i]);
    raise(allowed_, before.allowed, now.allowed);
    raise(denied_, before.denied, now.denied);
    raise(failed_, before.failed, now.failed);
    raise(shed_, before.shed, now.shed);
    raise(up_, before.up, now.up);
    raise(down_, before.down, now.down);
    api_->set(host_.raw(), active_, active);
  }

 private:
  std::uint32_t define(std::string_view name, const std::string& labels) const {
    std::uint32_t id = 0;
    (void)api_->define(host_.raw(), policy::str(name), policy::str(labels), &id);
    return id;
  }
  void raise(std::uint32_t id, std::uint64_t before, std::uint64_t now) const {
    if (now > before) api_->add(host_.raw(), id, now - before);
  }

  policy::Host host_;
  const policy_metrics_v1* api_;
  std::array<std::uint32_t, 6> classes_{};
  std::uint32_t allowed_ = 0, denied_ = 0, failed_ = 0, shed_ = 0, active_ = 0, up_ = 0, down_ = 0;
};

}  // namespace sallyport::http_proxy
