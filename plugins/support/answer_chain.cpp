#include "support/answer_chain.hpp"

#include <algorithm>
#include <array>
#include <optional>

#include "wire/dns_response.hpp"
#include "wire/dns_svcb.hpp"

namespace sallyport::net {
namespace {

using wire::WireName;

// Far more than a chain of 16 and 64 addresses need; a reply of thousands is somebody's attack on our time.
constexpr std::size_t kMaxRecords = 256;

struct Link {
  WireName owner, target;
  std::uint32_t ttl;
};

struct AddressRecord {
  WireName owner;
  Address address;
  std::uint32_t ttl;
};

struct OwnedService {
  WireName owner;
  ServiceRecord service;
  bool is_usable;
  std::uint32_t ttl;
};

struct Denial {
  WireName zone;
  std::uint32_t ttl;
};

struct Records {
  std::vector<Link> links;
  std::vector<AddressRecord> addresses;
  std::vector<OwnedService> services;
  std::optional<Denial> denial;
  bool has_delegation = false;
  std::uint16_t rcode = 0;
};

Address address_of(std::span<const std::uint8_t> rdata) {
  if (rdata.size() == 4)
    return Address::v4(std::uint32_t{rdata[0]} << 24 | std::uint32_t{rdata[1]} << 16 | std::uint32_t{rdata[2]} << 8 |
                       rdata[3]);
  std::array<std::uint8_t, 16> octets{};
  std::copy_n(rdata.begin(), 16, octets.begin());
  return Address::v6(octets);
}

bool is_service(std::uint16_t type) { return type == wire::kTypeSvcb || type == wire::kTypeHttps; }

std::optional<OwnedService> service_of(const wire::DnsRecord& record) {
  std::vector<std::uint8_t> stripped(record.rdata.size());
  const Result<wire::SvcbData> data = wire::strip_svcb(record.rdata, stripped);
  if (!data.ok()) return std::nullopt;
  stripped.resize(data->octets);
  return OwnedService{record.owner, {data->target, std::move(stripped)}, data->is_usable, record.ttl};
}

// nullopt: malformed somewhere, which spoils all of it, or too much.
std::optional<Records> read_records(std::span<const std::uint8_t> message, std::uint16_t type) {
  Result<wire::DnsResponseReader> reader = wire::DnsResponseReader::open(message);
  if (!reader.ok()) return std::nullopt;
  Records records;
  for (wire::DnsRecord record;;) {
    const Result<bool> more = reader->next(record);
    if (!more.ok()) return std::nullopt;
    if (!*more) break;
    if (record.klass != wire::kClassIn) continue;
    if (record.section == wire::DnsSection::kAnswer && record.type == wire::kTypeCname) {
      const Result<WireName> target = reader->name_data(record);
      if (!target.ok()) return std::nullopt;
      records.links.push_back({record.owner, *target, record.ttl});
    } else if (record.section == wire::DnsSection::kAnswer && record.type == type && is_service(type)) {
      std::optional<OwnedService> service = service_of(record);
      if (!service) return std::nullopt;
      records.services.push_back(*std::move(service));
    } else if (record.section == wire::DnsSection::kAnswer && record.type == type) {
      records.addresses.push_back({record.owner, address_of(record.rdata), record.ttl});
    } else if (record.section == wire::DnsSection::kAuthority && record.type == wire::kTypeSoa) {
      const Result<wire::DnsSoa> soa = reader->soa_data(record);
      if (!soa.ok()) return std::nullopt;
      if (!records.denial) records.denial = Denial{record.owner, soa->negative_ttl(record.ttl)};
    } else if (record.section == wire::DnsSection::kAuthority && record.type == wire::kTypeNs) {
      records.has_delegation = true;
    }
    if (records.links.size() + records.addresses.size() + records.services.size() > kMaxRecords) return std::nullopt;
  }
  records.rcode = reader->rcode();
  return records;
}

}  // namespace

ChainReply read_chain(std::span<const std::uint8_t> message, const WireName& name, std::uint16_t type,
                      unsigned links_left) {
  ChainReply reply;
  reply.end = name;
  std::optional<Records> records = read_records(message, type);
  if (!records || wire::DnsHeader::read(message)->is_truncated()) return reply;
  const bool is_nxdomain = records->rcode == static_cast<std::uint16_t>(wire::Rcode::kNxDomain);
  if (!is_nxdomain && records->rcode != static_cast<std::uint16_t>(wire::Rcode::kNoError)) return reply;

  std::uint32_t ttl = UINT32_MAX;
  for (;;) {
    const Link* link = nullptr;
    for (const Link& candidate : records->links) {
      if (!(candidate.owner == reply.end)) continue;
      if (link != nullptr && !(candidate.target == link->target)) return reply;  // two ways on
      link = &candidate;
    }
    if (link == nullptr) break;
    if (reply.links == links_left) return reply;  // a loop ends here too
    const auto at_link = [&](const auto& record) { return record.owner == reply.end; };
    if (std::any_of(records->addresses.begin(), records->addresses.end(), at_link) ||
        std::any_of(records->services.begin(), records->services.end(), at_link)) {
      return reply;  // alias and data for one name
    }
    ttl = std::min(ttl, link->ttl);
    reply.end = link->target;
    ++reply.links;
    reply.targets.push_back(reply.end);
  }

  // The RCODE speaks of the chain's end (RFC 2308 §2.1).
  bool has_service = false;  // usable or not: the name has the type
  if (!is_nxdomain) {
    for (const AddressRecord& record : records->addresses) {
      if (!(record.owner == reply.end) || reply.addresses.size() == kMaxAddresses) continue;
      if (std::find(reply.addresses.begin(), reply.addresses.end(), record.address) != reply.addresses.end()) continue;
      reply.addresses.push_back(record.address);
      ttl = std::min(ttl, record.ttl);
    }
    for (OwnedService& record : records->services) {
      if (!(record.owner == reply.end)) continue;
      ttl = std::min(ttl, record.ttl);
      has_service = true;
      if (!record.is_usable || reply.services.size() == kMaxServices) continue;
      if (std::find(reply.services.begin(), reply.services.end(), record.service) == reply.services.end())
        reply.services.push_back(std::move(record.service));
    }
    if (!reply.addresses.empty() || has_service) {
      reply.kind = ChainKind::kAnswers;
      reply.ttl = ttl;
      return reply;
    }
  }
  if (records->denial && reply.end.is_within(records->denial->zone)) {
    reply.kind = is_nxdomain ? ChainKind::kNxDomain : ChainKind::kNoData;
    reply.ttl = std::min(ttl, records->denial->ttl);
  } else if (is_nxdomain) {
    reply.kind = ChainKind::kNxDomain;  // true, but for how long was not said: not kept
  } else if (reply.links != 0) {
    reply.kind = ChainKind::kElsewhere;
    reply.ttl = ttl;
  } else if (!records->has_delegation) {
    reply.kind = ChainKind::kNoData;  // type 3 of RFC 2308 §2.2
  }
  return reply;
}

}  // namespace sallyport::net
