// Claims: which MAC and IP addresses belong to which port of a held bridge, as the kernel's sets have it.
//
// Form     Read as the kernel keeps them, ports by index: a name may mean another port a moment later, an index never
//          does. A claim stands in two sets, by address and port (claim*) and by address (claimed*): both are written
//          from one reading of the first.
// Errors   No answer, or a set that is not there: nothing.
// Threads  Pure functions; read_claims() opens a socket of its own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "names/address.hpp"

namespace sallyport::kernel {

struct Claim {
  std::size_t kind = 0;            // of kClaimKinds
  std::string what;                // the MAC or IP address as the rules have it
  std::optional<Address> address;  // unless it is a MAC address
  std::uint32_t port = 0;          // index of an interface
  std::uint64_t expires_ms = 0;    // from now
};

std::optional<std::vector<Claim>> read_claims();

// "add element ..." for tables that are new.
std::string claims_again(const std::vector<Claim>& claims);
// Takes some of them out. all: what else there is; an address that another port has as well stays claimed.
std::string claims_released(const std::vector<Claim>& released, const std::vector<Claim>& all);

}  // namespace sallyport::kernel
