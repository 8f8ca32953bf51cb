#include "support/admission.hpp"

#include <policy/ext/limits.h>

#include <algorithm>
#include <string>

namespace sallyport::net {
namespace {

using wire::ClientHelloReader;
using wire::HttpFault;

bool is_name(const policy_edge_v1& edge, const wire::Authority& authority, const policy_name& name,
             std::uint16_t port) {
  if (authority.kind != wire::HostKind::kName) return false;
  if (authority.port && *authority.port != port) return false;
  policy_name claimed{};
  policy_error error{};
  error.struct_size = sizeof error;
  return edge.name(policy::str(authority.host), POLICY_FORM_HOST, &claimed, &error) == POLICY_OK &&
         policy::view(claimed) == policy::view(name);
}

// As many servers see field names: CGI and WSGI make one variable of X-Original-URL and X_Original_URL.
bool is_field(std::string_view name, std::string_view lower) {
  if (name.size() != lower.size()) return false;
  for (std::size_t i = 0; i < name.size(); ++i) {
    const char c = name[i] >= 'A' && name[i] <= 'Z' ? static_cast<char>(name[i] - 'A' + 'a') : name[i];
    if ((c == '_' ? '-' : c) != lower[i]) return false;
  }
  return true;
}

bool equal_in_any_case(std::string_view a, std::string_view lower) {
  if (a.size() != lower.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const char c = a[i] >= 'A' && a[i] <= 'Z' ? static_cast<char>(a[i] - 'A' + 'a') : a[i];
    if (c != lower[i]) return false;
  }
  return true;
}

std::string_view title_of(unsigned status) {
  switch (status) {
    case 400:
      return "Bad Request";
    case 403:
      return "Forbidden";
    case 414:
      return "URI Too Long";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 502:
      return "Bad Gateway";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return "Error";
  }
}

}  // namespace

std::uint16_t check_hello(const policy_edge_v1& edge, const wire::ClientHello& hello, const policy_name& name,
                          bool allow_grease_ech, policy_name* claimed) {
  // ESNI was never deployed with GREASE: its presence means a hidden name.
  if (hello.esni || (hello.ech && !allow_grease_ech)) return POLICY_REASON_ECH_DENIED;
  switch (hello.sni_state) {
    case wire::SniState::kAbsent:
      return POLICY_REASON_SNI_MISSING;
    case wire::SniState::kMalformed:
      return POLICY_REASON_SNI_MALFORMED;
    case wire::SniState::kPresent:
      break;
  }
  policy_error error{};
  error.struct_size = sizeof error;
  if (edge.name(policy::str(hello.sni), POLICY_FORM_SNI, claimed, &error) != POLICY_OK)
    return POLICY_REASON_SNI_MALFORMED;
  return policy::view(*claimed) == policy::view(name) ? POLICY_REASON_OK : POLICY_REASON_SNI_MISMATCH;
}

std::uint16_t reason_of(ClientHelloReader::Failure failure) noexcept {
  switch (failure) {
    case ClientHelloReader::Failure::kNotTls:
      return POLICY_REASON_NOT_TLS;
    case ClientHelloReader::Failure::kTooLarge:
      return POLICY_REASON_HELLO_TOO_LARGE;
    default:
      return POLICY_REASON_TLS_MALFORMED;
  }
}

std::uint16_t check_request(const policy_edge_v1& edge, const wire::HttpRequestHead& head, const policy_name& name,
                            std::uint16_t port) {
  if (head.method == "CONNECT") return POLICY_REASON_HOST_MISMATCH;  // to an origin that would be a proxy
  if (!head.has_host || !is_name(edge, head.host, name, port)) return POLICY_REASON_HOST_MISMATCH;
  if (head.form == wire::TargetForm::kAbsolute &&
      (!equal_in_any_case(head.scheme, "http") || !is_name(edge, head.target_authority, name, port))) {
    return POLICY_REASON_HOST_MISMATCH;
  }
  return POLICY_REASON_OK;
}

void describe_request(const wire::HttpRequestHead& head, policy_query& query) {
  static constexpr std::string_view kOverrides[] = {"x-http-method-override", "x-http-method", "x-method-override",
                                                    "x-original-url",         "x-rewrite-url", "x-original-uri"};
  query.known &= ~kKnowRequest;
  query.deferred &= ~kKnowRequest;
  for (const wire::HttpField& field : head.fields) {
    for (const std::string_view name : kOverrides) {
      if (is_field(field.name, name)) return;
    }
  }
  query.method = policy::str(head.method);
  query.path = policy::str(head.path.empty() ? std::string_view("/") : head.path);
  query.known |= kKnowRequest;
}

std::string_view claimed_host(const policy_edge_v1& edge, const wire::HttpRequestHead& head, const policy_name& name,
                              std::uint16_t port) {
  const bool has_target = head.form == wire::TargetForm::kAbsolute || head.form == wire::TargetForm::kAuthority;
  if (has_target && head.has_host && is_name(edge, head.host, name, port)) return head.target_authority.host;
  return head.host_raw;
}

std::uint16_t reason_of(HttpFault fault) noexcept {
  switch (fault) {
    case HttpFault::kHostMalformed:
      return POLICY_REASON_AUTHORITY_MALFORMED;
    case HttpFault::kHostMissing:
      return POLICY_REASON_HOST_MISMATCH;
    case HttpFault::kHttp2Preface:
      return POLICY_REASON_UNPARSED;
    default:
      return POLICY_REASON_FRAMING_AMBIGUOUS;
  }
}

unsigned status_of(HttpFault fault) noexcept {
  switch (fault) {
    case HttpFault::kTooLarge:
    case HttpFault::kTooManyFields:
      return 431;
    case HttpFault::kTargetTooLong:
      return 414;
    case HttpFault::kVersion:
    case HttpFault::kHttp2Preface:
      return 505;
    default:
      return 400;
  }
}

unsigned status_of(std::uint16_t reason) noexcept {
  if (reason == POLICY_REASON_LIMIT_EXCEEDED) return 429;
  return reason == POLICY_REASON_UNPARSED || reason == POLICY_REASON_FRAMING_AMBIGUOUS ? 400 : 403;
}

std::string refusal_response(unsigned status, std::string_view reason, std::string_view ref, bool head_request,
                             std::uint64_t retry_after) {
  const std::string code = std::to_string(status);
  const std::string title(title_of(status));
  const std::string error = status == 502                    ? "http_protocol_error"
                            : status == 403 || status == 429 ? "http_request_denied"
                                                             : "http_request_error";
  const std::string word(reason), reference(ref);
  const std::string detail = status == 502   ? "the server's response was refused: " + word
                             : status == 403 ? "refused by policy: " + word + "; this is not a fault, do not retry"
                             : status == 429 ? "more than the policy allows for now: " + word
                                             : "the request was refused: " + word + "; do not retry it as it is";
  const std::string body = R"({"type":"about:blank","title":")" + title + R"(","status":)" + code + R"(,"detail":")" +
                           detail + "\"" + (ref.empty() ? "" : R"(,"ref":")" + reference + "\"") + "}\n";
  return "HTTP/1.1 " + code + " " + title + "\r\nProxy-Status: sallyport; error=" + error + "; details=\"" + word +
         (ref.empty() ? "" : " ref=" + reference) + "\"\r\n" +
         (retry_after > 0 ? "Retry-After: " + std::to_string(retry_after) + "\r\n" : "") +
         "Content-Type: application/problem+json\r\nContent-Length: " + std::to_string(body.size()) +
         "\r\nConnection: close\r\n\r\n" + (head_request ? "" : body);
}

