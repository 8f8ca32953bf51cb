// decide(): one walk over the rules in order, and explain(): the same walk with a witness.
//
// Each rule is a conjunction (client, destination, port) and each part says no, may or match: docs/matching.md has the
// truth table and the reasons for it. walk() is a template on who watches; the watcher is told and never asked, except
// whether it wants to see the rules that can't match.
#include "engine/decide.hpp"

#include <algorithm>

#include "engine/glob.hpp"
#include "engine/prefix_table.hpp"
#include "engine/view.hpp"
#include "names/guard.hpp"

namespace sallyport {
namespace {

enum class Sight : std::uint8_t { kInvisible = 0, kDeferred, kKnown };

struct Part {
  Outcome outcome = Outcome::kNo;
  Mismatch mismatch = Mismatch::kNothing;
};

constexpr Part kMatches = {Outcome::kMatch, Mismatch::kNothing};

// AND: the lower outcome; of two equal ones the first, which names the mismatch.
constexpr Part both(Part first, Part second) noexcept { return second.outcome < first.outcome ? second : first; }

constexpr Part known(bool matches, Mismatch otherwise) noexcept {
  return matches ? kMatches : Part{Outcome::kNo, otherwise};
}

// What an attribute says when its value is not at hand: a later layer will know, or nobody ever will. Then an allow
// rule must not match, and a deny rule must.
constexpr Part unknown(Sight sight, bool allow, Mismatch attribute) noexcept {
  if (sight == Sight::kDeferred) return {Outcome::kMay, attribute};
  return allow ? Part{Outcome::kNo, Mismatch::kInvisible} : kMatches;
}

// A query against one snapshot, with what several rules ask of it.
class Flow {
 public:
  Flow(const Tables& tables, const Query& query) noexcept
      : name(query.name == nullptr ? unless_known(query, kKnowName) : sight_of(query, kKnowName)),
        address(query.address == nullptr ? unless_known(query, kKnowAddress) : sight_of(query, kKnowAddress)),
        port(sight_of(query, kKnowPort)),
        method(query.method.empty() ? unless_known(query, kKnowMethod) : sight_of(query, kKnowMethod)),
        path(query.path.empty() ? unless_known(query, kKnowPath) : sight_of(query, kKnowPath)),
        query_(query),
        tables_(tables) {
    if (address == Sight::kKnown) address_key_ = format::key_of(*query.address);
  }

  const Sight name, address, port, method, path;

  const format::Http* http_of(const format::Rule& rule) const noexcept {
    return rule.http == 0 ? nullptr : &tables_.http[rule.http - 1];
  }

  bool method_in(format::Range methods) const noexcept {
    for (const format::Range& one : tables_.cells_in(methods)) {
      if (tables_.string_in(one) == query_.method) return true;
    }
    return false;
  }

  bool path_in(format::Range paths) const noexcept {
    for (const format::Range& one : tables_.cells_in(paths)) {
      if (glob_matches(tables_.string_in(one), query_.path)) return true;
    }
    return false;
  }

  bool is_on_trial() const noexcept { return query_.now > 0 && query_.now < tables_.trial_until(query_.groups); }

  bool address_in(format::Range prefixes) const noexcept { return tables_.is_in(prefixes, address_key_); }

  bool port_in(format::Range ports) const noexcept {
    for (const format::Port& range : tables_.ports_in(ports)) {
      if (range.proto == query_.proto && range.first <= query_.port && query_.port <= range.last) return true;
    }
    return false;
  }

  bool of_client(const format::Rule& rule) const noexcept {
    return (rule.flags & format::kRuleClients) == 0 || (rule.groups & query_.groups) != 0;
  }

  // The final address is known, and only a rule that names it may allow it. Asked only when something would allow.
  bool is_guarded() noexcept {
    look();
    return guard_ != Guard::kOpen;
  }
  bool is_metadata() noexcept {
    look();
    return guard_ == Guard::kMetadata;
  }

 private:
  enum class Guard : std::uint8_t { kUnasked, kOpen, kGuarded, kMetadata };

