#include "http-proxy/rewrite.hpp"

#include <strings.h>

#include <algorithm>
#include <array>
#include <vector>

namespace sallyport::http_proxy {
namespace {

using wire::BodyKind;
using wire::HttpField;

bool is(std::string_view name, std::string_view other) {
  return name.size() == other.size() && ::strncasecmp(name.data(), other.data(), name.size()) == 0;
}
bool begins(std::string_view name, std::string_view prefix) {
  return name.size() >= prefix.size() && ::strncasecmp(name.data(), prefix.data(), prefix.size()) == 0;
}
bool less(std::string_view a, std::string_view b) {
  const int order = ::strncasecmp(a.data(), b.data(), std::min(a.size(), b.size()));
  return order != 0 ? order < 0 : a.size() < b.size();
}

// RFC 9110 §7.6.1, and what is written anew.
bool is_hop_by_hop(std::string_view name) {
  static constexpr std::array<std::string_view, 8> kNames = {
      "connection", "keep-alive", "te", "trailer", "upgrade", "http2-settings", "transfer-encoding", "content-length"};
  return begins(name, "proxy-") || std::any_of(kNames.begin(), kNames.end(), [&](auto n) { return is(name, n); });
}

// Who asks, as clients or proxies before them say it.
bool is_client_claim(std::string_view name) {
  static constexpr std::array<std::string_view, 5> kNames = {"forwarded", "x-real-ip", "x-client-ip", "client-ip",
                                                             "true-client-ip"};
  return begins(name, "x-forwarded-") || std::any_of(kNames.begin(), kNames.end(), [&](auto n) { return is(name, n); });
}

// Naming these in Connection would take away what the origin judges a request by.
bool is_protected(std::string_view name) {
  static constexpr std::array<std::string_view, 9> kNames = {
      "authorization", "cookie", "origin", "content-type", "content-encoding", "via", "date", "set-cookie", "location"};
  return begins(name, "sec-") || std::any_of(kNames.begin(), kNames.end(), [&](auto n) { return is(name, n); });
}

// What Connection names, as a set: a head may name thousands of options and have a thousand fields.
class ConnectionOptions {
 public:
  explicit ConnectionOptions(const wire::HttpCommonHead& head) {
    for (const HttpField& field : head.fields) {
      if (!is(field.name, "connection")) continue;
      std::string_view list = field.value;
      while (!list.empty()) {
        const std::size_t comma = std::min(list.find(','), list.size());
        std::string_view option = list.substr(0, comma);
        while (!option.empty() && (option.front() == ' ' || option.front() == '\t')) option.remove_prefix(1);
        while (!option.empty() && (option.back() == ' ' || option.back() == '\t')) option.remove_suffix(1);
        if (!option.empty()) options_.push_back(option);
        list.remove_prefix(std::min(comma + 1, list.size()));
      }
    }
    std::sort(options_.begin(), options_.end(), less);
  }
  bool name(std::string_view field) const {
    return !options_.empty() && std::binary_search(options_.begin(), options_.end(), field, less) &&
           !is_protected(field);
  }

 private:
  std::vector<std::string_view> options_;
};

void add(std::string& out, std::string_view name, std::string_view value) {
  out.append(name).append(": ").append(value).append("\r\n");
}

}  // namespace

void rewrite_request(const wire::HttpRequestHead& head, const RequestRewrite& how, std::string& out) {
  out.append(head.method).append(" ");
  if (how.path.empty()) {
    out += head.method == "OPTIONS" ? '*' : '/';
  } else if (how.path.front() == '?') {
    out += '/';
  }
  out.append(how.path).append(" HTTP/1.1\r\n");
  add(out, "Host", how.authority);
  const ConnectionOptions options(head);
  for (const HttpField& field : head.fields) {
    if (is(field.name, "host") || is(field.name, "expect") || is_hop_by_hop(field.name) ||
        is_client_claim(field.name) || options.name(field.name)) {
      continue;
    }
    add(out, field.name, field.value);
  }
  if (how.websocket) out.append("Connection: Upgrade\r\nUpgrade: websocket\r\n");
  if (head.body == BodyKind::kLength) add(out, "Content-Length", std::to_string(head.content_length));
  if (head.body == BodyKind::kChunked) add(out, "Transfer-Encoding", "chunked");
  if (head.body == BodyKind::kNone && head.find("content-length")) add(out, "Content-Length", "0");
  if (head.expect_continue && head.minor_version == 1 && head.body != BodyKind::kNone) {
    add(out, "Expect", "100-continue");
  }
  if (!how.via.empty()) {
    out.append("Via: 1.").append(std::to_string(head.minor_version)).append(" ").append(how.via).append("\r\n");
  }
  out.append("\r\n");
}

void rewrite_response(const wire::HttpResponseHead& head, const ResponseRewrite& how, std::string& out) {
  out.append("HTTP/1.1 ").append(std::to_string(head.status)).append(" ").append(head.reason).append("\r\n");
  const ConnectionOptions options(head);
  for (const HttpField& field : head.fields) {
    if (is_hop_by_hop(field.name) || options.name(field.name)) continue;
    add(out, field.name, field.value);
  }
  if (how.websocket) out.append("Connection: Upgrade\r\nUpgrade: websocket\r\n");
  if (how.framing == Framing::kLength) add(out, "Content-Length", std::to_string(head.content_length));
  if (how.framing == Framing::kChunked) add(out, "Transfer-Encoding", "chunked");
  if (how.framing == Framing::kNone && how.length_of_none) {
    if (const HttpField* length = head.find("content-length")) add(out, "Content-Length", length->value);
  } else if (how.framing == Framing::kNone && head.status >= 200 && head.status != 204) {
    add(out, "Content-Length", "0");
  }
  if (!how.via.empty()) {
    out.append("Via: 1.").append(std::to_string(head.minor_version)).append(" ").append(how.via).append("\r\n");
  }
  if (!how.websocket && head.status >= 200) {
    if (!how.keep_alive) {
      out.append("Connection: close\r\n");
    } else if (how.client_is_10) {
      out.append("Connection: keep-alive\r\n");
    }
  }
  out.append("\r\n");
}

bool has_looped(const wire::HttpCommonHead& head, std::string_view via) {
  for (const HttpField& field : head.fields) {
    if (!is(field.name, "via")) continue;
    for (std::size_t at = 0; at + via.size() <= field.value.size(); ++at) {
      if (is(field.value.substr(at, via.size()), via)) return true;
    }
  }
  return false;
}

}  // namespace sallyport::http_proxy