std::uint64_t retry_after(std::uint64_t wait_ns) noexcept {
  constexpr std::uint64_t kSecond = 1'000'000'000;
  return std::max<std::uint64_t>(1, wait_ns / kSecond + (wait_ns % kSecond != 0 ? 1 : 0));
}

std::string_view limit_cause(std::uint32_t limit) noexcept {
  switch (limit) {
    case POLICY_LIMIT_REQUESTS:
      return "limit: requests";
    case POLICY_LIMIT_CONNECTIONS:
      return "limit: connections";
    case POLICY_LIMIT_UPLOAD:
      return "limit: upload";
    case POLICY_LIMIT_DOWNLOAD:
      return "limit: download";
    default:
      return "limit: bandwidth";
  }
}

std::string tls_alert(std::uint16_t reason) {
  constexpr char kAccessDenied = 49, kDecodeError = 50, kUnrecognizedName = 112;
  char description = kAccessDenied;
  if (reason == POLICY_REASON_TLS_MALFORMED || reason == POLICY_REASON_SNI_MALFORMED ||
      reason == POLICY_REASON_HELLO_TOO_LARGE) {
    description = kDecodeError;
  }
  if (reason == POLICY_REASON_SNI_MISMATCH) description = kUnrecognizedName;
  return {0x15, 0x03, 0x03, 0x00, 0x02, 0x02, description};
}

}  // namespace sallyport::net
