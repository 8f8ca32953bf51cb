// ServiceRecord: one SVCB or HTTPS record, stripped of what leads around a gateway (wire/dns_svcb.hpp).
#pragma once

#include <cstdint>
#include <vector>

#include "wire/dns_name.hpp"

namespace sallyport::net {

struct ServiceRecord {
  wire::WireName target;  // the root: the owner itself, or with priority 0 no service
  std::vector<std::uint8_t> rdata;

  friend bool operator==(const ServiceRecord&, const ServiceRecord&) = default;
};

}  // namespace sallyport::net
