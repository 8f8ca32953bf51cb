#include "sni-filter/config.hpp"

#include <algorithm>

#include "support/config.hpp"

namespace sallyport::sni {

using namespace std::chrono_literals;

namespace {

const std::vector<std::string> kWords = {"auto", "synthetic", "original", "name"};  // in Destination's order

Destination destination_of(const std::string& word) {
  return static_cast<Destination>(std::find(kWords.begin(), kWords.end(), word) - kWords.begin());
}

}  // namespace

policy::Status parse_config(std::string_view json, Config& out) {
  net::ConfigReader reader(json);
  const Config preset;
  out.listen = reader.strings("listen", preset.listen);
  out.destination = destination_of(reader.word("destination", "auto", kWords));
  for (const auto& [key, how] : {std::pair("by_name", Destination::kName), {"by_original", Destination::kOriginal}}) {
    for (const std::string& name : reader.strings(key, {})) {
      if (std::find(out.listen.begin(), out.listen.end(), name) == out.listen.end())
        reader.fail("/" + std::string(key), std::string(key) + ": `" + name + "` is not in `listen`");
      if (!out.listeners.emplace(name, how).second)
        reader.fail("/" + std::string(key), std::string(key) + ": `" + name + "` is named twice");
    }
  }
  out.strict = reader.word("binding", "dial-own", {"dial-own", "strict"}) == "strict";
  out.upstreams = reader.upstreams("upstreams");
  out.hello_timeout = reader.duration("hello_timeout", preset.hello_timeout, 100ms, 60s);
  out.connect_timeout = reader.duration("connect_timeout", preset.connect_timeout, 100ms, 120s);
  out.idle_timeout = reader.duration("idle_timeout", preset.idle_timeout, 1s, 24h);
  out.allow_grease_ech = reader.boolean("allow_grease_ech", preset.allow_grease_ech);
  out.workers = static_cast<unsigned>(reader.number("workers", preset.workers, 0, 256));
  out.max_flows = reader.number("max_flows", preset.max_flows, 1, 1'000'000);
  out.max_flows_per_client = reader.number("max_flows_per_client", preset.max_flows_per_client, 1, 1'000'000);
  out.budgets = net::read_tunnel_limits(reader);
  return reader.status();
}

}  // namespace sallyport::sni
