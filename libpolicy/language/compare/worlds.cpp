#include "language/compare/worlds.hpp"

#include <algorithm>
#include <map>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "language/compare/samples.hpp"
#include "language/values.hpp"

namespace sallyport {
namespace {

constexpr std::size_t kMostMoreNames = 3;       // told beside an example
constexpr std::string_view kUsualCell = "run";  // of sallyport run without --name

bool is_cell(std::string_view text) { return is_plain_name(text); }

// One entry of a rule at one name.
struct Entry {
  std::string_view name;
  std::uint32_t rule = 0;
  std::uint8_t side = 0;
  bool at = false, below = false;
};

Entry entry(std::string_view name, PatternKind kind, std::uint32_t rule, std::size_t side) {
  return {name, rule, static_cast<std::uint8_t>(side), kind != PatternKind::kBelow, kind != PatternKind::kExact};
}

std::vector<Entry> entries_of(std::span<const Side> sides) {
  std::vector<Entry> out;
  for (std::size_t side = 0; side < sides.size(); ++side) {
    const std::vector<RuleModel>& rules = sides[side].model.rules;
    for (std::uint32_t i = 0; i < rules.size(); ++i) {
      for (const Pattern& pattern : rules[i].domains) out.push_back(entry(pattern.name.text(), pattern.kind, i, side));
      for (const auto& list : rules[i].lists) {
        for (std::size_t n = 0; n < list->size(); ++n) out.push_back(entry((*list)[n].name, (*list)[n].kind, i, side));
      }
    }
  }
  std::sort(out.begin(), out.end(), [](const Entry& a, const Entry& b) { return a.name < b.name; });
  return out;
}

class Names {
 public:
  explicit Names(std::span<const Side> sides) : entries_(entries_of(sides)) {
    for (std::size_t i = 0; i < entries_.size();) {
      std::size_t end = i;
      while (end < entries_.size() && entries_[end].name == entries_[i].name) ++end;
      runs_.emplace(entries_[i].name, std::pair(i, end));
      i = end;
    }
  }

  std::vector<NameClass> classes() {
    for (std::size_t i = 0; i < entries_.size();) {
      const auto [first, end] = runs_.at(entries_[i].name);
      std::size_t at = 0;
      bool reaches_below = false;
      for (std::size_t n = first; n < end; ++n) {
        at += entries_[n].at ? 1 : 0;
        reaches_below = reaches_below || entries_[n].below;
      }
      classify(entries_[i].name, true, at > 0 ? 1 : 0);
      if (reaches_below) classify(entries_[i].name, false, at == 0 ? 1 : 0);
      i = end;
    }
    std::vector<NameClass> out;
    for (auto& [key, one] : by_rules_) {
      if (one.name) out.push_back(std::move(one));
    }
    out.emplace_back().name = unlisted();
    out.emplace_back();
    return out;
  }

 private:
  // The name itself, or what lies below it and below no other.
  void classify(std::string_view name, bool itself, std::size_t entries) {
    std::vector<std::uint32_t> rules[2];
    const auto take = [&](std::string_view at, bool own) {
      const auto found = runs_.find(at);
      if (found == runs_.end()) return;
      for (std::size_t i = found->second.first; i < found->second.second; ++i) {
        if (own ? entries_[i].at : entries_[i].below) rules[entries_[i].side].push_back(entries_[i].rule);
      }
    };
    take(name, itself);
    for (std::size_t dot = name.find('.'); dot != std::string_view::npos; dot = name.find('.', dot + 1)) {
      take(name.substr(dot + 1), false);
    }
    for (std::vector<std::uint32_t>& side : rules) {
      std::sort(side.begin(), side.end());
      side.erase(std::unique(side.begin(), side.end()), side.end());
    }
    if (rules[0].empty() && rules[1].empty()) return;  // as any name that nothing lists
    const bool single = itself && name.find('.') == std::string_view::npos;
    NameClass& found = by_rules_[std::tuple(rules[0], rules[1], single ? std::string(name) : std::string())];
    found.names += entries;
    // A name that stands in a policy is the better example.
    if (found.name && (found.listed || !itself)) {
      if (entries > 0 && itself && found.more.size() < kMostMoreNames) found.more.emplace_back(name);
      return;
    }
    std::optional<DomainName> example = itself ? parsed(name) : below(name);
    if (!example) return;
    found.name = std::move(example);
    found.listed = itself;
    found.rules[0] = std::move(rules[0]);
    found.rules[1] = std::move(rules[1]);
  }

