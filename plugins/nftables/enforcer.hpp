// Enforcer: keeps the kernel's sets in line with the ledger and the policy, and the tables in place.
//
//   a binding comes       decided again, with the guard; elements in one transaction; then told as applied
//   a policy comes        every binding decided again, and what it allows by address; what is denied goes, with its
//                         conntrack entries
//   the ruleset changes   if it was not us: tables and elements compared; what differs is put back whole
//   a port goes           the bindings of its addresses end everywhere, then these are free again
//   once a second         counters to metrics and audit
//
// In three files: enforcer.cpp (bindings), enforcer_tables.cpp (the ruleset), enforcer_watch.cpp (ports, counters).
// Threads  The loop's, but for `shown`.
#pragma once

#include <policy/ext/draft/literals.h>
#include <policy/ext/draft/topology.h>
#include <policy/ext/ledger.h>
#include <policy/ext/metrics.h>

#include <array>
#include <atomic>
#include <map>
#include <policy/plugin.hpp>
#include <set>
#include <string>

#include "host/kernel/claims.hpp"
#include "host/kernel/kernel_tables.hpp"
#include "host/kernel/ruleset.hpp"
#include "nftables/held_bindings.hpp"
#include "nftables/literal_flows.hpp"
#include "nftables/netlink.hpp"
#include "support/event_loop.hpp"

namespace sallyport::nft {

// For health(), on any thread.
struct Shown {
  std::atomic<bool> healthy{true};
  std::atomic<std::uint64_t> bindings{0}, elements{0}, reasserted{0}, last_gap_us{0}, failed{0};
};

// Ids of policy.metrics/1, defined on [main]. Nothing is counted without the extension.
struct Series {
  const policy_metrics_v1* api = nullptr;
  policy_host* host = nullptr;
  std::array<std::uint32_t, std::size(kernel::kCounters)> bypass{};
  std::uint32_t drift = 0, elements = 0, bindings = 0, reassertions = 0, refused = 0;
  void set(std::uint32_t id, std::uint64_t value) const {
    if (api != nullptr) api->set(host, id, value);
  }
  void add(std::uint32_t id, std::uint64_t more) const {
    if (api != nullptr) api->add(host, id, more);
  }
};

class Enforcer {
 public:
  Enforcer(const policy::Host& host, policy::Reader& reader, net::EventLoop& loop, kernel::Topology topology,
           Series series, Shown& shown);

  // Tables in place, watchers at work, and what the ledger has already.
  void begin();
  void follow_ledger();
  void policy_changed();
  // Another worker keeps the tables from now on: elements are still followed, nothing is put back.
  void rest() { resting_ = true; }

 private:
  net::awaitable<void> watch_ruleset();
  net::awaitable<void> watch_links();
  net::awaitable<void> each_second();

  // What has come since the last time: the commands for it.
  std::string read_ledger();
  // What the policy allows of destinations without a name, for everybody who is held.
  std::set<LiteralFlow> allowed_literals();
  // All elements there are to be, for tables that are new.
  std::string everything() const;
  void show_elements();
  std::vector<PortRange> allowed_ports(std::uint64_t client_id, const Address& client, const Address& destination,
                                       const DomainName& name);
  std::optional<policy_addr> sealed(const Address& address) const;
  // One transaction of ours; false: it failed, and everything was put in anew.
  bool commit(const std::string& commands);
  void check_ruleset(net::Clock::time_point noticed);
  bool as_it_should_be();
  bool elements_match();
  bool ports_match();
  bool superseded();
  void reassert(const char* why, net::Clock::time_point noticed);
  void note_reference();
  void check_steering();
  void show_health();
  void check_links();
  // The claims of ports that are no longer there.
  struct Departed {
    std::vector<kernel::Claim> claims, all;
    std::set<Address> clients;  // whose bindings have ended in the ledger, and are to end here
  };
  Departed departed();
  void release(const Departed& departed);
  void sweep_claims();
  std::map<int, std::string> held_ports(const std::map<int, Link>& links) const;
  void forget(const Address& client);
  bool is_bound(std::uint64_t client_id, const Address& client, const Address& destination) const;
  void count();
  void report(std::size_t counter, std::uint64_t packets);
  void tell(std::uint16_t reason, const std::string& cause, std::uint16_t port = 0);
  // gone: clients of whom no flow goes on, whatever admits it.
  void hold_open_flows();
  void cut_flows(const std::set<Address>& gone = {});
  bool is_held(const Address& address) const;

  const policy::Host host_;
  policy::Reader& reader_;
  net::EventLoop& loop_;
  const kernel::Topology topology_;
  const Series series_;
  Shown& shown_;
  const policy_ledger_v1* ledger_;
  const policy_decision_v1* decision_;
  const policy_edge_v1* edge_;
  const policy_literals_draft1* literal_;
  const std::string shape_;
  bool tcp_is_captured_ = false, resting_ = false;
  bool refused_ = false, not_steering_ = false;  // the kernel does not take the tables, or the routes
  net::Clock::time_point red_until_{};

  kernel::KernelTables tables_;
  RulesetWatch ruleset_;
  LinkWatch links_;
  HeldBindings bindings_;
  LiteralFlows literals_;
  std::uint64_t cursor_ = 0;
  std::uint32_t generation_ = 0;                   // of the ruleset, after our last transaction
  std::string inet_reference_, bridge_reference_;  // listings without elements and counters
  kernel::BridgePorts ports_;
  std::map<int, std::string> known_ports_;  // of the held bridges, by index
  std::array<std::uint64_t, std::size(kernel::kCounters)> counted_{};
};

}  // namespace sallyport::nft
