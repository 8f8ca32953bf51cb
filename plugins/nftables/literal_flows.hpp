// LiteralFlows: what the policy allows of destinations without a name, as it stands in the kernel's sets literal4,
// literal6.
//
// Form     Disjoint ranges of clients, destinations and ports, as policy.literals/draft1 gives them; elements are the
//          text of libnftables. They have no timeout: they live as long as their policy.
// Threads  One.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "names/address.hpp"
#include "nftables/port_range.hpp"

namespace sallyport::nft {

struct LiteralFlow {
  Address client_first, client_last, first, last;  // all inside
  PortRange ports;
  friend auto operator<=>(const LiteralFlow&, const LiteralFlow&) = default;

  std::string set() const;      // "literal4"
  std::string element() const;  // "172.20.0.0-172.20.255.255 . 203.0.113.7 . 17 . 123"
};

class LiteralFlows {
 public:
  // Returns the commands that make the sets hold these and nothing else; nothing, if they do.
  std::string become(std::set<LiteralFlow> flows);

  // For sets that are empty; and for those that hold some of them.
  std::string all() const;
  std::string again() const;

  bool covers(const Address& client, const Address& destination, std::uint8_t proto, std::uint16_t port) const;

  // Of a listing of one of the sets in JSON: whether it holds nothing that is not ours. missing: and not all of ours.
  bool accounts_for(const std::string& set, const std::string& listing, bool& missing) const;

  std::size_t size() const noexcept { return flows_.size(); }

 private:
  std::set<LiteralFlow> flows_;
};

}  // namespace sallyport::nft