  static Sight sight_of(const Query& query, std::uint32_t attribute) noexcept {
    if ((query.known & attribute) != 0) return Sight::kKnown;
    return unless_known(query, attribute);
  }
  // For a value that is claimed and missing: never better than invisible.
  static Sight unless_known(const Query& query, std::uint32_t attribute) noexcept {
    if ((query.known & attribute) != 0) return Sight::kInvisible;
    return (query.deferred & attribute) != 0 ? Sight::kDeferred : Sight::kInvisible;
  }

  void look() noexcept {
    if (guard_ != Guard::kUnasked) return;
    guard_ = Guard::kOpen;
    if (address != Sight::kKnown) return;
    const AddressClass kind = classify(*query_.address);
    if (kind == AddressClass::kMetadata) {
      guard_ = Guard::kMetadata;
    } else if (sallyport::is_guarded(kind) || address_in(tables_.header->own_addresses)) {
      guard_ = Guard::kGuarded;
    }
  }

  const Query& query_;
  const Tables& tables_;
  format::PrefixKey address_key_;
  Guard guard_ = Guard::kUnasked;
};

// What the destination part of a rule says: as written, and with the guard on top.
struct Destination {
  Part open, guarded;
  bool by_name = false;  // the domains decided, not the addresses
};

struct Said {
  Part part;
  bool by_name = false;
  bool guard_blocked = false;  // only the guard kept an allow rule from matching
  bool port_blocked = false;   // client and destination match, the port does not
};

Part under_guard(Part open, const format::Rule& rule, bool names_address, Flow& flow) noexcept {
  if (open.outcome == Outcome::kNo || !flow.is_guarded()) return open;
  const bool lifted = names_address && (!flow.is_metadata() || (rule.flags & format::kRuleMetadata) != 0);
  return lifted ? open : Part{Outcome::kNo, Mismatch::kGuard};
}

// The domains of a rule and its resolves_to. is_listed: the name is known and one of them.
Part by_domains(const format::Rule& rule, bool allow, bool is_listed, const Flow& flow) noexcept {
  Part part =
      flow.name == Sight::kKnown ? known(is_listed, Mismatch::kName) : unknown(flow.name, allow, Mismatch::kName);
  if ((rule.flags & format::kRuleResolvesTo) != 0 && part.outcome != Outcome::kNo) {
    part = both(part, flow.address == Sight::kKnown ? known(flow.address_in(rule.resolves_to), Mismatch::kResolvesTo)
                                                    : unknown(flow.address, allow, Mismatch::kResolvesTo));
  }
  return part;
}

// The addresses of a rule. For an allow rule they mean destinations without a name: a name that is or will be known
// must come in by `domains`, or else an address could make us ask the outside for any name.
Part by_addresses(const format::Rule& rule, bool allow, const Flow& flow) noexcept {
  if (allow && flow.name != Sight::kInvisible) return {Outcome::kNo, Mismatch::kAddress};
  return flow.address == Sight::kKnown ? known(flow.address_in(rule.addresses), Mismatch::kAddress)
                                       : unknown(flow.address, allow, Mismatch::kAddress);
}

Destination destination(const format::Rule& rule, bool allow, bool is_listed, Flow& flow) noexcept {
  const bool domains = (rule.flags & format::kRuleDomains) != 0;
  const bool addresses = (rule.flags & format::kRuleAddresses) != 0;
  if (!domains && !addresses) {
    return {kMatches, allow ? under_guard(kMatches, rule, false, flow) : kMatches, flow.name == Sight::kKnown};
  }
  Destination name, literal;
  if (domains) {
    name.open = by_domains(rule, allow, is_listed, flow);
    // With a known address, whatever is left of resolves_to here holds it.
    name.guarded = allow ? under_guard(name.open, rule, (rule.flags & format::kRuleResolvesTo) != 0, flow) : name.open;
    name.by_name = true;
  }
  if (!addresses) return name;
  literal.open = by_addresses(rule, allow, flow);
  literal.guarded = allow ? under_guard(literal.open, rule, true, flow) : literal.open;
  if (!domains) return literal;

  // OR: the higher outcome. Of two equal ones the domains speak, unless there is no name to speak of.
  const auto better = [&flow](Part of_name, Part of_literal) {
    if (of_name.outcome != of_literal.outcome) return of_name.outcome > of_literal.outcome;
    if (of_literal.mismatch == Mismatch::kGuard) return false;
    return of_name.outcome != Outcome::kNo || of_name.mismatch == Mismatch::kGuard || flow.name != Sight::kInvisible;
  };
  Destination out;
  out.by_name = better(name.guarded, literal.guarded);
  out.guarded = out.by_name ? name.guarded : literal.guarded;
  out.open = better(name.open, literal.open) ? name.open : literal.open;
  return out;
}

// The methods and paths of a rule, both of one request.
Part request(const format::Http& http, bool allow, const Flow& flow) noexcept {
  Part part = kMatches;
  if (http.methods.count > 0) {
    part = flow.method == Sight::kKnown ? known(flow.method_in(http.methods), Mismatch::kMethod)
                                        : unknown(flow.method, allow, Mismatch::kMethod);
  }
  if (http.paths.count > 0) {
    part = both(part, flow.path == Sight::kKnown ? known(flow.path_in(http.paths), Mismatch::kPath)
                                                 : unknown(flow.path, allow, Mismatch::kPath));
  }
  return part;
}

Said ask(const format::Rule& rule, bool is_listed, Flow& flow) noexcept {
  Said said;
  if (!flow.of_client(rule)) {
    said.part.mismatch = Mismatch::kClient;
    return said;
  }
  const bool allow = (rule.flags & format::kRuleAllow) != 0;
  const Destination where = destination(rule, allow, is_listed, flow);
  Part port = kMatches;
  if ((rule.flags & format::kRulePorts) != 0) {
    port = flow.port == Sight::kKnown ? known(flow.port_in(rule.ports), Mismatch::kPort)
                                      : unknown(flow.port, allow, Mismatch::kPort);
  }
  Part rest = port;
  bool any_port = true;  // matches, but for the port
  if (const format::Http* http = flow.http_of(rule); http != nullptr) {
    const Part asked = request(*http, allow, flow);
    any_port = asked.outcome == Outcome::kMatch;
    rest = both(port, asked);
  }
  said.part = both(where.guarded, rest);
  said.by_name = where.by_name;
  said.guard_blocked = said.part.outcome == Outcome::kNo && both(where.open, rest).outcome != Outcome::kNo;
  said.port_blocked = allow && any_port && where.open.outcome == Outcome::kMatch && port.outcome == Outcome::kNo;
  return said;
}

// Watchers of a walk.
struct Nobody {
  static constexpr bool kEveryRule = false;
  void saw(std::uint32_t, const Part&) noexcept {}
};

struct Witness {
  static constexpr bool kEveryRule = true;
  std::vector<RuleTrace>& trace;
  void saw(std::uint32_t rule, const Part& part) { trace.push_back({rule, part.outcome, part.mismatch}); }
};

// The rules a flow is tried against, in order, and for each whether its domains list the flow's name.
template <bool every_rule>
class Candidates {
 public:
  Candidates(const Tables& tables, const Query& query, Sight name) noexcept
      : all_(every_rule || name != Sight::kKnown) {
    if (name == Sight::kKnown) listed_ = tables.index.find(*query.name);
    if (!all_) general_ = tables.list_in(tables.header->named_general);
    rules_ = static_cast<std::uint32_t>(tables.rules.size());
  }

