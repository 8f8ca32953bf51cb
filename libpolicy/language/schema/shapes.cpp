#include "language/schema/shapes.hpp"

#include <algorithm>
#include <iterator>

namespace sallyport {
namespace {

constexpr std::string_view kPlainName = "^[A-Za-z0-9._-]{1,64}$";
constexpr std::string_view kCell = "^[A-Za-z0-9._*-]+$";
constexpr std::string_view kUser = "^[^:]{1,63}$";
// Of one word, without what would make it a URL, a path or a port.
constexpr std::string_view kDomain = "^(\\*{1,2}\\.|\\.)?[^\\s*/:?#@,;|.\\[\\]][^\\s*/:?#@,;|\\[\\]]*$";
constexpr std::string_view kBlock = "^[0-9a-fA-F:.]+(/[0-9]{1,3})?$";
constexpr std::string_view kPort = "^[0-9]{1,5}(-[0-9]{1,5})?(/(tcp|udp))?$";
constexpr std::string_view kTime = "^[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ].*)?$";
constexpr std::string_view kCount = "^[0-9]+/(s|m|h|day)$";
constexpr std::string_view kOctets = "^[0-9]+([kMGT]?B|[KMGT]iB)/(s|m|h|day)$";
constexpr std::string_view kMethod = "^[!#$%&'*+.^_`|~0-9A-Z-]+$";
constexpr std::string_view kPath = "^[/*]";
constexpr std::string_view kEndpoint = "^([0-9.]+|\\[[0-9a-fA-F:.]+\\]):[0-9]{1,5}$";
constexpr std::string_view kDuration = "^[0-9]+(\\.[0-9]+)?[a-z]*$";
constexpr std::string_view kSink = "^(stdout|file:.+)$";

constexpr Shape kShapes[] = {
    {.key = "sallyport.policy.v1.Policy.version", .least = 1, .most = 1, .mandatory = true},
    {.key = "sallyport.policy.v1.Policy.clients", .keys = kPlainName, .most = 64},
    {.key = "sallyport.policy.v1.Policy.lists", .keys = kPlainName},
    {.key = "sallyport.policy.v1.Policy.until", .pattern = kTime, .example = "2027-01-01"},
    {.key = "sallyport.policy.v1.List.file", .mandatory = true, .example = "lists/ads.txt"},
    {.key = "sallyport.policy.v1.Client.addresses", .pattern = kBlock, .least = 1, .example = "172.20.0.0/16"},
    {.key = "sallyport.policy.v1.Client.cells", .pattern = kCell, .least = 1, .example = "build-*"},
    {.key = "sallyport.policy.v1.Client.credentials", .pattern = kUser, .least = 1, .example = "ci-bot"},
    {.key = "sallyport.policy.v1.Client.until", .pattern = kTime, .example = "2027-01-01"},
    {.key = "sallyport.policy.v1.Rule.name", .pattern = kPlainName, .mandatory = true},
    {.key = "sallyport.policy.v1.Rule.action", .mandatory = true},
    {.key = "sallyport.policy.v1.Rule.clients", .pattern = kPlainName, .least = 1},
    {.key = "sallyport.policy.v1.Rule.domains", .pattern = kDomain, .least = 1, .example = "*.example.com"},
    {.key = "sallyport.policy.v1.Rule.addresses", .pattern = kBlock, .least = 1, .example = "203.0.113.0/24"},
    {.key = "sallyport.policy.v1.Rule.ports", .pattern = kPort, .least = 1, .example = "8000-8010"},
    {.key = "sallyport.policy.v1.Rule.resolves_to", .pattern = kBlock, .least = 1, .example = "172.20.0.5"},
    {.key = "sallyport.policy.v1.Rule.lists", .pattern = kPlainName, .least = 1},
    {.key = "sallyport.policy.v1.Rule.preset", .least = 1, .example = "pypi"},
    {.key = "sallyport.policy.v1.Rule.methods", .pattern = kMethod, .least = 1, .example = "GET"},
    {.key = "sallyport.policy.v1.Rule.paths", .pattern = kPath, .least = 1, .example = "/v1/*"},
    {.key = "sallyport.policy.v1.Limits.requests", .pattern = kCount, .example = "600/m"},
    {.key = "sallyport.policy.v1.Limits.connections", .least = 1},
    {.key = "sallyport.policy.v1.Limits.bandwidth", .pattern = kOctets, .example = "10MB/s"},
    {.key = "sallyport.policy.v1.Limits.upload", .pattern = kOctets, .example = "100MB/day"},
    {.key = "sallyport.policy.v1.Limits.download", .pattern = kOctets, .example = "5GB/day"},
    {.key = "sallyport.gateway.v1.Gateway.version", .least = 1, .most = 1, .mandatory = true},
    {.key = "sallyport.gateway.v1.Gateway.policy", .mandatory = true, .example = "policy.yaml"},
    {.key = "sallyport.gateway.v1.Gateway.internal", .shorter = Short::kPair},
    {.key = "sallyport.gateway.v1.Gateway.drain", .pattern = kDuration, .example = "10s"},
    {.key = "sallyport.gateway.v1.Network.addresses", .pattern = kBlock},
    {.key = "sallyport.gateway.v1.Network.addresses_per_port", .least = 1, .most = 1024},
    {.key = "sallyport.gateway.v1.Listener.udp", .pattern = kEndpoint, .shorter = Short::kOneOrMany},
    {.key = "sallyport.gateway.v1.Listener.tcp", .pattern = kEndpoint, .shorter = Short::kOneOrMany},
    {.key = "sallyport.gateway.v1.Plugin.name", .mandatory = true},
    {.key = "sallyport.gateway.v1.Plugin.config", .shorter = Short::kAnyObject},
    {.key = "sallyport.gateway.v1.Audit.sinks", .pattern = kSink, .example = "file:/var/log/sallyport/audit.jsonl"},
};

constexpr std::string_view kTestOutcomes[] = {"allow", "deny"};

}  // namespace

std::span<const Shape> shapes() noexcept { return kShapes; }

const Shape* shape_of(std::string_view key) noexcept {
  const auto found = std::find_if(std::begin(kShapes), std::end(kShapes), [&](const Shape& s) { return s.key == key; });
  return found == std::end(kShapes) ? nullptr : found;
}

std::span<const std::string_view> one_of(std::string_view message) noexcept {
  if (message == "sallyport.policy.v1.Test") return kTestOutcomes;
  return {};
}

}  // namespace sallyport
