// PolicyModel: a policy as the language understood it, before it is compiled. Plain data, validated by language/.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "names/address.hpp"
#include "names/pattern.hpp"

namespace sallyport {

enum class Action : std::uint8_t { kDeny = 0, kAllow = 1 };

// Protocol numbers as in IP.
enum : std::uint16_t { kProtoTcp = 6, kProtoUdp = 17 };

struct PortRange {
  std::uint16_t first = 0, last = 0;  // both inside
  std::uint16_t proto = kProtoTcp;
};

struct SourcePosition {
  std::uint32_t line = 0, column = 0;  // 1-based; 0 is unknown (a rule from the command line)
};

struct ClientModel {
  std::string name;
  std::vector<Prefix> addresses;
  std::vector<std::string> cells;  // names of cells, with '*' for any run of characters
  // Users whose credentials the gateway verified. With addresses as well, both are needed; else either is enough.
  std::vector<std::string> credentials = {};
};

struct RuleModel {
  std::string name;
  Action action = Action::kDeny;
  std::vector<std::string> clients;  // names of ClientModel; empty: all
  std::vector<Pattern> domains;
  std::vector<Prefix> addresses;    // literal destinations (allow), any final address (deny); an alternative to domains
  std::vector<PortRange> ports;     // empty: every port (the language fills in 80 and 443 for allow rules with names)
  std::vector<Prefix> resolves_to;  // the name AND one of these; lifts the guard for these
  bool tunnel_any = false;          // `tunnel: any`: the flow's bytes need not be TLS or HTTP for that name
  bool allow_metadata = false;      // lifts the metadata guard together with resolves_to or addresses
  SourcePosition where;
};

struct PolicyModel {
  std::string source;  // file name for `where`; "command line" for --allow alone
  Action default_action = Action::kDeny;
  SourcePosition default_where;
  std::vector<ClientModel> clients;    // at most 64
  std::vector<RuleModel> rules;        // in order; the first that matches decides
  std::vector<Address> own_addresses;  // the gateway's: guarded like private ones
};

}  // namespace sallyport
