// What a cell does with one destination, asked of the engine in the same steps and with the same attributes as the
// plugins of a cell ask: the name (dns), then name and port (sni-filter), then the address that is dialled.
//
// Form     A step's query says what was known; its trace has a row a rule, up to the one that decided.
// Errors   Values: a target that is no name and no address is denied as the cell would, by name_malformed. What no
// program
//          could ever ask for (a pattern, an account, nothing at all) is a mistake of who asks.
// Threads  One Reader a thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/decide.hpp"

namespace sallyport {

// A destination as a user writes it, taken apart.
struct Destination {
  std::optional<DomainName> name;
  std::optional<Address> address;
  std::string raw;        // the host as written
  std::string malformed;  // why it is neither
  std::uint16_t port = 443;
  std::uint16_t proto = kProtoTcp;
  bool port_given = false;
  bool at_gate = false;  // asked for a client of a gate, whose kernel forwards UDP
  // A request that can be read: http://NAME/PATH, or port 80. Of TLS and all else nobody sees one.
  bool clear_http = false;
  std::string method = "GET";
  std::optional<std::string> path = {};  // as written, with its query; none: not said, so it is still to come
};

// A URL, HOST[:PORT], ADDRESS[:PORT] or [IPv6]:PORT; PORT/udp and udp:// are UDP. usage is set if it can't be
// understood, to what was wrong and what to write.
Destination read_destination(std::string_view text, std::optional<std::uint16_t> port, std::string& usage);

struct Step {
  Layer layer = Layer::kNone;
  Verdict verdict;
  std::vector<RuleTrace> trace;
  std::optional<Address> address;  // known at this step
};

struct FlowExplanation {
  bool allowed = false;
  bool address_open = false;     // the address is not known yet, and the guard or resolves_to may still refuse it
  bool inside_the_cell = false;  // a literal address that leads to nobody but the workload, whatever the rules say
  bool never_resolves = false;   // a single label without fixed addresses: the cell's dns asks nobody
  bool own_dns = false;          // port 53, whatever the address: the cell's dns answers it
  bool udp = false;              // of a cell, which it never leaves; no step was asked
  bool request_open = false;     // the request will tell: some rule asks for its method or path
  bool path_unreadable = false;  // servers read the path in different ways: no allow rule of paths matches it
  bool observed = false;         // a trial lets it pass: the reason and the last step's rule say what denies it
  Reason reason = Reason::kNoRule;
  std::vector<Step> steps;  // the last one decided; empty for a malformed name
};

// resolved: suppose that the name leads there. now: seconds since 1970, for trials (mode: observe); 0: none is on.
// groups: Snapshot::groups_of_cell() or a client's bit.
FlowExplanation explain_flow(Reader& reader, const Destination& destination, std::uint64_t groups,
                             const std::optional<Address>& resolved, std::int64_t now = 0);

}  // namespace sallyport
