// Snapshot::literals(): blocks of addresses in which decide() can only say one thing, each asked once.
//
// What decide() looks at is, of a client's address, which prefixes of the policy's clients hold it; of a destination's,
// which prefixes of rules and own addresses do, and its class. So between two neighbouring edges of all of these the
// answer is the same. Clients with the same groups share one answer.
#include <algorithm>
#include <map>
#include <set>

#include "engine/decide.hpp"
#include "engine/view.hpp"
#include "names/guard.hpp"

namespace sallyport {
namespace {

using Number = unsigned __int128;  // an address; IPv4 in the low 32 bits

struct Block {
  Number first = 0, last = 0;
  friend bool operator==(const Block&, const Block&) = default;
};

constexpr std::size_t kMostBlocks = 65536;  // of destinations, in all: a policy with more is not for a packet filter
constexpr std::size_t kMostPorts = 64;      // ranges of one destination, as for a binding

Number number_of(const Address& address) {
  if (address.is_v4()) return address.v4_host_order();
  Number out = 0;
  for (const std::uint8_t octet : address.octets()) out = out << 8 | octet;
  return out;
}

Address address_of(Number number, bool v4) {
  if (v4) return Address::v4(static_cast<std::uint32_t>(number));
  std::array<std::uint8_t, 16> octets;
  for (std::size_t i = octets.size(); i-- > 0; number >>= 8) octets[i] = static_cast<std::uint8_t>(number);
  return Address::v6(octets);
}

Block block_of(const Address& network, unsigned bits) {
  const unsigned host = (network.is_v4() ? 32 : 128) - bits;
  const Number first = number_of(network);
  return {first, host == 128 ? ~Number{0} : first | ((Number{1} << host) - 1)};
}

// Where blocks begin, or have ended one before.
class Edges {
 public:
  explicit Edges(bool v4) : v4_(v4) {}

  void add(const Address& network, unsigned bits) {
    if (network.is_v4() != v4_) return;
    const Block block = block_of(network, bits);
    at_.insert(block.first);
    if (block.last != ~Number{0}) at_.insert(block.last + 1);  // past the last IPv4 address is no address: no harm
  }
  void add(std::span<const format::PrefixKey> prefixes) {
    for (const format::PrefixKey& key : prefixes) add(format::address_of(key), key.bits);
  }

  std::vector<Block> cut(const Block& block) const {
    std::vector<Block> out;
    Number first = block.first;
    for (auto edge = at_.upper_bound(first); edge != at_.end() && *edge <= block.last; ++edge) {
      out.push_back({first, *edge - 1});
      first = *edge;
    }
    out.push_back({first, block.last});
    return out;
  }

 private:
  const bool v4_;
  std::set<Number> at_;
};

struct Reached {
  Block to;
  std::vector<std::pair<std::uint16_t, std::uint16_t>> ports;
  friend bool operator==(const Reached&, const Reached&) = default;
};

bool may_name(const Tables& tables, const format::Rule& rule, std::uint16_t proto) {
  constexpr std::uint32_t kNeeded = format::kRuleAllow | format::kRuleAddresses;
  if ((rule.flags & kNeeded) != kNeeded) return false;
  const auto ports = tables.ports_in(rule.ports);
  return ports.empty() ||
         std::any_of(ports.begin(), ports.end(), [proto](const format::Port& port) { return port.proto == proto; });
}

}  // namespace

std::optional<std::vector<Snapshot::Literal>> Snapshot::literals(const Prefix& clients, std::uint16_t proto,
                                                                 std::size_t most) const {
  const Tables& tables = view_->tables;
  const bool v4 = clients.network().is_v4();
  Edges of_clients(v4), of_destinations(v4);
  for (const format::Client& client : tables.clients) of_clients.add(tables.prefixes_in(client.addresses));
  std::vector<Block> named;
  for (const format::Rule& rule : tables.rules) {
    of_destinations.add(tables.prefixes_in(rule.addresses));
    of_destinations.add(tables.prefixes_in(rule.resolves_to));
    if (!may_name(tables, rule, proto)) continue;
    for (const format::PrefixKey& key : tables.prefixes_in(rule.addresses)) {
      if ((key.family == 4) == v4) named.push_back(block_of(format::address_of(key), key.bits));
    }
  }
  if (named.empty()) return std::vector<Literal>();
  of_destinations.add(tables.prefixes_in(tables.header->own_addresses));
  for (const Prefix& block : guard_blocks()) of_destinations.add(block.network(), block.bits());

  // Prefixes nest or are disjoint: the outermost are what is named.
  std::sort(named.begin(), named.end(),
            [](const Block& a, const Block& b) { return a.first != b.first ? a.first < b.first : a.last > b.last; });
  std::vector<Block> destinations;
  Number covered = 0;
  for (const Block& block : named) {
    if (!destinations.empty() && block.last <= covered) continue;
    covered = block.last;
    const std::vector<Block> parts = of_destinations.cut(block);
    if (destinations.size() + parts.size() > kMostBlocks) return std::nullopt;
    destinations.insert(destinations.end(), parts.begin(), parts.end());
  }

  const auto reached_by = [&](std::uint64_t groups) {
    std::vector<Reached> out;
    for (const Block& block : destinations) {
      const Address address = address_of(block.first, v4);
      if (carries_v4(address)) continue;
      Query query;
      query.layer = Layer::kDial;
      query.proto = proto;
      query.known = kKnowAddress;
      query.address = &address;
      query.groups = groups;
      std::array<Ports, kMostPorts> ports;
      const std::size_t count = std::min(kMostPorts, allowed_ports(query, ports));
      Reached reached{block, {}};
      for (std::size_t i = 0; i < count; ++i) {
        if (ports[i].last != 0)  // port 0 is no destination
          reached.ports.emplace_back(std::max<std::uint16_t>(1, ports[i].first), ports[i].last);
      }
      if (reached.ports.empty()) continue;
      if (!out.empty() && out.back().ports == reached.ports && out.back().to.last + 1 == block.first) {
        out.back().to.last = block.last;
      } else {
        out.push_back(std::move(reached));
      }
    }
    return out;
  };

  std::map<std::uint64_t, std::vector<Reached>> by_groups;
  std::vector<std::pair<Block, const std::vector<Reached>*>> senders;
  for (const Block& block : of_clients.cut(block_of(clients.network(), clients.bits()))) {
    const std::uint64_t groups = groups_of_address(address_of(block.first, v4));
    auto known = by_groups.find(groups);
    if (known == by_groups.end()) {
      if ((by_groups.size() + 1) * destinations.size() > kMostBlocks) return std::nullopt;
      known = by_groups.emplace(groups, reached_by(groups)).first;
    }
    if (!senders.empty() && *senders.back().second == known->second) {
      senders.back().first.last = block.last;
    } else {
      senders.emplace_back(block, &known->second);
    }
  }
  std::vector<Literal> out;
  for (const auto& [from, reached] : senders) {
    for (const Reached& one : *reached) {
      for (const auto& [first, last] : one.ports) {
        if (out.size() == most) return std::nullopt;
        out.push_back({address_of(from.first, v4), address_of(from.last, v4), address_of(one.to.first, v4),
                       address_of(one.to.last, v4), Ports{first, last}});
      }
    }
  }
  return out;
}

}  // namespace sallyport
