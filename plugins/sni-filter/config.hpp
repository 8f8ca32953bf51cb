// The sni-filter plugin's config (README.md lists every key).
#pragma once

#include <chrono>
#include <policy/plugin.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "support/resolver.hpp"

namespace sallyport::sni {

using std::chrono::milliseconds;

struct Config {
  std::vector<std::string> listen{"tcp"};
  std::vector<net::Upstream> upstreams;
  milliseconds hello_timeout{5'000};     // browsers need well under 1 s; more only feeds slow clients (TLS-12)
  milliseconds connect_timeout{10'000};  // resolution and every address together
  milliseconds idle_timeout{3'600'000};  // an ssh session without keep-alive lives an hour
  bool allow_grease_ech = false;
  std::size_t max_flows = 4096;
};

// Every error at once, in words.
policy::Status parse_config(std::string_view json, Config& out);

}  // namespace sallyport::sni
