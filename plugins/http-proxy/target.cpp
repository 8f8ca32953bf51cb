#include "http-proxy/target.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <strings.h>

#include <cstring>

#include "support/admission.hpp"

namespace sallyport::http_proxy {
namespace {

using wire::HostKind;
using wire::HttpFault;
using wire::TargetForm;

constexpr std::uint16_t kHttp = 80;

bool equal_in_any_case(std::string_view a, std::string_view b) {
  return a.size() == b.size() && ::strncasecmp(a.data(), b.data(), a.size()) == 0;
}

// An authority as canonical objects; the port is 80 unless it says another.
bool canonical(const policy_edge_v1& edge, const wire::Authority& authority, Target& out) {
  policy_error error{};
  error.struct_size = sizeof error;
  out.port = authority.port.value_or(kHttp);
  out.is_name = authority.kind == HostKind::kName;
  if (out.is_name) {
    return edge.name(policy::str(authority.host), POLICY_FORM_HOST, &out.name, &error) == POLICY_OK;
  }
  char text[INET6_ADDRSTRLEN] = "";
  if (authority.host.size() >= sizeof text) return false;
  std::memcpy(text, authority.host.data(), authority.host.size());
  if (authority.kind == HostKind::kIpv4) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(out.port);
    return ::inet_pton(AF_INET, text, &address.sin_addr) == 1 &&
           edge.addr(&address, sizeof address, &out.literal, &error) == POLICY_OK;
  }
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_port = htons(out.port);
  return ::inet_pton(AF_INET6, text, &address.sin6_addr) == 1 &&
         edge.addr(&address, sizeof address, &out.literal, &error) == POLICY_OK;
}

bool same_host(const Target& a, const Target& b) {
  if (a.is_name != b.is_name) return false;
  if (a.is_name) return policy::view(a.name) == policy::view(b.name);
  return a.literal.family == b.literal.family &&
         std::memcmp(a.literal.ip, b.literal.ip, a.literal.family == POLICY_IPV4 ? 4 : 16) == 0;
}

}  // namespace

std::string Target::authority() const {
  std::string out;
  if (is_name) {
    out = policy::view(name);
  } else {
    char text[INET6_ADDRSTRLEN] = "";
    const bool v4 = literal.family == POLICY_IPV4;
    ::inet_ntop(v4 ? AF_INET : AF_INET6, literal.ip, text, sizeof text);
    out = v4 ? std::string(text) : "[" + std::string(text) + "]";
  }
  if (port != kHttp) out += ":" + std::to_string(port);
  return out;
}

Refusal read_target(const policy_edge_v1& edge, const wire::HttpRequestHead& head, HostMismatch mismatch, Target& out) {
  const bool connect = head.form == TargetForm::kAuthority;
  if (!connect) {
    if (head.form != TargetForm::kAbsolute) {
      return {400, POLICY_REASON_AUTHORITY_MALFORMED, "a target without an authority; this is a proxy"};
    }
    // No other scheme is served: not ftp, gopher or urn, and https only inside a tunnel.
    if (!equal_in_any_case(head.scheme, "http")) return {400, POLICY_REASON_UNPARSED, "a scheme other than http"};
    out.path = head.path;
  }
  if (!canonical(edge, head.target_authority, out)) {
    return {400, POLICY_REASON_AUTHORITY_MALFORMED, "the target's host is not canonical"};
  }
  if (!head.has_host) return {};
  Target host;
  bool same = canonical(edge, head.host, host) && same_host(host, out);
  // Beside CONNECT many clients send the bare name.
  if (!connect || head.host.port) same = same && host.port == out.port;
  if (same || mismatch == HostMismatch::kRewrite) return {};
  return {400, POLICY_REASON_HOST_MISMATCH, "Host is not the target's authority"};
}

Refusal check_method(const wire::HttpRequestHead& head) {
  // TRACE would send back what was added on the way; nobody needs it through a gateway.
  if (equal_in_any_case(head.method, "trace") || equal_in_any_case(head.method, "track")) {
    return {405, POLICY_REASON_UNPARSED, "a method that is not forwarded"};
  }
  if (!head.expect.empty() && !head.expect_continue && head.minor_version == 1) {
    return {417, POLICY_REASON_UNPARSED, "an expectation other than 100-continue"};
  }
  return {};
}

Refusal refusal_of(HttpFault fault, const wire::HttpRequestHead& head) {
  Refusal out{net::status_of(fault), net::reason_of(fault), wire::to_string(fault)};
  switch (fault) {
    case HttpFault::kTarget:
      out.reason = POLICY_REASON_AUTHORITY_MALFORMED;
      break;
    case HttpFault::kHostMalformed:
      // Nothing, or a list: others take one of the names.
      if (head.host_raw.empty() || head.host_raw.find(',') != head.host_raw.npos) {
        out.reason = POLICY_REASON_FRAMING_AMBIGUOUS;
      }
      break;
    case HttpFault::kHostMissing:
      out.reason = POLICY_REASON_FRAMING_AMBIGUOUS;
      break;
    case HttpFault::kTooLarge:
    case HttpFault::kTooManyFields:
    case HttpFault::kTargetTooLong:
      out.reason = POLICY_REASON_LIMIT_EXCEEDED;
      break;
    case HttpFault::kVersion:
      out.reason = POLICY_REASON_UNPARSED;
      break;
    default:
      break;
  }
  return out;
}

}  // namespace sallyport::http_proxy
