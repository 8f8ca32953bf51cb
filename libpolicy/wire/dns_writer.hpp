// DNS messages as Sallyport sends them: replies to clients and queries to upstreams, into the caller's buffer.
//
//   DnsReplyWriter reply(buffer, query, query.udp_limit(), Rcode::kNoError);
//   for (...) reply.add_a(ttl, octets);
//   send(reply.finish());
//
// Form     A reply has QR=1 AA=0 RA=1, id, opcode, RD and CD of the query, its question in the client's case, and an
// OPT record if
//          and only if the query had one. What does not fit the limit sets TC=1 and leaves all records out, so that
//          nobody takes a part for the whole (DNS-23); question and OPT stay.
// Lifetime The buffer outlives the writer; finish() returns a view into it.
// Threads  None of its own. No allocation, no I/O.
// Errors   None to handle: limits are settled by TC; a buffer below kDnsMinUdp octets is a broken invariant and aborts.
// Source   RFC 1035 §4.1, RFC 6891 §6, RFC 8914 (EDE), RFC 2308 §3 (SOA of a negative answer), RFC 7766.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "wire/dns_message.hpp"
#include "wire/dns_response.hpp"

namespace sallyport::wire {

class DnsReplyWriter {
 public:
  // limit: the most octets the client takes, at least kDnsMinUdp (query.udp_limit(), or kDnsMaxMessage over TCP).
  // query.outcome is not kSilence. The query is copied from, not kept.
  DnsReplyWriter(std::span<std::uint8_t> buffer, const DnsQuery& query, std::size_t limit, Rcode rcode) noexcept;

  // Answer section, in the order of the calls. Owner: the QNAME, or after add_cname() the last target.
  void add_a(std::uint32_t ttl, std::span<const std::uint8_t, 4> address) noexcept;
  void add_aaaa(std::uint32_t ttl, std::span<const std::uint8_t, 16> address) noexcept;
  void add_cname(std::uint32_t ttl, const WireName& target) noexcept;
  // RDATA as given; compressed names inside it would be wrong.
  void add_answer(std::uint16_t type, std::uint32_t ttl, std::span<const std::uint8_t> rdata) noexcept;

  // Authority section; after the answers. Owner is the zone's name.
  void add_soa(const WireName& owner, std::uint32_t ttl, const DnsSoa& soa) noexcept;

  // The same of any type, with the QNAME as its owner; RDATA as given.
  void add_authority(std::uint16_t type, std::uint32_t ttl, std::span<const std::uint8_t> rdata) noexcept;

  // One extended error; sent if the query had EDNS. Text (UTF-8, RFC 8914 §2) is left out where it does not fit.
  void set_error(EdeCode code, std::string_view text = {}) noexcept;

  std::span<const std::uint8_t> finish() noexcept;

 private:
  bool begin_record(const WireName* owner, std::uint16_t type, std::uint32_t ttl, std::size_t rdata_octets) noexcept;
  void put8(std::uint8_t value) noexcept { buffer_[size_++] = value; }
  void put16(std::uint16_t value) noexcept;
  void put32(std::uint32_t value) noexcept;
  void put(std::span<const std::uint8_t> octets) noexcept;
  void put_name(const WireName& name) noexcept;
  std::size_t name_octets(const WireName& name) const noexcept;  // as put_name() would write it

  std::span<std::uint8_t> buffer_;  // cut to the limit
  std::size_t size_ = 0;
  std::size_t question_end_ = 0;
  std::size_t opt_reserve_ = 0;  // an OPT record without options always fits
  std::size_t owner_at_ = 0;     // where the owner of the next answer stands in the buffer
  std::uint16_t flags_ = 0;
  Rcode rcode_;
  std::uint16_t answers_ = 0, authorities_ = 0;
  bool has_question_ = false, has_edns_ = false, dnssec_ok_ = false, truncated_ = false, has_error_ = false;
  EdeCode error_ = EdeCode::kOther;
  std::array<char, 128> error_text_{};  // longer text is cut at a character
  std::uint8_t error_text_octets_ = 0;
  WireName question_name_;
};

// A query as a stub sends it: RD=1, one question of class IN, a plain OPT record (UDP size kDnsMaxUdp, no options).
// Returns the octets written; the buffer has room for kDnsQueryMax.
inline constexpr std::size_t kDnsQueryMax = kDnsHeaderOctets + WireName::kMaxOctets + 4 + 11;
std::size_t write_query(std::span<std::uint8_t, kDnsQueryMax> buffer, std::uint16_t id, const WireName& name,
                        std::uint16_t type) noexcept;

}  // namespace sallyport::wire
