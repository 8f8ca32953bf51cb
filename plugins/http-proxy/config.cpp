#include "http-proxy/config.hpp"

#include "support/config.hpp"

namespace sallyport::http_proxy {

using namespace std::chrono_literals;

policy::Status parse_config(std::string_view json, Config& out) {
  net::ConfigReader reader(json);
  const Config preset;
  out.listen = reader.strings("listen", preset.listen);
  out.upstreams = reader.upstreams("upstreams");
  out.workers = static_cast<unsigned>(reader.number("workers", preset.workers, 0, 256));
  const std::string auth = reader.word("auth", "none", {"none", "optional", "required"});
  out.auth = auth == "none" ? Auth::kNone : auth == "optional" ? Auth::kOptional : Auth::kRequired;
  const std::string mismatch = reader.word("host_mismatch", "reject", {"reject", "rewrite"});
  out.host_mismatch = mismatch == "rewrite" ? HostMismatch::kRewrite : HostMismatch::kReject;
  out.allow_grease_ech = reader.boolean("allow_grease_ech", preset.allow_grease_ech);
  out.audit_paths = reader.boolean("audit_paths", preset.audit_paths);
  out.header_timeout = reader.duration("header_timeout", preset.header_timeout, 100ms, 120s);
  out.body_timeout = reader.duration("body_timeout", preset.body_timeout, 100ms, 1h);
  out.response_timeout = reader.duration("response_timeout", preset.response_timeout, 100ms, 24h);
  out.connect_timeout = reader.duration("connect_timeout", preset.connect_timeout, 100ms, 120s);
  out.hello_timeout = reader.duration("hello_timeout", preset.hello_timeout, 100ms, 60s);
  out.idle_timeout = reader.duration("idle_timeout", preset.idle_timeout, 100ms, 24h);
  out.keepalive_timeout = reader.duration("keepalive_timeout", preset.keepalive_timeout, 100ms, 1h);
  out.upstream_idle = reader.duration("upstream_idle", preset.upstream_idle, 0ms, 1h);
  out.body_rate = reader.number("body_rate", preset.body_rate, 0, 1'000'000);
  out.max_header = reader.number("max_header", preset.max_header, 1024, wire::kMaxHttpHead);
  out.max_fields = reader.number("max_fields", preset.max_fields, 8, wire::kMaxHttpFields);
  out.max_target = reader.number("max_target", preset.max_target, 256, wire::kMaxRequestTarget);
  out.max_connections = reader.number("max_connections", preset.max_connections, 1, 1'000'000);
  out.max_connections_per_client =
      reader.number("max_connections_per_client", preset.max_connections_per_client, 1, 1'000'000);
  out.max_requests = reader.number("max_requests", preset.max_requests, 1, 1'000'000'000);
  out.max_idle_upstreams = reader.number("max_idle_upstreams", preset.max_idle_upstreams, 0, 1000);
  out.budgets = net::read_tunnel_limits(reader);
  return reader.status();
}

}  // namespace sallyport::http_proxy
