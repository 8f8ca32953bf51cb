#include "wire/dns_message.hpp"

#include <algorithm>

#include "wire/dns_octets.hpp"

namespace sallyport::wire {
namespace {

constexpr std::uint16_t kOptionCookie = 10;

// RFC 6891 §6.1.2: root owner, then type, class, ttl, rdlength. Moves offset behind the record; nullopt: not exactly an
// OPT.
std::optional<DnsEdns> read_opt(std::span<const std::uint8_t> message, std::size_t& offset) noexcept {
  constexpr std::size_t kFixed = 11;
  if (message.size() - offset < kFixed || message[offset] != 0) return std::nullopt;
  if (get16(message, offset + 1) != kTypeOpt) return std::nullopt;
  DnsEdns edns;
  edns.udp_size = std::clamp(get16(message, offset + 3), kDnsMinUdp, kDnsMaxUdp);
  edns.version = message[offset + 6];
  edns.dnssec_ok = (message[offset + 7] & 0x80) != 0;
  const std::size_t octets = get16(message, offset + 9);
  offset += kFixed;
  if (message.size() - offset < octets) return std::nullopt;
  const std::span<const std::uint8_t> options = message.subspan(offset, octets);
  offset += octets;
  if (edns.version != 0) return edns;  // what follows may mean something else there
  for (std::size_t at = 0; at < options.size();) {
    if (options.size() - at < 4) return std::nullopt;
    const std::size_t length = get16(options, at + 2);
    if (options.size() - at - 4 < length) return std::nullopt;
    edns.has_cookie |= get16(options, at) == kOptionCookie;
    at += 4 + length;
  }
  return edns;
}

}  // namespace

std::optional<DnsHeader> DnsHeader::read(std::span<const std::uint8_t> message) noexcept {
  if (message.size() < kDnsHeaderOctets) return std::nullopt;
  DnsHeader header;
  header.id = get16(message, 0);
  header.flags = get16(message, 2);
  header.qdcount = get16(message, 4);
  header.ancount = get16(message, 6);
  header.nscount = get16(message, 8);
  header.arcount = get16(message, 10);
  return header;
}

Rcode rcode_of(QueryOutcome outcome) noexcept {
  switch (outcome) {
    case QueryOutcome::kQuery:
      return Rcode::kNoError;
    case QueryOutcome::kFormErr:
      return Rcode::kFormErr;
    case QueryOutcome::kNotImp:
      return Rcode::kNotImp;
    case QueryOutcome::kBadVers:
      return Rcode::kBadVers;
    case QueryOutcome::kSilence:
    case QueryOutcome::kRefused:
      break;
  }
  return Rcode::kRefused;
}

DnsQuery read_query(std::span<const std::uint8_t> message) noexcept {
  DnsQuery query;
  const std::optional<DnsHeader> header = DnsHeader::read(message);
  if (!header || header->is_response()) return query;
  query.header = *header;
  query.outcome = QueryOutcome::kNotImp;
  if (header->opcode() != 0) return query;

  query.outcome = QueryOutcome::kFormErr;
  // Records in a query are prerequisites, updates, IXFR's SOA or someone's poison; the additional section is for one
  // OPT.
  if (header->qdcount != 1 || header->ancount != 0 || header->nscount != 0 || header->arcount > 1) return query;

  std::size_t offset = kDnsHeaderOctets;
  const Result<WireName> name = WireName::read(message, offset);
  if (!name.ok() || message.size() - offset < 4) return query;
  query.question = DnsQuestion{*name, get16(message, offset), get16(message, offset + 2)};
  offset += 4;
  if (header->arcount == 1) {
    query.edns = read_opt(message, offset);
    if (!query.edns) return query;
  }
  if (offset != message.size()) return query;

  if (query.edns && query.edns->version != 0)
    query.outcome = QueryOutcome::kBadVers;
  else if (query.question->klass != kClassIn)
    query.outcome = QueryOutcome::kRefused;
  else
    query.outcome = QueryOutcome::kQuery;
  return query;
}

}  // namespace sallyport::wire
