#include "host/kernel/ruleset_text.hpp"

#include <algorithm>

namespace sallyport::kernel {

static std::string join(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : ", ") + word;
  return out;
}

std::string set_of(const std::vector<std::string>& words) { return "{ " + join(words) + " }"; }

std::vector<Prefix> outermost(const std::vector<Prefix>& prefixes) {
  std::vector<Prefix> out;
  for (const Prefix& prefix : prefixes) {
    const bool inside = std::any_of(prefixes.begin(), prefixes.end(),
                                    [&](const Prefix& other) { return !(other == prefix) && other.contains(prefix); });
    if (!inside && std::find(out.begin(), out.end(), prefix) == out.end()) out.push_back(prefix);
  }
  return out;
}

std::vector<std::string> texts(const std::vector<Prefix>& prefixes, bool v4) {
  std::vector<std::string> out;
  for (const Prefix& prefix : outermost(prefixes)) {
    if (prefix.network().is_v4() == v4) out.push_back(prefix.text());
  }
  return out;
}

std::vector<std::string> texts(const std::vector<Address>& addresses, bool v4) {
  std::vector<std::string> out;
  for (const Address& address : addresses) {
    if (address.is_v4() == v4) out.push_back(address.text());
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

std::vector<Prefix> all_addresses(const Topology& topology) {
  std::vector<Prefix> out;
  for (const HeldNetwork& network : topology.networks)
    out.insert(out.end(), network.addresses.begin(), network.addresses.end());
  return out;
}

std::vector<std::string> all_interfaces(const Topology& topology) {
  std::vector<std::string> out;
  for (const HeldNetwork& network : topology.networks) {
    for (const std::string& interface : network.interfaces) out.push_back("\"" + interface + "\"");
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

void interval_set(Text& text, const char* name, const char* type, const std::vector<std::string>& elements) {
  text.line(std::string("set ") + name + " { type " + type + "; flags interval;" +
            (elements.empty() ? "" : " elements = " + set_of(elements) + ";") + " }");
}

const char* family(bool v4) { return v4 ? "ip" : "ip6"; }
std::string nfproto(bool v4) { return v4 ? "meta nfproto 2" : "meta nfproto 10"; }

void pair_rules(Text& text, const Topology& topology, std::string_view verdict) {
  for (const InternalPair& pair : topology.internal) {
    for (const bool v4 : {true, false}) {
      const std::vector<std::string> a = texts(pair.from, v4), b = texts(pair.to, v4);
      if (a.empty() || b.empty()) continue;
      const std::string f = family(v4);
      for (const auto& [from, to] : {std::pair(a, b), std::pair(b, a)}) {
        text.line(f + " saddr " + set_of(from) + " " + f + " daddr " + set_of(to) + " " + std::string(verdict));
      }
    }
  }
}

}  // namespace sallyport::kernel
