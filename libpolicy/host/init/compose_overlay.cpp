#include "host/init/compose_overlay.hpp"

#include <absl/strings/str_format.h>
#include <absl/strings/str_join.h>

#include <string>

#include "host/init/deploy_files.hpp"
#include "host/init/template.hpp"

namespace sallyport {
namespace {

// What the shipped shapes are written for.
constexpr const char *kSubnet = "172.20.0.0/16", *kAgents = "172.20.1.0/24", *kGateway = "172.20.0.1",
                     *kBridge = "br-agents";
constexpr const char* kProxies[] = {"http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"};

std::string compose_text(std::string_view shape, const ComposeNetwork& network) {
  std::string text = absl::StrFormat(
      "# Network `%s` of %s behind one policy: docker-compose -f %s -f %s up -d\n"
      "# The network becomes internal: the services on it leave by the gateway or not at all. They reach neither each\n"
      "# other nor the host; `internal:` in sallyport/gateway.yaml opens pairs.\n",
      network.name, network.file, network.file, kOverlay);
  if (!network.version.empty()) text += absl::StrFormat("version: \"%s\"\n", network.version);
  const std::string compose = "compose/" + std::string(shape) + "/compose.yaml";
  text += "\nservices:\n" + replaced(service_of(shipped(compose), "gateway"), "  gateway:\n", "  sallyport:\n");
  for (const std::string& service : network.services) {
    text += absl::StrFormat("  %s:\n    dns: [%s]\n", service, network.gateway);
    if (shape == "proxy") {
      text += "    environment:\n";
      for (const char* name : kProxies) text += absl::StrFormat("      %s: http://%s:3128\n", name, network.gateway);
    }
    text += "    depends_on: { sallyport: { condition: service_healthy } }\n\n";
  }
  return text + absl::StrFormat("networks:\n  %s: %s\n", network.name, network.definition);
}

std::string gateway_text(std::string_view shape, const ComposeNetwork& network) {
  const std::string_view text = shipped("compose/" + std::string(shape) + "/sallyport/gateway.yaml");
  const std::string pairs =
      "# Pairs of the policy's clients that may reach each other. [[agents, agents]] is what the network was without a "
      "gateway.\n"
      "internal: []\n";
  return replaced(replaced(replaced(replaced(text, "internal: [[agents, supervisor]]\n", pairs), kSubnet,
                                    absl::StrJoin(network.subnets, ", ")),
                           kGateway, network.gateway),
                  kBridge, network.bridge);
}

std::string policy_text(std::string_view shape, const ComposeNetwork& network) {
  const std::string_view text = shipped("compose/" + std::string(shape) + "/sallyport/policy.yaml");
  return replaced(replaced(text, "  supervisor: { addresses: [172.20.0.5] }\n", ""), kAgents,
                  absl::StrJoin(network.subnets, ", "));
}

}  // namespace

std::vector<GeneratedFile> overlay_files(std::string_view shape, const ComposeNetwork& network) {
  return {{kOverlay, compose_text(shape, network)},
          {"sallyport/gateway.yaml", gateway_text(shape, network)},
          {"sallyport/policy.yaml", policy_text(shape, network)}};
}

}  // namespace sallyport
