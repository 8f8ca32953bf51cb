#include "sni-filter/config.hpp"

#include "support/config.hpp"

namespace sallyport::sni {

using namespace std::chrono_literals;

policy::Status parse_config(std::string_view json, Config& out) {
  net::ConfigReader reader(json);
  const Config preset;
  out.listen = reader.strings("listen", preset.listen);
  out.upstreams = reader.upstreams("upstreams");
  out.hello_timeout = reader.duration("hello_timeout", preset.hello_timeout, 100ms, 60s);
  out.connect_timeout = reader.duration("connect_timeout", preset.connect_timeout, 100ms, 120s);
  out.idle_timeout = reader.duration("idle_timeout", preset.idle_timeout, 1s, 24h);
  out.allow_grease_ech = reader.boolean("allow_grease_ech", preset.allow_grease_ech);
  out.max_flows = reader.number("max_flows", preset.max_flows, 1, 1'000'000);
  return reader.status();
}

}  // namespace sallyport::sni
