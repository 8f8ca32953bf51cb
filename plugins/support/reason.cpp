#include "support/reason.hpp"

#include <policy/abi.h>

#include <array>

namespace sallyport::net {
namespace {

// In the order of abi.h, which never changes.
constexpr std::array<std::string_view, POLICY_REASON_TIMED_OUT + 1> kWords = {"no_rule",
                                                                              "ok",
                                                                              "name_not_allowed",
                                                                              "port_denied",
                                                                              "ip_literal_denied",
                                                                              "addr_forbidden",
                                                                              "guard_metadata",
                                                                              "answer_forbidden_addr",
                                                                              "qtype_denied",
                                                                              "name_malformed",
                                                                              "tunnel_suspect",
                                                                              "spoof_suspect",
                                                                              "authority_malformed",
                                                                              "pattern_too_broad",
                                                                              "policy_invalid",
                                                                              "host_mismatch",
                                                                              "framing_ambiguous",
                                                                              "not_tls",
                                                                              "sni_mismatch",
                                                                              "sni_missing",
                                                                              "sni_malformed",
                                                                              "sni_not_allowed",
                                                                              "loop_detected",
                                                                              "auth_required",
                                                                              "auth_mismatch",
                                                                              "dst_not_bound",
                                                                              "hello_too_large",
                                                                              "tls_malformed",
                                                                              "ech_denied",
                                                                              "ech_present",
                                                                              "hello_timeout",
                                                                              "quic_denied",
                                                                              "ruleset_tampered",
                                                                              "unparsed",
                                                                              "audit_dropped",
                                                                              "address_denied",
                                                                              "upstream_failed",
                                                                              "client_unknown",
                                                                              "revoked",
                                                                              "limit_exceeded",
                                                                              "source_spoofed",
                                                                              "not_gateway",
                                                                              "udp_denied",
                                                                              "no_decision",
                                                                              "upload_volume",
                                                                              "timed_out"};
static_assert(kWords[POLICY_REASON_DST_NOT_BOUND] == "dst_not_bound");
static_assert(kWords[POLICY_REASON_TIMED_OUT] == "timed_out");

}  // namespace

std::string_view reason_word(std::uint16_t reason) noexcept {
  return reason < kWords.size() ? kWords[reason] : kWords[0];
}

}  // namespace sallyport::net