  bool next(std::uint32_t& rule, bool& is_listed) noexcept {
    if (all_) {
      if (at_ == rules_) return false;
      rule = at_++;
    } else if (general_.empty() && listed_.empty()) {
      return false;
    } else {
      rule = std::min(general_.empty() ? kNoRuleIndex : general_.front(),
                      listed_.empty() ? kNoRuleIndex : listed_.front());
      if (!general_.empty() && general_.front() == rule) general_ = general_.subspan(1);
    }
    is_listed = !listed_.empty() && listed_.front() == rule;
    if (is_listed) listed_ = listed_.subspan(1);
    return true;
  }

 private:
  const bool all_;
  std::uint32_t at_ = 0, rules_ = 0;
  std::span<const std::uint32_t> listed_, general_;
};

// A rule on trial is told where it would have decided: a deny rule that may match decides nothing yet.
void observe(std::uint32_t rule, bool allow, Outcome outcome, Verdict& verdict) noexcept {
  if (outcome == Outcome::kNo || (outcome == Outcome::kMay && !allow)) return;
  for (std::uint32_t& trial : verdict.trials) {
    if (trial != 0) continue;
    trial = (rule + 1) | (allow ? kTrialAllows : 0);
    return;
  }
}

template <typename Watcher>
Verdict walk(const Tables& tables, const Query& query, Watcher& watcher) noexcept(!Watcher::kEveryRule) {
  Flow flow(tables, query);
  Verdict verdict;
  verdict.generation = tables.header->generation;
  bool may_be_denied = false, guard_blocked = false, port_blocked = false;
  const auto refuse = [&](Reason reason) {
    verdict.effect = Effect::kDeny;
    verdict.reason = !guard_blocked ? reason : flow.is_metadata() ? Reason::kGuardMetadata : Reason::kAddrForbidden;
    // A trial lets pass what rules and the default deny, nothing that the guard holds.
    if (!guard_blocked && flow.is_on_trial() && !flow.is_guarded()) {
      verdict.effect = Effect::kAllow;
      verdict.flags |= kFlagObserved;
    }
    return verdict;
  };
  const auto pass = [&](Outcome outcome) {
    verdict.effect = outcome == Outcome::kMatch && !may_be_denied ? Effect::kAllow : Effect::kContinue;
    verdict.reason = Reason::kOk;
    return verdict;
  };

  Candidates<Watcher::kEveryRule> candidates(tables, query, flow.name);
  std::uint32_t index = 0;
  for (bool is_listed = false; candidates.next(index, is_listed);) {
    const format::Rule& rule = tables.rules[index];
    const Said said = ask(rule, is_listed, flow);
    watcher.saw(index, said.part);
    if ((rule.flags & format::kRuleObserve) != 0) {
      observe(index, (rule.flags & format::kRuleAllow) != 0, said.part.outcome, verdict);
      continue;
    }
    guard_blocked |= said.guard_blocked;
    port_blocked |= said.port_blocked;
    if (said.part.outcome == Outcome::kNo) continue;
    if ((rule.flags & format::kRuleAllow) != 0) {
      verdict.rule = index;
      if ((rule.flags & format::kRuleTunnelAny) != 0) verdict.flags |= kFlagTunnelAny;
      return pass(said.part.outcome);
    }
    if (said.part.outcome == Outcome::kMatch) {
      verdict.rule = index;
      return refuse(said.by_name ? Reason::kNameNotAllowed : Reason::kAddressDenied);
    }
    may_be_denied = true;
  }

  if (tables.header->default_action == 1) {
    if (!flow.is_guarded()) return pass(Outcome::kMatch);
    guard_blocked = true;
  }
  if (port_blocked) return refuse(Reason::kPortDenied);
  const bool literal = flow.name == Sight::kInvisible && flow.address == Sight::kKnown;
  return refuse(literal ? Reason::kIpLiteralDenied : Reason::kNoRule);
}

}  // namespace

Reader::Reader(std::shared_ptr<const Snapshot> snapshot) noexcept : snapshot_(std::move(snapshot)) {}

Reader::~Reader() = default;

Verdict Snapshot::decide(const Query& query) const noexcept {
  Nobody nobody;
  return walk(view_->tables, query, nobody);
}

Verdict Reader::decide(const Query& query) noexcept {
  return snapshot_ != nullptr ? snapshot_->decide(query) : Verdict{};
}

Verdict Reader::explain(const Query& query, std::vector<RuleTrace>& trace) {
  trace.clear();
  if (snapshot_ == nullptr) return {};
  Witness witness{trace};
  return walk(snapshot_->view_->tables, query, witness);
}

}  // namespace sallyport
