#include "language/requests.hpp"

#include <algorithm>
#include <span>

#include "language/suggest.hpp"
#include "names/request_path.hpp"

namespace sallyport {
namespace {

constexpr std::size_t kLongestMethod = 24;
constexpr std::size_t kLongestPath = 512;  // of a pattern: a request is tried against each

constexpr std::string_view kMethods[] = {"GET",     "HEAD",     "POST",      "PUT",    "DELETE", "PATCH",
                                         "OPTIONS", "TRACE",    "COPY",      "LOCK",   "MKCOL",  "MOVE",
                                         "UNLOCK",  "PROPFIND", "PROPPATCH", "SEARCH", "REPORT", "MKCALENDAR"};

// Ports of TLS alone: the filter lets nothing else pass on 443, and the others are that by their assignment.
constexpr std::uint16_t kTlsPorts[] = {443, 465, 563, 636, 853, 989, 990, 992, 993, 995, 5061};

}  // namespace

Parsed<std::string> read_method(std::string_view text) {
  std::string upper(text);
  std::transform(upper.begin(), upper.end(), upper.begin(),
                 [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; });
  const bool token = !upper.empty() && upper.size() <= kLongestMethod &&
                     std::all_of(upper.begin(), upper.end(), [](char c) { return (c >= 'A' && c <= 'Z') || c == '-'; });
  if (!token) {
    return Problem{"P047",
                   in_ticks(text) + " is no HTTP method",
                   upper == "*" ? "leave `methods` out for all of them" : "write a word in upper case, such as GET",
                   {},
                   0,
                   0};
  }
  if (upper == "CONNECT") {
    return Problem{"P047",
                   "`CONNECT` asks a proxy for a tunnel, which is no request of the rule's destination",
                   "name the destination by domains and ports, and leave methods out",
                   {},
                   0,
                   0};
  }
  const std::string_view near = nearest(upper, std::span<const std::string_view>(kMethods));
  const bool known = std::find(std::begin(kMethods), std::end(kMethods), upper) != std::end(kMethods);
  if (upper != text || (!known && !near.empty())) {
    const std::string meant = known || near.empty() ? upper : std::string(near);
    return Problem{"P047", in_ticks(text) + " is no HTTP method", "did you mean " + in_ticks(meant) + "?", {}, 0, 0};
  }
  return upper;
}

Parsed<std::string> read_path(std::string_view text) {
  const std::size_t query = text.find('?');
  if (query != std::string_view::npos) {
    return Problem{"P048",
                   "a path is compared without its query",
                   "write " + std::string(text.substr(0, query)),
                   {},
                   query,
                   text.size() - query};
  }
  if (text.find("://") != std::string_view::npos) {
    const Target target = split_target(text);
    return Problem{"P048",
                   "expected a path, found a URL",
                   "write domains: [" + std::string(target.host) + "], paths: [" +
                       (target.path.empty() ? "/" : std::string(target.path)) + "]",
                   {},
                   0,
                   target.scheme.size() + 3};
  }
  if (text.size() > kLongestPath) {
    return Problem{"P048",
                   "a path of " + std::to_string(text.size()) + " octets",
                   "at most " + std::to_string(kLongestPath) + "; end it with *",
                   {},
                   0,
                   0};
  }
  const Result<std::string> path = canonical_path_pattern(text);
  if (path.ok()) return *path;
  const bool bare = !text.empty() && text.front() != '/';
  return Problem{"P048",
                 in_ticks(text) + " is no path: " + path.error().message,
                 bare ? "write /" + std::string(text) : "write it as servers read it, such as /repos/acme/*",
                 {},
                 path.error().offset < text.size() ? path.error().offset : 0,
                 path.error().offset < text.size() && !bare ? std::size_t{1} : 0};
}

bool is_clear(const PortRange& range) {
  if (range.proto != kProtoTcp) return false;
  for (std::uint32_t port = range.first; port <= range.last; ++port) {
    if (std::find(std::begin(kTlsPorts), std::end(kTlsPorts), port) == std::end(kTlsPorts)) return true;
  }
  return false;
}

}  // namespace sallyport
