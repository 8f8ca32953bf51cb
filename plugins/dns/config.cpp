#include "dns/config.hpp"

#include "support/config.hpp"

namespace sallyport::dns {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kShortestWait{10}, kLongestWait{5000};  // a stub resolver asks again after 5 s
constexpr std::uint64_t kMostWorkers = 64;                     // more than any machine has sockets for
constexpr std::uint64_t kMostEntries = 4'194'304;

std::vector<Address> gateway_addresses(net::ConfigReader& reader, Answers answers) {
  std::vector<Address> out;
  const std::vector<std::string> texts = reader.strings("gateway_addresses", {});
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const Result<Address> address = Address::parse(texts[i]);
    if (address.ok()) {
      out.push_back(*address);
    } else {
      reader.fail("/gateway_addresses/" + std::to_string(i), "gateway_addresses: `" + texts[i].substr(0, 60) +
                                                                 "` is not an address; expected 172.20.0.3 or fd00::3");
    }
  }
  if (answers == Answers::kGateway && texts.empty()) {
    reader.fail("/gateway_addresses", "answers: gateway needs gateway_addresses, the addresses that every name gets");
  } else if (answers != Answers::kGateway && !texts.empty()) {
    reader.fail("/gateway_addresses", "gateway_addresses: only answers: gateway gives them");
  }
  return out;
}

}  // namespace

policy::Status parse_config(std::string_view json, Config& out) {
  net::ConfigReader reader(json);
  out.listen = reader.strings("listen", {"dns"});
  out.upstreams = reader.upstreams("upstreams");
  const std::string answers = reader.word("answers", "synthetic", {"synthetic", "gateway", "real"});
  out.answers = answers == "gateway" ? Answers::kGateway : answers == "real" ? Answers::kReal : Answers::kSynthetic;
  out.gateway_addresses = gateway_addresses(reader, out.answers);
  const std::string blocked = reader.word("blocked_answer", "nxdomain", {"nxdomain", "zero", "refused"});
  out.blocked = blocked == "zero" ? Blocked::kZero : blocked == "refused" ? Blocked::kRefused : Blocked::kNxDomain;
  out.svcb = reader.word("svcb", "nodata", {"nodata", "strip"}) == "strip" ? Svcb::kStrip : Svcb::kNoData;
  const std::string ipv6 = reader.word("ipv6", "auto", {"auto", "on", "off"});
  out.ipv6 = ipv6 == "on" ? Ipv6::kOn : ipv6 == "off" ? Ipv6::kOff : Ipv6::kAuto;
  out.apply_timeout = reader.duration("apply_timeout", out.apply_timeout, kShortestWait, kLongestWait);
  out.workers = static_cast<unsigned>(reader.number("workers", 0, 0, kMostWorkers));
  out.cache_entries = static_cast<std::size_t>(reader.number("cache_entries", out.cache_entries, 0, kMostEntries));
  out.budgets = net::read_tunnel_limits(reader);
  return reader.status();
}

}  // namespace sallyport::dns
