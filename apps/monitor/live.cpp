#include "monitor/live.hpp"

#include "language/load.hpp"
#include "thin/compose.hpp"

namespace sallyport::monitor {
namespace {

constexpr thin::Option kUpload{.name = "upload", .key = "upload_octets"};
constexpr thin::Option kBindings{.name = "no-bindings", .key = "bindings"};
constexpr thin::Option kDecisions{.name = "interface", .key = "decisions"};
constexpr thin::Option kGateway{.name = "gateway", .key = "gateways", .list = true};
constexpr thin::Option kResolver{.name = "resolver", .key = "resolvers", .list = true};

// The workloads are the policy's clients, unless --client says who. A policy that is not good is for the gateway to
// refuse.
std::vector<std::string> clients_of(const std::string& policy) {
  std::vector<std::string> found;
  const LoadOutcome outcome = load_policy_file(policy, {});
  if (!outcome.model) return found;
  for (const ClientModel& client : outcome.model->clients) {
    for (const Prefix& prefix : client.addresses) found.push_back(prefix.text());
  }
  return found;
}

ComposedGateway compose_live(const LiveSettings& live) {
  thin::Settings settings;
  settings.name = live.name;
  settings.policy = live.policy;
  settings.plugin_directory = live.plugin_directory;
  settings.interfaces = live.interfaces;
  settings.clients = live.clients.empty() ? clients_of(live.policy) : live.clients;
  for (const std::string& sink : live.audit) settings.audit.push_back(sink == "-" ? "stdout" : "file:" + sink);
  settings.given = {{&kUpload, {std::to_string(live.upload)}},
                    {&kBindings, {live.bindings ? "true" : "false"}},
                    {&kDecisions, {"false"}}};  // its enforcers are elsewhere, if there are any
  if (!live.gateways.empty()) settings.given.push_back({&kGateway, live.gateways});
  if (!live.resolvers.empty()) settings.given.push_back({&kResolver, live.resolvers});
  return thin::compose(settings, "pcap-monitor", false);
}

}  // namespace

int run_live(const LiveSettings& settings) {
  ServeOptions options;
  options.state_directory = settings.state_directory;
  options.compose = [settings] { return compose_live(settings); };
  return serve_gateway(options);
}

}  // namespace sallyport::monitor
