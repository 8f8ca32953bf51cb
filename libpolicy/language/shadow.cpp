// The rules that list an entry are found as in effect.cpp: patterns by name, one lookup a label; blocks by prefix
// length. The ports of the deny rule are then handed to them in order, as the first rule that matches decides.
#include "language/shadow.hpp"

#include <algorithm>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "language/effect.hpp"
#include "names/guard.hpp"

namespace sallyport {
namespace {

using Ports = std::vector<PortRange>;  // sorted by protocol and number, apart from each other
using Rules = std::vector<std::uint32_t>;

Ports ports_of(const RuleModel& rule) {
  if (rule.ports.empty()) return {{0, 65535, kProtoTcp}, {0, 65535, kProtoUdp}};
  Ports sorted = rule.ports;
  std::sort(sorted.begin(), sorted.end(), [](const PortRange& a, const PortRange& b) {
    return std::pair(a.proto, a.first) < std::pair(b.proto, b.first);
  });
  Ports merged;
  for (const PortRange& range : sorted) {
    if (!merged.empty() && merged.back().proto == range.proto && range.first <= merged.back().last + 1u) {
      merged.back().last = std::max(merged.back().last, range.last);
    } else {
      merged.push_back(range);
    }
  }
  return merged;
}

Ports common(const Ports& some, const Ports& others) {
  Ports both;
  for (const PortRange& a : some) {
    for (const PortRange& b : others) {
      const PortRange range{std::max(a.first, b.first), std::min(a.last, b.last), a.proto};
      if (a.proto == b.proto && range.first <= range.last) both.push_back(range);
    }
  }
  return both;
}

Ports without(const Ports& some, const Ports& others) {
  Ports left;
  for (const PortRange& range : some) {
    std::uint32_t next = range.first;
    for (const PortRange& hole : others) {
      if (hole.proto != range.proto || hole.last < next || hole.first > range.last) continue;
      if (hole.first > next) {
        left.push_back({static_cast<std::uint16_t>(next), static_cast<std::uint16_t>(hole.first - 1), range.proto});
      }
      next = hole.last + 1u;
    }
    if (next <= range.last) left.push_back({static_cast<std::uint16_t>(next), range.last, range.proto});
  }
  return left;
}

// Every client of `rule` is one of `earlier`.
bool for_all_clients(const RuleModel& earlier, const RuleModel& rule) {
  if (earlier.clients.empty()) return true;
  return !rule.clients.empty() && std::all_of(rule.clients.begin(), rule.clients.end(), [&](const std::string& client) {
    return std::find(earlier.clients.begin(), earlier.clients.end(), client) != earlier.clients.end();
  });
}

// The rules so far, by what they list.
class Listed {
 public:
  Listed(const PolicyModel& model, PatternIndexes& indexes) : model_(model), indexes_(indexes) {}

  void add(std::uint32_t index) {
    const RuleModel& rule = model_.rules[index];
    if (rule.observe || rule.asks_for_requests()) return;  // decides nothing, or some requests alone
    const bool anything = !rule.lists_names() && rule.addresses.empty();
    if (anything && rule.action == Action::kDeny) anything_.push_back(index);
    allows_names_ |= rule.lists_names() && rule.action == Action::kAllow;
    for (const Pattern& pattern : rule.domains) hashes_.insert(pattern.name.hash());
    for (const auto& set : rule.lists) lists_.push_back({index, set});
    for (const Pattern& pattern : rule.domains) {
      if (pattern.kind != PatternKind::kBelow) exact_[pattern.name.text()].push_back(index);
      if (pattern.kind != PatternKind::kExact) below_[pattern.name.text()].push_back(index);
    }
    for (const Prefix& prefix : rule.addresses) blocks_[prefix].push_back(index);
  }

  // Whether there is anything to find for a name at all: cheap, and asked for each of a million.
  bool may_list(const DomainName& name) const {
    if (!lists_.empty()) return true;
    for (unsigned labels = 1; labels <= name.labels(); ++labels) {
      if (hashes_.contains(name.suffix_hash(labels))) return true;
    }
    return false;
  }
  bool allows_names() const { return allows_names_; }

  // Those that list all of the pattern, ascending.
  Rules all_of(const Pattern& pattern) const {
    Rules rules = anything_;
    const DomainName& name = pattern.name;
    const auto apex = exact_.find(name.text()), below = below_.find(name.text());
    if (pattern.kind == PatternKind::kExactAndBelow) {
      if (apex != exact_.end() && below != below_.end()) {
        std::set_intersection(apex->second.begin(), apex->second.end(), below->second.begin(), below->second.end(),
                              std::back_inserter(rules));
      }
    } else if (pattern.kind == PatternKind::kBelow) {
      if (below != below_.end()) append(rules, below->second);
    } else if (apex != exact_.end()) {
      append(rules, apex->second);
    }
    for (unsigned labels = name.labels(); labels-- > 1;) {
      if (const auto found = below_.find(name.suffix(labels)); found != below_.end()) append(rules, found->second);
    }
    for (const List& list : lists_) {
      if (indexes_.of(list.set).covers(name, pattern.kind)) rules.push_back(list.rule);
    }
    return sorted(std::move(rules));
  }

