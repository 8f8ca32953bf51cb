// Looking for a cover, cheapest first: rules that cover any destination are kept in a short list, patterns in a hash
// map from name to the rules that list it (a pattern is covered only by patterns at its own name or an ancestor's, one
// lookup a label), address blocks in a list for each prefix length. A policy of 10,000 names takes milliseconds;
// comparing all pairs would take seconds.
#include "language/effect.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "names/guard.hpp"

namespace sallyport {
namespace {

constexpr unsigned kMostHostBits = 12;  // 4096 addresses classified for one prefix; larger blocks are judged carefully

template <typename Predicate>
std::optional<bool> any_address(const Prefix& prefix, Predicate predicate) {
  const Address& first = prefix.network();
  const unsigned host_bits = (first.is_v4() ? 32 : 128) - prefix.bits();
  if (host_bits > kMostHostBits) return std::nullopt;
  for (std::uint32_t i = 0; i < 1u << host_bits; ++i) {
    Address address = first;
    if (first.is_v4()) {
      address = Address::v4(first.v4_host_order() | i);
    } else {
      std::array<std::uint8_t, 16> octets = first.octets();
      octets[15] = static_cast<std::uint8_t>(octets[15] | (i & 0xff));
      octets[14] = static_cast<std::uint8_t>(octets[14] | (i >> 8));
      address = Address::v6(octets);
    }
    if (predicate(address)) return true;
  }
  return false;
}

// Exactly the name, or all below it; ".a.b" is one of each.
struct Names {
  const DomainName* name;
  bool below;
};

struct Atom {
  std::optional<Names> names;              // none: any name, and none
  const Prefix* prefix = nullptr;          // a literal destination, or a final address
  bool literal = false;                    // only flows without a name
  std::optional<std::string_view> client;  // none: a client that no rule names
  std::optional<PortRange> ports;          // none: every port of every protocol
};

class Coverage {
 public:
  Coverage(const PolicyModel& model, PatternIndexes& indexes) : model_(model), indexes_(indexes) {
    lifts_later_.resize(model.rules.size() + 1);
    literals_later_.resize(model.rules.size() + 1, model.default_action == Action::kAllow);
    for (std::size_t i = model.rules.size(); i-- > 0;) {
      const RuleModel& rule = model.rules[i];
      const bool allow = rule.action == Action::kAllow;
      lifts_later_[i] = lifts_later_[i + 1] || (allow && !rule.resolves_to.empty());
      literals_later_[i] = literals_later_[i + 1] || (allow && !rule.addresses.empty());
    }
  }

  // Rules must be added in order; the atoms of rule i are judged before it is added.
  void add(std::uint32_t index) {
    const RuleModel& rule = model_.rules[index];
    if (rule.observe || rule.asks_for_requests()) return;  // decides nothing, or some requests alone
    const bool deny = rule.action == Action::kDeny;
    if (deny && !rule.lists_names() && rule.addresses.empty()) general_.push_back(index);
    if (deny && rule.lists_names()) denies_names_.push_back(index);
    if (deny && !rule.addresses.empty()) denies_addresses_.push_back(index);
    for (const Pattern& pattern : rule.domains) {
      if (pattern.kind != PatternKind::kBelow) exact_[pattern.name.text()].push_back(index);
      if (pattern.kind != PatternKind::kExact) below_[pattern.name.text()].push_back(index);
    }
    for (const auto& set : rule.lists) lists_.push_back({index, set});
    for (const Prefix& prefix : rule.addresses) blocks_[prefix].push_back(index);
  }

  // The earlier rule that has the whole list too, and decides all flows of this client and these ports.
  std::optional<std::uint32_t> cover(const RuleModel& rule, std::uint32_t index, const Atom& atom,
                                     const PatternSet* set) const {
    for (const List& list : lists_) {
      if (list.set.get() == set && suits(list.rule, atom) && reaches(list.rule, rule, index)) return list.rule;
    }
    return std::nullopt;
  }

