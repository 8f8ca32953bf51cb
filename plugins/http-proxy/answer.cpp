#include "http-proxy/answer.hpp"

#include "support/reason.hpp"

namespace sallyport::http_proxy {
namespace {

std::string_view title_of(unsigned status) {
  switch (status) {
    case 400:
      return "Bad Request";
    case 403:
      return "Forbidden";
    case 405:
      return "Method Not Allowed";
    case 407:
      return "Proxy Authentication Required";
    case 408:
      return "Request Timeout";
    case 414:
      return "URI Too Long";
    case 417:
      return "Expectation Failed";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 502:
      return "Bad Gateway";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    case 505:
      return "HTTP Version Not Supported";
    case 508:
      return "Loop Detected";
    default:
      return "Error";
  }
}

std::string_view error_of(unsigned status) {
  switch (status) {
    case 403:
    case 407:
    case 429:
      return "http_request_denied";
    case 502:
      return "http_protocol_error";
    case 503:
      return "connection_limit_reached";
    case 504:
      return "http_response_timeout";
    case 508:
      return "proxy_loop_detected";
    default:
      return "http_request_error";
  }
}

std::string_view words_of(unsigned status) {
  switch (status) {
    case 403:
      return "refused by policy: ";
    case 407:
      return "credentials are needed: ";
    case 429:
      return "more than the policy allows for now: ";
    case 502:
    case 504:
      return "allowed, but the server could not be used: ";
    case 503:
      return "the gateway is at its limits, try again later: ";
    default:
      return "the request was refused: ";
  }
}

}  // namespace

std::string answer_text(const Answer& answer) {
  const std::string code = std::to_string(answer.status);
  const std::string_view title = title_of(answer.status), word = net::reason_word(answer.reason);
  const std::string_view error = answer.error.empty() ? error_of(answer.status) : answer.error;
  std::string body;
  body.reserve(256);
  body.append(R"({"type":"about:blank","title":")").append(title).append(R"(","status":)").append(code);
  body.append(R"(,"detail":")").append(words_of(answer.status)).append(word);
  if (answer.status == 403) body.append("; this is not a fault, do not retry");
  body.append("\"");
  if (!answer.ref.empty()) body.append(R"(,"ref":")").append(answer.ref).append("\"");
  body.append("}\n");

  std::string out;
  out.reserve(384 + body.size());
  out.append("HTTP/1.1 ").append(code).append(" ").append(title);
  out.append("\r\nProxy-Status: sallyport; error=").append(error).append("; details=\"").append(word);
  if (!answer.ref.empty()) out.append(" ref=").append(answer.ref);
  out.append("\"\r\n");
  if (answer.status == 407) out.append("Proxy-Authenticate: Basic realm=\"sallyport\", charset=\"UTF-8\"\r\n");
  if (answer.status == 405) out.append("Allow: GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS, CONNECT\r\n");
  const std::uint64_t retry_after = answer.status == 503 ? 1 : answer.retry_after;
  if (retry_after > 0) out.append("Retry-After: ").append(std::to_string(retry_after)).append("\r\n");
  out.append("Content-Type: application/problem+json\r\nCache-Control: no-store\r\nContent-Length: ");
  out.append(std::to_string(body.size())).append("\r\nConnection: close\r\n\r\n");
  if (!answer.head_request) out.append(body);
  return out;
}

}  // namespace sallyport::http_proxy