  Rules all_of(const Prefix& block) const {
    Rules rules = anything_;
    for (unsigned bits = block.bits() + 1; bits-- > 0;) {
      if (const auto found = blocks_.find(Prefix::of(block.network(), bits)); found != blocks_.end())
        append(rules, found->second);
    }
    return sorted(std::move(rules));
  }

 private:
  static void append(Rules& rules, const Rules& more) { rules.insert(rules.end(), more.begin(), more.end()); }
  static Rules sorted(Rules rules) {
    std::sort(rules.begin(), rules.end());
    rules.erase(std::unique(rules.begin(), rules.end()), rules.end());
    return rules;
  }

  struct List {
    std::uint32_t rule;
    std::shared_ptr<const PatternSet> set;
  };

  const PolicyModel& model_;
  PatternIndexes& indexes_;
  std::vector<List> lists_;
  std::unordered_set<std::uint64_t> hashes_;  // of the names in `domains`
  bool allows_names_ = false;                 // some allow rule has names
  Rules anything_;
  std::unordered_map<std::string_view, Rules> exact_, below_;
  std::map<Prefix, Rules> blocks_;
};

// What the earlier rules let pass of one entry of a deny rule. ports: of every rule so far; metadata: the entry is the
// address of a metadata service, which an allow rule around it does not mean.
std::vector<Opening> openings(const PolicyModel& model, const RuleModel& rule, const Rules& earlier_rules,
                              const std::vector<Ports>& ports, bool metadata) {
  std::vector<Opening> openings;
  Ports left = ports_of(rule);  // not decided yet
  // An allow rule without resolves_to stands back where the guard does: these were never its own.
  const bool public_ends = std::all_of(rule.resolves_to.begin(), rule.resolves_to.end(), is_surely_public);
  for (const std::uint32_t by : earlier_rules) {
    const RuleModel& earlier = model.rules[by];
    if (!earlier.resolves_to.empty() || !for_all_clients(earlier, rule)) continue;
    if (earlier.action == Action::kAllow && (!public_ends || (metadata && !earlier.allow_metadata))) continue;
    Ports decided = common(left, ports[by]);
    if (decided.empty()) continue;
    left = without(left, decided);
    if (earlier.action == Action::kAllow) openings.push_back({by, std::move(decided)});
    if (left.empty()) break;
  }
  return openings;
}

// The names of a list, those that the same rules list as one.
void look_at_list(const PolicyModel& model, const RuleModel& rule, std::uint32_t list, const Listed& listed,
                  const std::vector<Ports>& ports, ShadowedRule& shadowed) {
  constexpr std::size_t kMostKinds = 64;              // of warnings on one list; more say nothing new
  std::map<Rules, std::optional<std::size_t>> known;  // the entry that tells of them; none: nothing is let pass
  const PatternSet& set = *rule.lists[list];
  for (std::size_t i = 0; i < set.size(); ++i) {
    const Pattern pattern = set.pattern(i);
    if (!listed.may_list(pattern.name)) continue;
    Rules earlier = listed.all_of(pattern);
    const auto same = known.find(earlier);
    if (same != known.end()) {
      if (same->second) ++shadowed.entries[*same->second].stands_for;
      continue;
    }
    if (known.size() == kMostKinds) continue;
    std::optional<std::size_t> told;
    if (std::vector<Opening> open = openings(model, rule, earlier, ports, false); !open.empty()) {
      told = shadowed.entries.size();
      shadowed.entries.push_back({true, static_cast<std::uint32_t>(i), std::move(open), list, 1});
    }
    known.emplace(std::move(earlier), told);
  }
}

}  // namespace

std::vector<ShadowedRule> find_shadowed_rules(const PolicyModel& model) {
  PatternIndexes indexes;
  return find_shadowed_rules(model, indexes);
}

std::vector<ShadowedRule> find_shadowed_rules(const PolicyModel& model, PatternIndexes& indexes) {
  std::vector<ShadowedRule> found;
  Listed listed(model, indexes);
  std::vector<Ports> ports;  // of each rule so far
  ports.reserve(model.rules.size());
  for (std::uint32_t i = 0; i < model.rules.size(); ++i) {
    const RuleModel& rule = model.rules[i];
    if (rule.action == Action::kDeny && !rule.observe) {
      ShadowedRule shadowed{i, {}};
      const auto look = [&](bool is_domain, std::uint32_t entry, const Rules& earlier, bool metadata) {
        std::vector<Opening> open = openings(model, rule, earlier, ports, metadata);
        if (!open.empty()) shadowed.entries.push_back({is_domain, entry, std::move(open)});
      };
      for (std::uint32_t entry = 0; entry < rule.domains.size(); ++entry) {
        look(true, entry, listed.all_of(rule.domains[entry]), false);
      }
      for (std::uint32_t list = 0; list < rule.lists.size() && listed.allows_names(); ++list) {
        look_at_list(model, rule, list, listed, ports, shadowed);
      }
      for (std::uint32_t entry = 0; entry < rule.addresses.size(); ++entry) {
        const Prefix& block = rule.addresses[entry];
        const bool host = block.bits() == (block.network().is_v4() ? 32u : 128u);
        look(false, entry, listed.all_of(block), host && classify(block.network()) == AddressClass::kMetadata);
      }
      if (!shadowed.entries.empty()) found.push_back(std::move(shadowed));
    }
    listed.add(i);
    ports.push_back(ports_of(rule));
  }
  return found;
}

}  // namespace sallyport