  // The earlier rule that decides all flows of this atom of `rule`.
  std::optional<std::uint32_t> cover(const RuleModel& rule, std::uint32_t index, const Atom& atom) const {
    for (const std::uint32_t earlier : general_) {
      if (suits(earlier, atom)) return earlier;
    }
    if (atom.names) {
      if (const auto found = by_names(rule, index, atom)) return found;
    } else if (atom.prefix != nullptr) {
      if (const auto found = by_block(rule, atom)) return found;
    }
    if (atom.literal) {
      // An address carries no name, and to a deny rule what nobody can see might be it.
      for (const std::uint32_t earlier : denies_names_) {
        const RuleModel& deny = model_.rules[earlier];
        const bool stands =
            deny.resolves_to.empty() || (atom.prefix != nullptr && within(*atom.prefix, deny.resolves_to));
        if (stands && suits(earlier, atom)) return earlier;
      }
    }
    return std::nullopt;
  }

  // Flows without a name that a deny rule of names also stops, where something later would let them pass.
  bool matters_to_literals(std::uint32_t index) const { return literals_later_[index + 1]; }

 private:
  using Rules = std::vector<std::uint32_t>;

  static bool within(const Prefix& inner, const std::vector<Prefix>& blocks) {
    return std::any_of(blocks.begin(), blocks.end(), [&](const Prefix& block) { return block.contains(inner); });
  }
  static bool within(const std::vector<Prefix>& inner, const std::vector<Prefix>& blocks) {
    return !inner.empty() &&
           std::all_of(inner.begin(), inner.end(), [&](const Prefix& p) { return within(p, blocks); });
  }

  // Client and ports.
  bool suits(std::uint32_t earlier, const Atom& atom) const {
    const RuleModel& rule = model_.rules[earlier];
    if (!rule.clients.empty()) {
      if (!atom.client) return false;
      if (std::find(rule.clients.begin(), rule.clients.end(), *atom.client) == rule.clients.end()) return false;
    }
    if (rule.ports.empty()) return true;
    if (!atom.ports) return false;
    // Walk up through the ranges that go on where the last one ended.
    std::uint32_t reached = atom.ports->first;
    for (bool moved = true; moved && reached <= atom.ports->last;) {
      moved = false;
      for (const PortRange& range : rule.ports) {
        if (range.proto == atom.ports->proto && range.first <= reached && reached <= range.last) {
          reached = std::uint32_t{range.last} + 1;
          moved = true;
        }
      }
    }
    return reached > atom.ports->last;
  }

  // Whether `earlier`, which lists the names, matches wherever the flow may end.
  bool reaches(std::uint32_t earlier, const RuleModel& rule, std::uint32_t index) const {
    const RuleModel& other = model_.rules[earlier];
    const std::vector<Prefix>& ends = rule.resolves_to;
    if (!other.resolves_to.empty()) {
      if (!within(ends, other.resolves_to)) return false;
      if (other.action == Action::kDeny || other.allow_metadata) return true;
      return (rule.action == Action::kAllow && !rule.allow_metadata) ||
             std::none_of(ends.begin(), ends.end(), may_hold_metadata);
    }
    if (other.action == Action::kDeny) return true;
    // An allow rule without resolves_to stands back where the guard does.
    if (ends.empty()) return rule.action == Action::kAllow || !lifts_later_[index + 1];
    return std::all_of(ends.begin(), ends.end(), [&](const Prefix& end) {
      return is_surely_public(end) && std::none_of(model_.own_addresses.begin(), model_.own_addresses.end(),
                                                   [&](const Address& own) { return end.contains(own); });
    });
  }