  static std::optional<DomainName> parsed(std::string_view text) {
    Result<DomainName> name = DomainName::parse(text);
    return name.ok() ? std::optional(*name) : std::nullopt;
  }

  // Below a name, where no entry is. A name may be too long to have one; then nobody can ask for one either.
  std::optional<DomainName> below(std::string_view name) const {
    for (unsigned i = 0;; ++i) {
      const std::string text = (i == 0 ? "www" : "w" + std::to_string(i)) + "." + std::string(name);
      if (!runs_.contains(text)) return parsed(text);
    }
  }

  std::optional<DomainName> unlisted() const {
    for (unsigned i = 0;; ++i) {
      const std::string top = i == 0 ? "test" : "t" + std::to_string(i);
      const std::string text = "unlisted." + top;
      if (!runs_.contains(top) && !runs_.contains(text)) return parsed(text);
    }
  }

  std::vector<Entry> entries_;
  std::unordered_map<std::string_view, std::pair<std::size_t, std::size_t>> runs_;
  std::map<std::tuple<std::vector<std::uint32_t>, std::vector<std::uint32_t>, std::string>, NameClass> by_rules_;
};

// Adds somebody, or to what is known of those who belong to the same clients.
void add(std::vector<WhoAsks>& all, WhoAsks one) {
  for (WhoAsks& known : all) {
    if (known.groups[0] != one.groups[0] || known.groups[1] != one.groups[1]) continue;
    if (known.at_gate.empty()) known.at_gate = one.at_gate;
    return;
  }
  all.push_back(std::move(one));
}

}  // namespace

std::vector<WhoAsks> askers_of(std::span<const Side> sides, std::vector<std::string>& incomplete) {
  std::vector<std::string> cells, users{""};
  std::vector<Prefix> addresses;
  for (const Side& side : sides) {
    for (const ClientModel& client : side.model.clients) {
      cells.insert(cells.end(), client.cells.begin(), client.cells.end());
      users.insert(users.end(), client.credentials.begin(), client.credentials.end());
      addresses.insert(addresses.end(), client.addresses.begin(), client.addresses.end());
    }
  }
  const auto once = [](auto& values) {
    std::sort(values.begin(), values.end());
    values.erase(std::unique(values.begin(), values.end()), values.end());
  };
  once(cells);
  once(users);

  std::vector<WhoAsks> out;
  GlobSamples names = glob_samples(cells, "", "x0-", is_cell);
  if (!names.complete) incomplete.push_back("some combinations of clients' cell patterns");
  names.texts.insert(names.texts.begin(), std::string(kUsualCell));
  for (const std::string& cell : names.texts) {
    for (const std::string& user : users) {
      WhoAsks one;
      one.text = (user.empty() ? "" : "user " + user + " in ") + "cell " + cell;
      for (std::size_t side = 0; side < sides.size(); ++side) {
        const Snapshot& snapshot = sides[side].snapshot;
        one.groups[side] = snapshot.groups_of_cell(cell) | (user.empty() ? 0 : snapshot.groups_of_user(user));
      }
      add(out, std::move(one));
    }
  }
  for (const Address& address : address_samples(addresses)) {
    for (const std::string& user : users) {
      WhoAsks one;
      one.text = (user.empty() ? "" : "user " + user + " at ") + address.text();
      one.at_gate = one.text;
      for (std::size_t side = 0; side < sides.size(); ++side) {
        one.groups[side] = sides[side].snapshot.groups_of_address(address, user);
      }
      add(out, std::move(one));
    }
  }
  return out;
}

std::vector<NameClass> name_classes(std::span<const Side> sides) { return Names(sides).classes(); }

std::vector<std::uint32_t> general_rules(const PolicyModel& model) {
  std::vector<std::uint32_t> out;
  for (std::uint32_t i = 0; i < model.rules.size(); ++i) {
    const RuleModel& rule = model.rules[i];
    if ((rule.domains.empty() && rule.lists.empty()) || !rule.addresses.empty()) out.push_back(i);
  }
  return out;
}

}  // namespace sallyport
