#include "nftables/held_bindings.hpp"

#include <algorithm>

namespace sallyport::nft {
namespace {

constexpr std::size_t kMany = 64;
const std::string kEmptySets =
    "flush set inet sallyport bound4\nflush set inet sallyport bound6\n"
    "flush set inet sallyport range4\nflush set inet sallyport range6\n";
constexpr unsigned kMostExact = 16;  // ports of a range that become elements of the hash, one each

std::vector<PortRange> exact_where_few(const std::vector<PortRange>& ranges) {
  std::vector<PortRange> out;
  for (const PortRange& range : ranges) {
    if (range.last - range.first >= static_cast<int>(kMostExact)) {
      out.push_back(range);
      continue;
    }
    for (unsigned port = range.first; port <= range.last; ++port)
      out.push_back({range.proto, static_cast<std::uint16_t>(port), static_cast<std::uint16_t>(port)});
  }
  return out;
}

}  // namespace

std::map<PortRange, std::uint64_t> HeldBindings::wanted(const Entry& entry, std::uint64_t now_ms) {
  std::map<PortRange, std::uint64_t> out;
  std::vector<std::pair<PortRange, std::uint64_t>> wide;
  for (const auto& [text, name] : entry.names) {
    if (name.expires_ms <= now_ms + 1000) continue;
    for (const PortRange& ports : exact_where_few(name.ports)) {
      if (ports.first == ports.last) {
        out[ports] = std::max(out[ports], name.expires_ms);
      } else {
        wide.emplace_back(ports, name.expires_ms);
      }
    }
  }
  // Intervals of one set may not overlap: the widest comes first, and what overlaps it is cut into single ports' worth
  // by joining: the union, until the earliest end of those that make it up.
  std::sort(wide.begin(), wide.end());
  for (std::size_t i = 0; i < wide.size();) {
    PortRange joined = wide[i].first;
    std::uint64_t until = wide[i].second;
    std::size_t next = i + 1;
    for (; next < wide.size() && wide[next].first.proto == joined.proto && wide[next].first.first <= joined.last;
         ++next) {
      joined.last = std::max(joined.last, wide[next].first.last);
      until = std::min(until, wide[next].second);
    }
    out[joined] = until;
    i = next;
  }
  return out;
}

void HeldBindings::settle(const Key& key, Entry& entry, std::uint64_t now_ms, ElementChanges& changes) {
  const std::map<PortRange, std::uint64_t> wanted_now = wanted(entry, now_ms);
  for (const auto& [ports, until] : entry.in_force) {
    if (!wanted_now.contains(ports)) changes.remove({key.client, key.destination, ports});
  }
  for (const auto& [ports, until] : wanted_now) {
    const auto before = entry.in_force.find(ports);
    const Element element(key.client, key.destination, ports);
    if (before == entry.in_force.end()) {
      changes.add(element, until - now_ms);
    } else if (before->second != until) {
      changes.refresh(element, until - now_ms);
    }
  }
  elements_ += wanted_now.size() - entry.in_force.size();
  entry.in_force = wanted_now;
}

std::string HeldBindings::add(std::uint64_t client_id, const Address& client, const Address& destination,
                              const DomainName& name, std::uint64_t expires_ms, std::uint64_t now_ms,
                              std::uint64_t pinned_ms) {
  std::vector<PortRange> ports = allowed_(client_id, client, destination, name);
  const Key key{client, destination};
  const auto known = entries_.find(key);
  if (ports.empty() && known == entries_.end()) return {};
  Entry& entry = known == entries_.end() ? entries_[key] : known->second;
  const std::string text(name.text());
  if (ports.empty()) {
    entry.names.erase(text);
  } else {
    const auto before = entry.names.find(text);
    if (before != entry.names.end()) pinned_ms = std::max(pinned_ms, before->second.pinned_ms);
    entry.names.insert_or_assign(text, Name{name, client_id, expires_ms, pinned_ms, std::move(ports)});
  }
  ElementChanges changes;
  settle(key, entry, now_ms, changes);
  if (entry.names.empty()) entries_.erase(key);
  return changes.commands();
}

std::string HeldBindings::decide_again(std::uint64_t now_ms) {
  ElementChanges changes;
  for (auto at = entries_.begin(); at != entries_.end();) {
    auto& [key, entry] = *at;
    for (auto name = entry.names.begin(); name != entry.names.end();) {
      name->second.ports = allowed_(name->second.client_id, key.client, key.destination, name->second.name);
      name = name->second.ports.empty() || name->second.is_over(now_ms) ? entry.names.erase(name) : std::next(name);
    }
    settle(key, entry, now_ms, changes);
    at = entry.names.empty() ? entries_.erase(at) : std::next(at);
  }
  // A revocation of most of what there is: empty sets, and what is left, take a fraction of the time.
  if (changes.removed() > kMany && changes.removed() > elements_) return kEmptySets + all(now_ms);
  return changes.commands();
}

std::string HeldBindings::forget(const std::set<Address>& clients, std::uint64_t now_ms) {
  ElementChanges changes;
  for (const Address& client : clients) {
    for (auto at = entries_.lower_bound(Key{client, Address::v6({})});
         at != entries_.end() && at->first.client == client;) {
      at->second.names.clear();
      settle(at->first, at->second, now_ms, changes);
      at = entries_.erase(at);
    }
  }
  return changes.commands();
}

std::string HeldBindings::keep_only(const StillBound& still_bound, std::uint64_t now_ms) {
  ElementChanges changes;
  for (auto at = entries_.begin(); at != entries_.end();) {
    auto& [key, entry] = *at;
    std::erase_if(entry.names,
                  [&](const auto& name) { return !still_bound(name.second.client_id, key.client, key.destination); });
    settle(key, entry, now_ms, changes);
    at = entry.names.empty() ? entries_.erase(at) : std::next(at);
  }
  return changes.commands();
}

std::string HeldBindings::all(std::uint64_t now_ms) const {
  ElementChanges changes;
  for (const auto& [key, entry] : entries_) {
    for (const auto& [ports, until] : entry.in_force) {
      if (until > now_ms + 1000) changes.add({key.client, key.destination, ports}, until - now_ms);
    }
  }
  return changes.commands();
}

bool HeldBindings::Name::allows(std::uint8_t proto, std::uint16_t port) const noexcept {
  return std::any_of(ports.begin(), ports.end(), [&](const PortRange& range) {
    return range.proto == proto && range.first <= port && port <= range.last;
  });
}

bool HeldBindings::covers(const Address& client, const Address& destination, std::uint8_t proto, std::uint16_t port,
                          std::uint64_t now_ms) const {
  const auto entry = entries_.find(Key{client, destination});
  if (entry == entries_.end()) return false;
  const auto& [names, in_force] = entry->second;
  return std::any_of(in_force.begin(), in_force.end(),
                     [&](const auto& element) {
                       return element.first.proto == proto && element.first.first <= port && port <= element.first.last;
                     }) ||
         std::any_of(names.begin(), names.end(), [&](const auto& name) {
           return name.second.pinned_ms > now_ms && name.second.allows(proto, port);
         });
}

std::vector<std::uint64_t> HeldBindings::pin(const Address& client, const Address& destination, std::uint8_t proto,
                                             std::uint16_t port, std::uint64_t until_ms) {
  std::vector<std::uint64_t> out;
  const auto entry = entries_.find(Key{client, destination});
  if (entry == entries_.end()) return out;
  for (auto& [text, name] : entry->second.names) {
    if (!name.allows(proto, port)) continue;
    name.pinned_ms = std::max(name.pinned_ms, until_ms);
    if (std::find(out.begin(), out.end(), name.client_id) == out.end()) out.push_back(name.client_id);
  }
  return out;
}

bool HeldBindings::any_ends_by(std::uint64_t when_ms) const {
  return std::any_of(entries_.begin(), entries_.end(), [&](const auto& entry) {
    return std::any_of(entry.second.names.begin(), entry.second.names.end(),
                       [&](const auto& name) { return name.second.expires_ms <= when_ms; });
  });
}

void HeldBindings::expire(std::uint64_t now_ms) {
  for (auto at = entries_.begin(); at != entries_.end();) {
    Entry& entry = at->second;
    std::erase_if(entry.names, [&](const auto& name) { return name.second.is_over(now_ms); });
    elements_ -= std::erase_if(entry.in_force, [&](const auto& element) { return element.second <= now_ms; });
    if (entry.names.empty()) elements_ -= entry.in_force.size();
    at = entry.names.empty() ? entries_.erase(at) : std::next(at);
  }
}

std::vector<std::string> HeldBindings::expected(std::uint64_t now_ms) const {
  std::vector<std::string> out;
  for (const auto& [key, entry] : entries_) {
    for (const auto& [ports, until] : entry.in_force) {
      if (until <= now_ms) continue;
      const Element element(key.client, key.destination, ports);
      out.push_back(element.set + " " + element.text);
    }
  }
  return out;
}

}  // namespace sallyport::nft
