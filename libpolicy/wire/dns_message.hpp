// DNS messages as a server receives them: the header, and the reader of queries.
//
// read_query() looks at the fixed header first (response bit, opcode, counts) and unpacks nothing that header forbids.
// It takes exactly what a stub resolver sends: one question, at most one OPT record, nothing else, nothing after it.
//
// Threads  Pure functions and plain values; no allocation, no I/O.
// Errors   A QueryOutcome, since each has its own answer on the wire; what could be read is there for the reply to
// echo. Source   RFC 1035 §4, RFC 6891 (EDNS), RFC 8906 (what to answer), RFC 9619 (QDCOUNT), RFC 8914 (EDE).
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "wire/dns_name.hpp"

namespace sallyport::wire {

inline constexpr std::size_t kDnsHeaderOctets = 12;
inline constexpr std::size_t kDnsMaxMessage = 65535;
inline constexpr std::uint16_t kDnsMinUdp = 512;   // RFC 1035 §4.2.1: what everyone takes
inline constexpr std::uint16_t kDnsMaxUdp = 1232;  // no fragmentation on any IPv6 path (1280 less 48)

// RR types with a meaning here (IANA); any other value is legal too.
inline constexpr std::uint16_t kTypeA = 1;
inline constexpr std::uint16_t kTypeNs = 2;
inline constexpr std::uint16_t kTypeCname = 5;
inline constexpr std::uint16_t kTypeSoa = 6;
inline constexpr std::uint16_t kTypePtr = 12;
inline constexpr std::uint16_t kTypeMx = 15;
inline constexpr std::uint16_t kTypeTxt = 16;
inline constexpr std::uint16_t kTypeAaaa = 28;
inline constexpr std::uint16_t kTypeSrv = 33;
inline constexpr std::uint16_t kTypeDname = 39;
inline constexpr std::uint16_t kTypeOpt = 41;
inline constexpr std::uint16_t kTypeSvcb = 64;
inline constexpr std::uint16_t kTypeHttps = 65;
inline constexpr std::uint16_t kTypeIxfr = 251;
inline constexpr std::uint16_t kTypeAxfr = 252;
inline constexpr std::uint16_t kTypeAny = 255;

inline constexpr std::uint16_t kClassIn = 1;

// 12 bits: the upper 8 travel in the OPT record.
enum class Rcode : std::uint16_t {
  kNoError = 0,
  kFormErr = 1,
  kServFail = 2,
  kNxDomain = 3,
  kNotImp = 4,
  kRefused = 5,
  kBadVers = 16,
};

// Extended DNS error codes (RFC 8914) that Sallyport gives.
enum class EdeCode : std::uint16_t {
  kOther = 0,
  kStaleAnswer = 3,
  kBlocked = 15,
  kProhibited = 18,
  kNoReachableAuthority = 22,
  kNetworkError = 23,
};

struct DnsHeader {
  std::uint16_t id = 0;
  std::uint16_t flags = 0;
  std::uint16_t qdcount = 0, ancount = 0, nscount = 0, arcount = 0;

  // nullopt: shorter than 12 octets.
  static std::optional<DnsHeader> read(std::span<const std::uint8_t> message) noexcept;

  bool is_response() const noexcept { return (flags & 0x8000) != 0; }
  std::uint8_t opcode() const noexcept { return static_cast<std::uint8_t>(flags >> 11 & 0x0f); }
  bool is_truncated() const noexcept { return (flags & 0x0200) != 0; }
  bool recursion_desired() const noexcept { return (flags & 0x0100) != 0; }
  bool recursion_available() const noexcept { return (flags & 0x0080) != 0; }
  bool checking_disabled() const noexcept { return (flags & 0x0010) != 0; }
  std::uint8_t rcode() const noexcept { return static_cast<std::uint8_t>(flags & 0x0f); }  // the lower 4 bits
};

struct DnsQuestion {
  WireName name;  // in the client's case
  std::uint16_t type = 0;
  std::uint16_t klass = 0;
};

struct DnsEdns {
  std::uint16_t udp_size = kDnsMinUdp;  // what the client takes, within kDnsMinUdp and kDnsMaxUdp
  std::uint8_t version = 0;
  bool dnssec_ok = false;
  bool has_cookie = false;  // RFC 7873; options themselves are never kept, so none can cross to an upstream
};

enum class QueryOutcome : std::uint8_t {
  kSilence = 0,  // shorter than a header, or a response: any answer could start a loop
  kQuery,        // well-formed, class IN, EDNS version 0 or none
  kFormErr,
  kNotImp,   // opcode other than QUERY
  kRefused,  // class other than IN
  kBadVers,  // EDNS version other than 0; its options are not looked at
};

struct DnsQuery {
  QueryOutcome outcome = QueryOutcome::kSilence;
  DnsHeader header;                     // unset with kSilence
  std::optional<DnsQuestion> question;  // set with kQuery, kRefused, kBadVers; with kFormErr if it could be read
  std::optional<DnsEdns> edns;          // the same

  // The most octets a UDP reply may have; a TCP reply may have kDnsMaxMessage.
  std::uint16_t udp_limit() const noexcept { return edns ? edns->udp_size : kDnsMinUdp; }
};

// The RCODE that answers an outcome; kQuery is kNoError, and nothing answers kSilence.
Rcode rcode_of(QueryOutcome outcome) noexcept;

DnsQuery read_query(std::span<const std::uint8_t> message) noexcept;

}  // namespace sallyport::wire
