// DnsResponseReader: walks a response from an upstream, who is not trusted to be well-formed.
//
//   Result<DnsResponseReader> reader = DnsResponseReader::open(message);
//   DnsRecord record;
//   for (;;) {
//     Result<bool> more = reader->next(record);
//     if (!more.ok()) ...refuse the whole message...
//     if (!*more) break;
//     ...
//   }
//
// Form     A response to opcode QUERY with exactly one question, its records, and nothing after the last of them.
// Lifetime Views into the message, which the caller keeps.
// Threads  None of its own. No allocation, no I/O; work is linear in the message.
// Errors   kIncomplete, kMalformed, kTooLong with the offset; after one, the message is of no use. Records read before
// it must
//          not be used either: a message is taken whole or not at all.
// Source   RFC 1035 §4.1, RFC 2181 §8 (a TTL with its top bit set is 0), RFC 6891 (OPT).
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "wire/dns_message.hpp"

namespace sallyport::wire {

enum class DnsSection : std::uint8_t { kAnswer = 1, kAuthority = 2, kAdditional = 3 };

struct DnsRecord {
  DnsSection section = DnsSection::kAnswer;
  WireName owner;
  std::uint16_t type = 0;
  std::uint16_t klass = 0;
  std::uint32_t ttl = 0;  // seconds; of an OPT record the raw field
  std::size_t rdata_offset = 0;
  std::span<const std::uint8_t> rdata;  // for names inside it use the reader: they may be compressed
};

struct DnsSoa {
  WireName mname, rname;
  std::uint32_t serial = 0, refresh = 0, retry = 0, expire = 0, minimum = 0;

  // RFC 2308 §5: how long the absence may be remembered, given the TTL of the SOA record itself.
  std::uint32_t negative_ttl(std::uint32_t ttl) const noexcept { return ttl < minimum ? ttl : minimum; }
};

class DnsResponseReader {
 public:
  static Result<DnsResponseReader> open(std::span<const std::uint8_t> message) noexcept;

  const DnsHeader& header() const noexcept { return header_; }
  const DnsQuestion& question() const noexcept { return question_; }

  // The next record of the three sections in order; false behind the last. A second OPT, or one outside the additional
  // section or with an owner other than the root, is kMalformed, and so is A or AAAA data of the wrong size.
  Result<bool> next(DnsRecord& record) noexcept;

  // All 12 bits; complete once next() returned false.
  std::uint16_t rcode() const noexcept;

  // The name that is the whole RDATA of a CNAME, DNAME, NS or PTR record of this message.
  Result<WireName> name_data(const DnsRecord& record) const noexcept;
  Result<DnsSoa> soa_data(const DnsRecord& record) const noexcept;

 private:
  DnsResponseReader() = default;

  std::span<const std::uint8_t> message_;
  DnsHeader header_;
  DnsQuestion question_;
  std::size_t offset_ = 0;
  std::uint32_t left_[3] = {0, 0, 0};
  bool seen_opt_ = false;
  std::uint8_t extended_rcode_ = 0;
};

}  // namespace sallyport::wire
