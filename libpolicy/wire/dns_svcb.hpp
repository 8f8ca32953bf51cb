// strip_svcb(): the data of a SVCB or HTTPS record without what leads around a gateway.
//
// Left out  ech (a name that nobody on the way can read), ipv4hint and ipv6hint (addresses that no A or AAAA query
// brought).
//           The other parameters stay as they are, octet by octet. AliasMode has no parameters (RFC 9460 §2.4.2): all
//           go.
// Form      Target names are never compressed there. Keys rise strictly, lengths add up to the end.
// Threads   A pure function; no allocation, no I/O.
// Errors    kMalformed, kIncomplete with the offset into the data.
// Source    RFC 9460 §2.2, §8.
#pragma once

#include <cstdint>
#include <span>

#include "wire/dns_name.hpp"

namespace sallyport::wire {

struct SvcbData {
  std::uint16_t priority = 0;  // 0: AliasMode
  WireName target;             // the root: the owner itself, or in AliasMode no service
  // False: `mandatory` names a parameter that is left out, so that no client could use the rest.
  bool is_usable = true;
  std::size_t octets = 0;  // of the data written
};

// out has room for rdata.size() octets.
Result<SvcbData> strip_svcb(std::span<const std::uint8_t> rdata, std::span<std::uint8_t> out) noexcept;

}  // namespace sallyport::wire
