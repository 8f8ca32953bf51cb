// Bindings: which client was given which address for which name, as answers and the ledger have it.
//
// Bounds   kNames for each (client, address), the earliest to end goes; the table's own.
// Threads  One at a time.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "names/domain_name.hpp"
#include "pcap-monitor/bounded_map.hpp"

namespace sallyport::monitor {

class Bindings {
 public:
  static constexpr std::size_t kNames = 8;  // names behind one shared address that one client uses at a time
  struct Bound {
    DomainName name;
    std::uint64_t until_ns = 0;
  };

  Bindings(std::size_t most, std::uint64_t seed) : table_(most, seed) {}

  void bind(const Address& client, const Address& address, const DomainName& name, std::uint64_t until_ns) {
    std::vector<Bound>& names = table_.get(key(client, address));
    for (Bound& bound : names) {
      if (bound.name == name) {
        bound.until_ns = std::max(bound.until_ns, until_ns);
        return;
      }
    }
    if (names.size() < kNames) {
      names.push_back({name, until_ns});
      return;
    }
    Bound& earliest = *std::min_element(names.begin(), names.end(),
                                        [](const Bound& a, const Bound& b) { return a.until_ns < b.until_ns; });
    earliest = {name, until_ns};
  }

  // Those that lived at that time.
  std::vector<DomainName> names(const Address& client, const Address& address, std::uint64_t at_ns) {
    std::vector<DomainName> out;
    const std::vector<Bound>* names = table_.find(key(client, address));
    for (std::size_t i = 0; names != nullptr && i < names->size(); ++i) {
      if ((*names)[i].until_ns >= at_ns) out.push_back((*names)[i].name);
    }
    return out;
  }
  std::uint64_t lost() const noexcept { return table_.evicted(); }

 private:
  static FlowId key(const Address& client, const Address& address) noexcept { return {client, address, 0, 0, 0}; }

  BoundedMap<FlowId, std::vector<Bound>> table_;
};

}  // namespace sallyport::monitor
