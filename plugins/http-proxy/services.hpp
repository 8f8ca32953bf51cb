// What the connections of one thread stand on; all of it outlives them.
#pragma once

#include <policy/ext/clients.h>
#include <policy/ext/flow.h>

#include <functional>
#include <policy/plugin.hpp>
#include <string>

#include "http-proxy/config.hpp"
#include "http-proxy/verifier.hpp"
#include "support/async.hpp"
#include "support/client_counts.hpp"
#include "support/resolver.hpp"
#include "support/tunnel_budgets.hpp"

namespace sallyport::http_proxy {

struct Services {
  const policy_edge_v1* edge = nullptr;
  const policy_decision_v1* decision = nullptr;
  const policy_clients_v1* clients = nullptr;  // nullptr: a client is what its listener says
  const policy_flow_v1* flow = nullptr;        // nullptr: no tickets
  const policy_limits_v1* limits = nullptr;    // nullptr: a host that keeps none, as in tests of other things
  policy::Reader* reader = nullptr;
  // As net::Resolver::resolve.
  std::function<net::awaitable<net::ResolveResult>(DomainName, std::uint16_t, net::Clock::time_point)> resolve;
  std::function<bool()> has_ipv6;
  net::ClientCounts* counts = nullptr;
  net::TunnelBudgets* budgets = nullptr;  // of names that only a lookup of ours would bring outside; nullptr: none
  std::function<void(std::string_view text)> alarm;  // for the operator; with budgets
  // Credentials that policy_clients_v1::recall does not know. Empty: verified on this thread.
  std::function<net::awaitable<policy_code>(Login)> verify;
  std::function<bool(std::uint16_t port)> listens;  // on that port, one of this plugin's listeners
  std::string via;                                  // our pseudonym, the same in every thread, unguessable
};

}  // namespace sallyport::http_proxy
