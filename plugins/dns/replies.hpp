// Small parts that the two halves of the responder share.
#pragma once

#include <algorithm>
#include <array>
#include <span>
#include <string_view>

#include "dns/responder.hpp"
#include "support/json.hpp"

namespace sallyport::dns {

inline constexpr std::size_t kMaxFixed = 16;  // host addresses of one name; a policy names one or two

inline std::size_t limit_of(const wire::DnsQuery& query, Transport transport, std::span<std::uint8_t> buffer) {
  return transport == Transport::kTcp ? buffer.size() : std::min<std::size_t>(query.udp_limit(), buffer.size());
}

// What only the flow will show.
inline constexpr std::uint32_t kKnowLater = POLICY_KNOW_PORT | POLICY_KNOW_METHOD | POLICY_KNOW_PATH;

inline bool passes(const policy_verdict& verdict) {
  return verdict.verdict == POLICY_ALLOW || verdict.verdict == POLICY_CONTINUE;
}

inline policy_verdict denied(std::uint16_t reason) {
  policy_verdict verdict{};
  verdict.struct_size = sizeof verdict;
  verdict.verdict = POLICY_DENY;
  verdict.reason = reason;
  verdict.rule = POLICY_NO_RULE;
  return verdict;
}

// The SOA that lets a client remember an absence (RFC 2308). Its zone is the name itself: nothing is said about its
// parents.
inline void add_negative_soa(wire::DnsReplyWriter& reply, std::uint32_t ttl) {
  constexpr std::string_view kNames(
      "\x09sallyport\x07invalid\0"
      "\x0ahostmaster\x09sallyport\x07invalid\0",
      19 + 30);
  std::array<std::uint8_t, kNames.size() + 20> rdata{};
  std::copy(kNames.begin(), kNames.end(), rdata.begin());
  std::uint8_t* out = rdata.data() + kNames.size();
  for (const std::uint32_t value : {1u, 3600u, 3600u, 3600u, ttl}) {  // serial, refresh, retry, expire, minimum
    *out++ = static_cast<std::uint8_t>(value >> 24);
    *out++ = static_cast<std::uint8_t>(value >> 16);
    *out++ = static_cast<std::uint8_t>(value >> 8);
    *out++ = static_cast<std::uint8_t>(value);
  }
  reply.add_authority(wire::kTypeSoa, ttl, rdata);
}

// False: the name has no canonical form.
inline bool name_of(const policy_edge_v1& edge, const wire::WireName& name, policy_name& out) {
  policy_error error;
  error.struct_size = sizeof error;
  const auto octets = name.octets();
  return edge.name({reinterpret_cast<const char*>(octets.data()), octets.size()}, POLICY_FORM_WIRE, &out, &error) ==
         POLICY_OK;
}

// The record could not be kept, and the operator would rather lose the answer.
inline std::span<const std::uint8_t> audit_dropped(const wire::DnsQuery& query, Transport transport,
                                                   std::span<std::uint8_t> buffer) {
  wire::DnsReplyWriter refused(buffer, query, limit_of(query, transport, buffer), wire::Rcode::kServFail);
  refused.set_error(wire::EdeCode::kOther, "audit_dropped");
  return refused.finish();
}

}  // namespace sallyport::dns
