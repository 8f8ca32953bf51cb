// read_chain(): what one reply says about one name, and nothing else it may carry.
//
// Form     Only records of class IN in the answer section count, and only those on the CNAME chain that starts at the
// name;
//          of the authority section only the SOA of a zone that holds the chain's end, for the negative TTL (DNS-29).
// Threads  A pure function.
// Errors   kFailed: malformed anywhere, truncated (TC, here over TCP), an RCODE other than NOERROR and NXDOMAIN, a
// referral, two CNAMEs for one name or a CNAME
//          beside addresses, a loop, more links than are left.
// Source   RFC 1034 §3.6.2 (CNAME), RFC 2308 §2 (the forms of NXDOMAIN and NODATA), RFC 5452 §6 (in-bailiwick).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "names/address.hpp"
#include "support/service_record.hpp"
#include "wire/dns_name.hpp"

namespace sallyport::net {

enum class ChainKind : std::uint8_t {
  kFailed = 0,
  kAnswers,
  kNoData,
  kNxDomain,
  kElsewhere,  // the chain leads out of the reply, to `end`
};

struct ChainReply {
  ChainKind kind = ChainKind::kFailed;
  std::vector<Address> addresses;       // each once, at most kMaxAddresses
  std::vector<ServiceRecord> services;  // with type SVCB or HTTPS instead, at most kMaxServices
  std::uint32_t ttl = 0;                // s: the least of links and addresses, or of links and negative TTL
  wire::WireName end;                   // the last name of the chain
  unsigned links = 0;
  std::vector<wire::WireName> targets;  // of the links, in order; the last is `end`
};

inline constexpr std::size_t kMaxAddresses = 64;  // more than any dialler will try
inline constexpr std::size_t kMaxServices = 16;   // what fits a reply with some to spare

// type is A, AAAA, SVCB or HTTPS; the caller has checked id and question.
ChainReply read_chain(std::span<const std::uint8_t> message, const wire::WireName& name, std::uint16_t type,
                      unsigned links_left);

}  // namespace sallyport::net
