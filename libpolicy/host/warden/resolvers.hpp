// Which resolvers the gateway asks: --resolver, or the host's resolv.conf.
#pragma once

#include <absl/status/statusor.h>

#include <string>
#include <string_view>
#include <vector>

namespace sallyport {

// "9.9.9.9", "9.9.9.9:5353", "::1", "[::1]:53" in the canonical form "address:port" that plugin configs take.
absl::StatusOr<std::string> parse_resolver(std::string_view text);

// The nameserver lines of a resolv.conf (resolv.conf(5)), at most three as libc reads them; others are passed over.
std::vector<std::string> resolvers_of(std::string_view resolv_conf);

// Of /etc/resolv.conf; a file that is missing or names none means 127.0.0.1 to libc, and an error here.
absl::StatusOr<std::vector<std::string>> host_resolvers();

}  // namespace sallyport
