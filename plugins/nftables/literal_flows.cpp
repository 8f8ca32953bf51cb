#include "nftables/literal_flows.hpp"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

namespace sallyport::nft {
namespace {

using nlohmann::json;

constexpr std::size_t kMostInOne = 250;  // elements of one command

std::string range_of(const std::string& first, const std::string& last) {
  return first == last ? first : first + "-" + last;
}

std::optional<Prefix> prefix_of(const json& part) {
  const auto prefix = part.find("prefix");
  if (prefix == part.end() || !prefix->is_object()) return std::nullopt;
  const Result<Address> address = Address::parse(prefix->value("addr", ""));
  const unsigned bits = prefix->value("len", 129u);
  if (!address.ok() || bits > (address->is_v4() ? 32u : 128u)) return std::nullopt;
  return Prefix::of(*address, bits);
}

std::string last_of(const Prefix& prefix) {
  std::array<std::uint8_t, 16> octets = prefix.network().octets();
  const unsigned all = prefix.network().is_v4() ? 32 : 128;
  for (unsigned bit = prefix.bits(); bit < all; ++bit) octets[bit / 8] |= static_cast<std::uint8_t>(0x80 >> bit % 8);
  if (!prefix.network().is_v4()) return Address::v6(octets).text();
  return Address::v4(std::uint32_t{octets[0]} << 24 | std::uint32_t{octets[1]} << 16 | std::uint32_t{octets[2]} << 8 |
                     octets[3])
      .text();
}

std::string word_of(const json& value) { return value.is_string() ? value.get<std::string>() : value.dump(); }

// As element() writes it; libnftables turns ranges that are blocks into those.
std::string part_of(const json& part) {
  if (!part.is_object()) return word_of(part);
  if (const std::optional<Prefix> prefix = prefix_of(part)) return range_of(prefix->network().text(), last_of(*prefix));
  const json range = part.value("range", json());
  return range.is_array() && range.size() == 2 ? range_of(word_of(range[0]), word_of(range[1])) : part.dump();
}

}  // namespace

std::string LiteralFlow::set() const { return client_first.is_v4() ? "literal4" : "literal6"; }

std::string LiteralFlow::element() const {
  return range_of(client_first.text(), client_last.text()) + " . " + range_of(first.text(), last.text()) + " . " +
         std::to_string(ports.proto) + " . " + range_of(std::to_string(ports.first), std::to_string(ports.last));
}

std::string LiteralFlows::become(std::set<LiteralFlow> flows) {
  if (flows == flows_) return {};
  flows_ = std::move(flows);
  return again();
}

std::string LiteralFlows::again() const {
  return "flush set inet sallyport literal4\nflush set inet sallyport literal6\n" + all();
}

std::string LiteralFlows::all() const {
  std::map<std::string, std::vector<std::string>> sets;
  for (const LiteralFlow& flow : flows_) sets[flow.set()].push_back(flow.element());
  std::string out;
  for (const auto& [set, elements] : sets) {
    for (std::size_t i = 0; i < elements.size(); ++i) {
      out += i % kMostInOne == 0 ? "add element inet sallyport " + set + " { " : ", ";
      out += elements[i];
      if (i % kMostInOne == kMostInOne - 1 || i + 1 == elements.size()) out += " }\n";
    }
  }
  return out;
}

bool LiteralFlows::covers(const Address& client, const Address& destination, std::uint8_t proto,
                          std::uint16_t port) const {
  return std::any_of(flows_.begin(), flows_.end(), [&](const LiteralFlow& flow) {
    return flow.ports.proto == proto && flow.ports.first <= port && port <= flow.ports.last &&
           flow.client_first <= client && client <= flow.client_last && flow.first <= destination &&
           destination <= flow.last;
  });
}

bool LiteralFlows::accounts_for(const std::string& set, const std::string& listing, bool& missing) const {
  std::set<std::string> wanted, found;
  for (const LiteralFlow& flow : flows_) {
    if (flow.set() == set) wanted.insert(flow.element());
  }
  const json body = json::parse(listing, nullptr, false);
  if (!body.is_object()) return false;
  for (const json& entry : body.value("nftables", json::array())) {
    if (!entry.contains("set")) continue;
    for (const json& element : entry["set"].value("elem", json::array())) {
      const json value = element.contains("elem") ? element["elem"].value("val", json()) : element;
      if (!value.contains("concat")) return false;
      std::string text;
      for (const json& part : value["concat"]) text += (text.empty() ? "" : " . ") + part_of(part);
      found.insert(std::move(text));
    }
  }
  missing = missing || found.size() < wanted.size();
  return std::includes(wanted.begin(), wanted.end(), found.begin(), found.end());
}

}  // namespace sallyport::nft
