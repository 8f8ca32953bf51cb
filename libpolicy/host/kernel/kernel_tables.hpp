// KernelTables: the default-drop tables of a gateway, put in and kept.
//
// install() comes before any worker; remove() is `sallyport release` alone: a gateway that stops or dies leaves the
// tables.
// Errors   In words; what was there before stays.
// Threads  One at a time.
#pragma once

#include <string>
#include <vector>

#include "host/kernel/claims.hpp"
#include "host/kernel/nft_context.hpp"
#include "host/kernel/ruleset.hpp"
#include "host/kernel/topology.hpp"

namespace sallyport::kernel {

class KernelTables {
 public:
  // Replaces both tables in one transaction; where they are too long for that, the bridge's first, since agents beside
  // each other need no gateway.
  // The routes of steering.hpp come last: without them what the rules steer is refused.
  // elements: of the sets of table inet, in the same transaction.
  // Addresses that ports of the bridge have claimed stay theirs, unless they are pinned to another.
  KernelError install(const Topology& topology, const std::string& elements = {});
  KernelError install(const Topology& topology, const std::string& elements, const BridgePorts& ports);
  // Listeners that drain go on doing so. elements: one command a line. In one transaction, unless it is too long for
  // the socket that a user namespace gives: then the tables come first, empty, and each line by itself.
  KernelError install_inet(const Topology& topology, const std::string& elements);
  // The ports of the held bridges have changed.
  KernelError set_ports(const BridgePorts& ports);
  // Takes both tables and the routes away; those that are not there are no error.
  KernelError remove();
  // Are both there, with chains? False too if the kernel does not answer.
  bool present(const Topology& topology);

  // shape_of() the topology that the tables there were made for; empty: no such tables.
  std::string shape();

  NftContext& context() noexcept { return context_; }

 private:
  static std::vector<Claim> claims_of(const Topology& topology);
  KernelError run_in_steps(const std::string& table, const std::string& elements);
  std::string drained();
  std::optional<std::string> with_expiry(const std::string& table, const std::string& set);
  NftContext context_;
};

// Of the held bridges that are there; idempotent.
KernelError stop_link_local_learning(const Topology& topology);

// The ports of this host's bridges now.
BridgePorts bridge_ports(const Topology& topology);

}  // namespace sallyport::kernel