  std::optional<std::uint32_t> by_names(const RuleModel& rule, std::uint32_t index, const Atom& atom) const {
    const auto look = [&](const std::unordered_map<std::string_view, Rules>& map,
                          std::string_view name) -> std::optional<std::uint32_t> {
      const auto found = map.find(name);
      if (found == map.end()) return std::nullopt;
      for (const std::uint32_t earlier : found->second) {
        if (suits(earlier, atom) && reaches(earlier, rule, index)) return earlier;
      }
      return std::nullopt;
    };
    const DomainName& name = *atom.names->name;
    if (const auto found = look(atom.names->below ? below_ : exact_, name.text())) return found;
    for (unsigned labels = name.labels(); labels-- > 1;) {
      if (const auto found = look(below_, name.suffix(labels))) return found;
    }
    const PatternKind kind = atom.names->below ? PatternKind::kBelow : PatternKind::kExact;
    for (const List& list : lists_) {
      if (!suits(list.rule, atom) || !reaches(list.rule, rule, index)) continue;
      if (indexes_.of(list.set).covers(name, kind)) return list.rule;
    }
    for (const std::uint32_t earlier : denies_addresses_) {
      if (within(rule.resolves_to, model_.rules[earlier].addresses) && suits(earlier, atom)) return earlier;
    }
    return std::nullopt;
  }

  std::optional<std::uint32_t> by_block(const RuleModel& rule, const Atom& atom) const {
    const Address& network = atom.prefix->network();
    for (unsigned bits = atom.prefix->bits() + 1; bits-- > 0;) {
      const auto found = blocks_.find(Prefix::of(network, bits));
      if (found == blocks_.end()) continue;
      for (const std::uint32_t earlier : found->second) {
        const RuleModel& other = model_.rules[earlier];
        // A deny rule of addresses also stops named flows; an allow rule of addresses never sees them.
        if (rule.action == Action::kDeny && other.action == Action::kAllow) continue;
        if (other.action == Action::kAllow && rule.allow_metadata && !other.allow_metadata) continue;
        if (suits(earlier, atom)) return earlier;
      }
    }
    return std::nullopt;
  }

  struct List {
    std::uint32_t rule;
    std::shared_ptr<const PatternSet> set;
  };

  const PolicyModel& model_;
  PatternIndexes& indexes_;
  std::vector<List> lists_;
  std::vector<bool> lifts_later_, literals_later_;  // by rule: from there on
  Rules general_, denies_names_, denies_addresses_;
  std::unordered_map<std::string_view, Rules> exact_, below_;
  std::map<Prefix, Rules> blocks_;
};

class Judge {
 public:
  Judge(const PolicyModel& model, const Coverage& coverage, std::uint32_t index)
      : coverage_(coverage), rule_(model.rules[index]), index_(index) {}

  std::optional<DeadRule> verdict(const PolicyModel& model) {
    dead_.rule = index_;
    bool alive = false;
    // One live entry settles the rule, but a contradicted entry is worth a word; a long list is not searched for it.
    for (std::uint32_t i = 0; i < rule_.domains.size(); ++i) {
      const Pattern& pattern = rule_.domains[i];
      bool covered = true;
      if (pattern.kind != PatternKind::kBelow) covered = entry({.names = Names{&pattern.name, false}});
      if (covered && pattern.kind != PatternKind::kExact) covered = entry({.names = Names{&pattern.name, true}});
      note(covered, true, i, model);
      alive |= !covered;
    }
    for (std::uint32_t i = 0; i < rule_.addresses.size(); ++i) {
      const bool covered = entry({.prefix = &rule_.addresses[i], .literal = rule_.action == Action::kAllow});
      note(covered, false, i, model);
      alive |= !covered;
    }
    for (std::size_t i = 0; !alive && i < rule_.lists.size(); ++i) alive = !list(rule_.lists[i]);
    const bool anywhere = !rule_.lists_names() && rule_.addresses.empty();
    if (anywhere) alive = !entry({});
    if (!alive && rule_.action == Action::kDeny && rule_.lists_names() && coverage_.matters_to_literals(index_)) {
      alive = !entry({.literal = true});
    }
    dead_.whole = !alive;
    if (alive && dead_.entries.empty()) return std::nullopt;
    std::sort(dead_.by.begin(), dead_.by.end());
    dead_.by.erase(std::unique(dead_.by.begin(), dead_.by.end()), dead_.by.end());
    dead_.by_deny_of_names = dead_.whole && rule_.action == Action::kAllow && !rule_.lists_names() &&
                             std::any_of(dead_.by.begin(), dead_.by.end(), [&](std::uint32_t by) {
                               return model.rules[by].action == Action::kDeny && model.rules[by].lists_names();
                             });
    return std::move(dead_);
  }

