// Two policies compared by what they decide: which flows pass by one and not by the other, with an example of each.
//
// Flows    Whoever can ask (a cell's name, an address, a user) for whatever a policy can tell apart: names, addresses,
//          ports, and requests where some rule asks for them. Both policies cut each of these into classes within which
//          neither can tell two flows apart (worlds.hpp); each combination is asked once of both by decide().
// Sound    What is reported was decided so by both, as explain_flow() has it: the example is a flow that changes.
// Whole    Every flow that changes belongs to a reported change, unless `incomplete` says what was left out. IPv6
//          addresses that carry an IPv4 address are looked at by block (names/guard.hpp). Trials (mode: observe) are
//          not taken for permission: the rules are compared, as they hold once the trials have ended.
// Threads  Pure function. Memory and time grow with the names of both.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/decide.hpp"
#include "engine/model.hpp"

namespace sallyport {

enum class Change : std::uint8_t {
  kOpens = 0,  // denied by the first, passes by the second
  kStops,      // the other way round
  kLoosens,    // passes by both, with any bytes by the second alone (tunnel: any)
  kTightens,   // the other way round
};

// What one policy says of the example.
struct DiffVerdict {
  bool passes = false;
  Reason reason = Reason::kNoRule;
  std::uint32_t rule = kNoRuleIndex;
};

struct FlowChange {
  Change change = Change::kOpens;

  // The example. A name, an address, or both: the name leads there, where it matters where it leads.
  std::optional<DomainName> name;
  std::optional<Address> address;
  std::uint16_t port = 0, proto = kProtoTcp;
  std::string method, path;  // of a clear HTTP request, where some rule asks for them; else empty
  std::string asker;         // "cell build-1", "10.0.0.1", "user ci at 10.0.0.1"
  bool at_gate = false;
  std::uint64_t groups_a = 0, groups_b = 0;

  // What the same holds of, with the same rules.
  std::vector<std::string> clients;  // who belongs to just these clients of both policies: "ci", "ci+build"
  bool others = false;               // those of no client too
  bool everyone = false;             // all who can ask
  std::vector<PortRange> ports;
  std::size_t names = 0;                // of both policies' entries that change alike
  std::vector<std::string> more_names;  // a few of them beside the example
  DiffVerdict a, b;
};

struct PolicyDiff {
  std::vector<FlowChange> changes;
  std::vector<std::string> notes;       // what differs without a flow that changes, for people
  std::vector<std::string> incomplete;  // what was left out, for people; empty: nothing
  bool same() const noexcept { return changes.empty() && notes.empty(); }
};

// The snapshots are of the models.
PolicyDiff compare(const PolicyModel& a, const Snapshot& snapshot_a, const PolicyModel& b, const Snapshot& snapshot_b);

}  // namespace sallyport
