// PolicyModel: a policy as the language understood it, before it is compiled. Plain data, validated by language/.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "names/address.hpp"
#include "names/pattern.hpp"
#include "names/pattern_set.hpp"

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
  std::uint32_t file = 0;              // 0: PolicyModel::source; else the n-th of PolicyModel::included
};

// A trial: denials that are not the guard's are audited, and let the flow pass. Ends by itself.
struct ObserveModel {
  std::int64_t until = 0;  // seconds since 1970-01-01 UTC, no longer inside
};

// So much in each period; the period is no longer than a day.
struct RateModel {
  std::uint64_t amount = 0;
  std::uint32_t seconds = 1;
};

// What limits can count; the language refuses more, and a snapshot with more is corrupt.
inline constexpr std::uint64_t kMostRequests = 1'000'000'000;       // in one period
inline constexpr std::uint32_t kMostConnections = 50'000;           // as many as a gateway holds at all
inline constexpr std::uint64_t kMostBandwidth = 1'000'000'000'000;  // octets a second: a nanosecond holds 1000
inline constexpr std::uint64_t kMostQuota = 4'000'000'000'000;      // octets in one period: 42 bits

// What one client may do by one rule. Nothing: no bound.
struct LimitsModel {
  std::optional<RateModel> requests;
  std::optional<std::uint32_t> connections;             // open at once
  std::optional<RateModel> bandwidth;                   // octets, both directions together
  std::optional<RateModel> upload = {}, download = {};  // octets; quotas, kept over a restart
  bool any() const noexcept { return requests || connections || bandwidth || upload || download; }
};

struct ClientModel {
  std::string name;
  std::vector<Prefix> addresses;
  std::vector<std::string> cells;  // names of cells, with '*' for any run of characters
  // Users whose credentials the gateway verified. With addresses as well, both are needed; else either is enough.
  std::vector<std::string> credentials = {};
  std::optional<ObserveModel> observe = {};
};

struct RuleModel {
  std::string name;
  Action action = Action::kDeny;
  std::vector<std::string> clients;  // names of ClientModel; empty: all
  std::vector<Pattern> domains;
  // Further domains, by the thousand: contents of `lists` and presets. Never null.
  std::vector<std::shared_ptr<const PatternSet>> lists = {};
  std::vector<Prefix> addresses;    // literal destinations (allow), any final address (deny); an alternative to domains
  std::vector<PortRange> ports;     // empty: every port (the language fills in 80 and 443 for allow rules with names)
  std::vector<Prefix> resolves_to;  // the name AND one of these; lifts the guard for these
  bool tunnel_any = false;          // `tunnel: any`: the flow's bytes need not be TLS or HTTP for that name
  bool allow_metadata = false;      // lifts the metadata guard together with resolves_to or addresses
  bool observe = false;             // audited, and the flow goes on to the next rule
  LimitsModel limits = {};          // of an allow rule
  std::vector<std::string> methods = {};  // upper case; empty: all
  std::vector<std::string> paths = {};    // with '*' for any run of characters; empty: all
  SourcePosition where;

  // It is about names; a list of none counts.
  bool lists_names() const noexcept { return !domains.empty() || !lists.empty(); }
  bool asks_for_requests() const noexcept { return !methods.empty() || !paths.empty(); }
};

// One flow and what must become of it.
struct TestModel {
  bool allow = false;
  std::string target;                    // as for `policyctl explain`
  std::string client, cell;              // at most one of them; neither: a cell that no client names
  std::string method = "GET";            // of a clear HTTP request
  std::optional<Address> resolved = {};  // what the name is supposed to lead to
  SourcePosition where;
};

struct PolicyModel {
  std::string source;                      // file name for `where`; "command line" for --allow alone
  std::vector<std::string> included = {};  // further files that it was made of, for SourcePosition::file
  Action default_action = Action::kDeny;
  SourcePosition default_where;
  std::optional<ObserveModel> observe = {};
  std::vector<ClientModel> clients;    // at most 64
  std::vector<RuleModel> rules;        // in order; the first that matches decides
  std::vector<TestModel> tests = {};   // passed, if the model came from a file
  std::vector<Address> own_addresses;  // the gateway's: guarded like private ones

  const std::string& file_of(const SourcePosition& where) const noexcept {
    return where.file == 0 || where.file > included.size() ? source : included[where.file - 1];
  }
};

}  // namespace sallyport