 private:
  // All names of a list: up to the first that is not covered, which most often is the first of all.
  // One without names is told of where it is read.
  bool list(const std::shared_ptr<const PatternSet>& set) {
    if (set->empty()) return false;
    if (each_atom({}, [&](const Atom& atom) { return decided_by(coverage_.cover(rule_, index_, atom, set.get())); })) {
      return true;
    }
    for (std::size_t i = 0; i < set->size(); ++i) {
      const Pattern pattern = set->pattern(i);
      if (pattern.kind != PatternKind::kBelow && !entry({.names = Names{&pattern.name, false}})) return false;
      if (pattern.kind != PatternKind::kExact && !entry({.names = Names{&pattern.name, true}})) return false;
    }
    return true;
  }

  bool entry(const Atom& atom) {
    return each_atom(atom, [&](const Atom& one) { return covered(one); });
  }

  // Every client and port range of one destination.
  template <typename Covered>
  bool each_atom(Atom atom, Covered covered) {
    const auto for_ports = [&] {
      if (rule_.ports.empty()) return covered(atom);
      return std::all_of(rule_.ports.begin(), rule_.ports.end(), [&](const PortRange& range) {
        atom.ports = range;
        return covered(atom);
      });
    };
    if (rule_.clients.empty()) return for_ports();
    return std::all_of(rule_.clients.begin(), rule_.clients.end(), [&](const std::string& client) {
      atom.client = client;
      return for_ports();
    });
  }

  bool covered(const Atom& atom) { return decided_by(coverage_.cover(rule_, index_, atom)); }

  bool decided_by(std::optional<std::uint32_t> by) {
    if (by && (dead_.by.empty() || dead_.by.back() != *by)) dead_.by.push_back(*by);
    return by.has_value();
  }

  void note(bool covered, bool is_domain, std::uint32_t i, const PolicyModel& model) {
    if (!covered || dead_.by.empty()) return;
    const std::uint32_t by = dead_.by.back();
    if (model.rules[by].action != rule_.action) dead_.entries.push_back({is_domain, i, by});
  }

  const Coverage& coverage_;
  const RuleModel& rule_;
  const std::uint32_t index_;
  DeadRule dead_;
};

}  // namespace

bool is_surely_public(const Prefix& prefix) {
  return !any_address(prefix, [](const Address& a) { return is_guarded(classify(a)); }).value_or(true);
}

bool may_hold_metadata(const Prefix& prefix) {
  return any_address(prefix, [](const Address& a) { return classify(a) == AddressClass::kMetadata; }).value_or(true);
}

std::vector<DeadRule> find_dead_rules(const PolicyModel& model) {
  PatternIndexes indexes;
  return find_dead_rules(model, indexes);
}

std::vector<DeadRule> find_dead_rules(const PolicyModel& model, PatternIndexes& indexes) {
  std::vector<DeadRule> dead;
  Coverage coverage(model, indexes);
  for (std::uint32_t i = 0; i < model.rules.size(); ++i) {
    if (std::optional<DeadRule> found = Judge(model, coverage, i).verdict(model)) dead.push_back(*std::move(found));
    coverage.add(i);
  }
  return dead;
}

}  // namespace sallyport
