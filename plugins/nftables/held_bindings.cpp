#include "nftables/held_bindings.hpp"

#include <algorithm>

namespace sallyport::nft {
namespace {

constexpr unsigned kMostExact = 16;   // ports of a range that become elements of the hash, one each
constexpr unsigned kMostInOne = 500;  // elements of one command: single ones are slow to read, and all may be too long

std::string element_text(const Address& client, const Address& destination, const PortRange& ports) {
  return client.text() + " . " + destination.text() + " . " + std::to_string(ports.proto) + " . " +
         std::to_string(ports.first) + (ports.first == ports.last ? "" : "-" + std::to_string(ports.last));
}

std::string set_of(const Address& client, const PortRange& ports) {
  return std::string(ports.first == ports.last ? "bound" : "range") + (client.is_v4() ? "4" : "6");
}

std::string timeout_text(std::uint64_t ms) {
  return " timeout " + std::to_string(std::max<std::uint64_t>(1, ms / 1000)) + "s";
}

std::string command(const char* verb, const Address& client, const Address& destination, const PortRange& ports,
                    std::uint64_t timeout_ms = 0) {
  std::string out = std::string(verb) + " element inet sallyport " + set_of(client, ports) + " { " +
                    element_text(client, destination, ports);
  if (timeout_ms > 0) out += timeout_text(timeout_ms);
  return out + " }\n";
}

// A refresh has to delete first: adding an element that is there leaves its timeout as it was; and to add before that:
// deleting one that has just expired fails the transaction.
void put(std::string& commands, const Address& client, const Address& destination, const PortRange& ports,
         std::uint64_t timeout_ms, bool fresh) {
  if (!fresh) {
    commands += command("add", client, destination, ports, timeout_ms);
    commands += command("delete", client, destination, ports);
  }
  commands += command("add", client, destination, ports, timeout_ms);
}

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

void HeldBindings::settle(const Key& key, Entry& entry, std::uint64_t now_ms, std::string& commands) {
  const std::map<PortRange, std::uint64_t> wanted_now = wanted(entry, now_ms);
  for (const auto& [ports, until] : entry.in_force) {
    if (wanted_now.contains(ports)) continue;
    // It may have expired this instant.
    commands += command("add", key.client, key.destination, ports, 1000);
    commands += command("delete", key.client, key.destination, ports);
  }
  for (const auto& [ports, until] : wanted_now) {
    const auto before = entry.in_force.find(ports);
    if (before != entry.in_force.end() && before->second == until) continue;
    put(commands, key.client, key.destination, ports, until - now_ms, before == entry.in_force.end());
  }
  elements_ += wanted_now.size() - entry.in_force.size();
  entry.in_force = wanted_now;
}

std::string HeldBindings::add(std::uint64_t client_id, const Address& client, const Address& destination,
                              const DomainName& name, std::uint64_t expires_ms, std::uint64_t now_ms) {
  std::vector<PortRange> ports = allowed_(client_id, client, destination, name);
  const Key key{client, destination};
  const auto known = entries_.find(key);
  if (ports.empty() && known == entries_.end()) return {};
  Entry& entry = known == entries_.end() ? entries_[key] : known->second;
  const std::string text(name.text());
  if (ports.empty()) {
    entry.names.erase(text);
  } else {
    entry.names.insert_or_assign(text, Name{name, client_id, expires_ms, std::move(ports)});
  }
  std::string commands;
  settle(key, entry, now_ms, commands);
  if (entry.names.empty()) entries_.erase(key);
  return commands;
}

std::string HeldBindings::decide_again(std::uint64_t now_ms) {
  std::string commands;
  for (auto at = entries_.begin(); at != entries_.end();) {
    auto& [key, entry] = *at;
    for (auto name = entry.names.begin(); name != entry.names.end();) {
      name->second.ports = allowed_(name->second.client_id, key.client, key.destination, name->second.name);
      name =
          name->second.ports.empty() || name->second.expires_ms <= now_ms ? entry.names.erase(name) : std::next(name);
    }
    settle(key, entry, now_ms, commands);
    at = entry.names.empty() ? entries_.erase(at) : std::next(at);
  }
  return commands;
}

std::string HeldBindings::all(std::uint64_t now_ms) const {
  struct List {
    std::string text;
    unsigned count = 0;
  };
  std::map<std::string, List> lists;
  std::string commands;
  const auto end = [&](const std::string& set, List& list) {
    if (list.count > 0) commands += "add element inet sallyport " + set + " { " + list.text + " }\n";
    list = {};
  };
  for (const auto& [key, entry] : entries_) {
    for (const auto& [ports, until] : entry.in_force) {
      if (until <= now_ms + 1000) continue;
      const std::string set = set_of(key.client, ports);
      List& list = lists[set];
      list.text += (list.count > 0 ? ", " : "") + element_text(key.client, key.destination, ports) +
                   timeout_text(until - now_ms);
      if (++list.count == kMostInOne) end(set, list);
    }
  }
  for (auto& [set, list] : lists) end(set, list);
  return commands;
}

bool HeldBindings::covers(const Address& client, const Address& destination, std::uint8_t proto,
                          std::uint16_t port) const {
  const auto entry = entries_.find(Key{client, destination});
  if (entry == entries_.end()) return false;
  return std::any_of(entry->second.in_force.begin(), entry->second.in_force.end(), [&](const auto& element) {
    return element.first.proto == proto && element.first.first <= port && port <= element.first.last;
  });
}

void HeldBindings::expire(std::uint64_t now_ms) {
  for (auto at = entries_.begin(); at != entries_.end();) {
    Entry& entry = at->second;
    std::erase_if(entry.names, [&](const auto& name) { return name.second.expires_ms <= now_ms; });
    elements_ -= std::erase_if(entry.in_force, [&](const auto& element) { return element.second <= now_ms; });
    if (entry.names.empty()) elements_ -= entry.in_force.size();
    at = entry.names.empty() ? entries_.erase(at) : std::next(at);
  }
}

std::vector<std::string> HeldBindings::expected(std::uint64_t now_ms) const {
  std::vector<std::string> out;
  for (const auto& [key, entry] : entries_) {
    for (const auto& [ports, until] : entry.in_force) {
      if (until > now_ms)
        out.push_back(set_of(key.client, ports) + " " + element_text(key.client, key.destination, ports));
    }
  }
  return out;
}

}  // namespace sallyport::nft
