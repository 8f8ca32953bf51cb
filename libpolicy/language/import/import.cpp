#include "language/import/import.hpp"

#include <algorithm>
#include <memory>
#include <utility>

#include "language/format/format_policy.hpp"
#include "language/import/findings.hpp"
#include "language/load.hpp"
#include "language/suggest.hpp"
#include "names/pattern_index.hpp"

namespace sallyport {
namespace {

constexpr std::size_t kMostDifferences = 5;  // told one by one

Findings read(const ImportSource& source, const std::string& target) {
  switch (source.kind) {
    case ImportKind::kSquid:
      return read_squid(source, target);
    case ImportKind::kDnsmasq:
      return read_dnsmasq(source);
    default:
      return read_list_source(source, target);
  }
}

std::string place_text(const std::string& file, std::uint32_t line) {
  return line == 0 ? file : file + ":" + std::to_string(line);
}

// Names of one source that another does not pass.
class Comparison {
 public:
  explicit Comparison(const std::vector<Findings>& sources) {
    for (const Findings& source : sources) {
      if (!source.set->empty()) compared_.push_back({&source, std::make_unique<PatternIndex>(source.set)});
    }
  }

  std::string text() const {
    if (compared_.size() < 2) return "";
    std::vector<std::string> told;
    std::uint64_t more = 0;
    for (const Compared& one : compared_) {
      const PatternSet& set = *one.source->set;
      for (std::size_t i = 0; i < set.size(); ++i) {
        const Pattern pattern = set.pattern(i);
        std::string missing;
        for (const Compared& other : compared_) {
          if (&other == &one || other.index->longest_match(pattern.name)) continue;
          missing += (missing.empty() ? "" : ", ") + other.source->file;
        }
        if (missing.empty()) continue;
        if (told.size() == kMostDifferences) {
          ++more;
          continue;
        }
        const auto& [file, line] = one.source->places[i];
        told.push_back(std::string(pattern.name.text()) +
                       (compared_.size() == 2
                            ? " is only in " + place_text(file, line) + " (kept)"
                            : " is in " + place_text(file, line) + ", not in " + missing + " (kept)"));
      }
    }
    const std::string lists = compared_.size() == 2 ? "The two lists" : "The lists";
    if (told.empty()) return lists + " agree";
    std::string text = lists + " differ: ";
    for (std::size_t i = 0; i < told.size(); ++i) text += (i > 0 ? "; " : "") + told[i];
    if (more > 0) text += "; and " + std::to_string(more) + " more";
    return text;
  }

 private:
  struct Compared {
    const Findings* source;
    std::unique_ptr<PatternIndex> index;
  };
  std::vector<Compared> compared_;
};

// The rule that lets pass what several sources name: each name once, in the narrower form, with all its comments.
void merge_passes(DraftRule& rule, std::vector<DraftName> names) {
  for (DraftName& name : names) {
    DraftName* same = nullptr;
    for (DraftName& there : rule.domains) {
      if (there.pattern.name == name.pattern.name) same = &there;
    }
    if (same == nullptr) {
      rule.domains.push_back(std::move(name));
      continue;
    }
    if (name.pattern.kind == PatternKind::kExact) same->pattern.kind = PatternKind::kExact;
    for (std::string& comment : name.above) {
      const bool known = std::find(same->above.begin(), same->above.end(), comment) != same->above.end();
      if (!known) same->above.push_back(std::move(comment));
    }
    if (same->beside.empty()) same->beside = std::move(name.beside);
  }
}

// Names within one source stay as they are: "a.b" and "*.a.b" together are what ".a.b" is.
void append_passes(DraftRule& rule, std::vector<DraftName> names) {
  for (DraftName& name : names) {
    const std::string text = name.pattern.text();
    const bool known = std::any_of(rule.domains.begin(), rule.domains.end(),
                                   [&](const DraftName& there) { return there.pattern.text() == text; });
    if (!known) rule.domains.push_back(std::move(name));
  }
}

class Merge {
 public:
  explicit Merge(std::vector<Findings>& sources) : sources_(sources) {}

  Draft run(Imported& imported) {
    // What stops names at the resolver, or in a list, stops them before any rule that lets pass; a name that is
    // excepted from its own source's comes before it, as that source has it.
    for (Findings& source : sources_) take_definitions(source);
    for (Findings& source : sources_) {
      if (!is_proxy(source)) take_rules(source);
    }
    for (Findings& source : sources_) {
      if (is_proxy(source)) take_rules(source);
    }
    passing();
    default_action(imported);
    return std::move(draft_);
  }

 private:
  // Rules of squid.conf are in its own order; those of the others are of both kinds, and come first.
  static bool is_proxy(const Findings& source) {
    return std::any_of(source.rules.begin(), source.rules.end(),
                       [](const DraftRule& r) { return r.text.starts_with("http_access"); });
  }

  void take_definitions(Findings& source) {
    for (DraftList& list : source.lists) {
      const std::string before = list.name;
      for (int n = 2; has_list(list.name); ++n) list.name = before + "-" + std::to_string(n);
      if (list.name != before) {
        const auto rename = [&](std::vector<std::string>& names) {
          std::replace(names.begin(), names.end(), before, list.name);
        };
        for (DraftRule& rule : source.rules) rename(rule.lists);
        rename(source.passing_lists);
      }
      draft_.lists.push_back(list);
    }
    for (DraftClient& client : source.clients) draft_.clients.push_back(client);
  }

  bool has_list(const std::string& name) const {
    return std::any_of(draft_.lists.begin(), draft_.lists.end(), [&](const DraftList& l) { return l.name == name; });
  }

  void take_rules(Findings& source) {
    for (DraftRule& rule : source.rules) {
      // A name twice in a list is harmless there, and a warning here.
      std::vector<DraftName> names = std::exchange(rule.domains, {});
      append_passes(rule, std::move(names));
      draft_.rules.push_back(std::move(rule));
    }
  }

  // Into the first rule of squid.conf that lets names pass, or one of their own.
  void passing() {
    DraftRule* into = nullptr;
    for (DraftRule& rule : draft_.rules) {
      if (into == nullptr && rule.allow && rule.text.starts_with("http_access") && rule.addresses.empty()) into = &rule;
    }
    DraftRule own;
    own.name = "allowed";
    own.allow = true;
    bool first = into == nullptr;
    DraftRule& rule = into == nullptr ? own : *into;
    for (Findings& source : sources_) {
      if (source.passes.empty() && source.passing_lists.empty()) continue;
      if (first) {
        append_passes(rule, std::move(source.passes));
        rule.file = source.file;
      } else {
        merge_passes(rule, std::move(source.passes));
      }
      first = false;
      rule.lists.insert(rule.lists.end(), source.passing_lists.begin(), source.passing_lists.end());
    }
    if (into == nullptr && (!own.domains.empty() || !own.lists.empty())) draft_.rules.push_back(std::move(own));
  }

  void default_action(Imported& imported) {
    bool said = false, allow = true, passes = false;
    std::string by;
    for (const Findings& source : sources_) {
      passes |= !source.set->empty() && !source.default_allow;  // a list of what passes is one of what does not, too
      if (!source.default_allow) continue;
      said = true;
      allow &= *source.default_allow;
      by = source.default_text;
    }
    draft_.default_allow = said && allow && !passes;
    if (draft_.default_allow) {
      imported.remarks.push_back("default: allow, as " + by + " lets every name pass; rules above it decide first");
    } else if (!said && !passes) {
      imported.remarks.push_back(
          "default: deny, since a block list does not say what may pass; set default: allow to let everything else "
          "pass");
    }
  }

  std::vector<Findings>& sources_;
  Draft draft_;
};

std::uint64_t count_names(const PolicyModel& model) {
  std::uint64_t count = 0;
  for (const RuleModel& rule : model.rules) {
    count += rule.domains.size();
    for (const auto& list : rule.lists) count += list->size();
  }
  return count;
}

// "rules[3]" and what is below it.
std::optional<std::size_t> rule_index(const std::string& path) {
  if (!path.starts_with("rules[")) return std::nullopt;
  return static_cast<std::size_t>(std::stoul(path.substr(6)));
}

// An address carries no name, so a deny rule of names stops it here, and did not there. Moved above the first of those;
// false if there is none, or it stands there already.
bool raise(std::vector<DraftRule>& rules, std::size_t index) {
  if (!rules[index].allow || rules[index].addresses.empty()) return false;
  for (std::size_t i = 0; i < index; ++i) {
    if (rules[i].allow || (rules[i].domains.empty() && rules[i].lists.empty())) continue;
    const auto begin = rules.begin();
    std::rotate(begin + static_cast<std::ptrdiff_t>(i), begin + static_cast<std::ptrdiff_t>(index),
                begin + static_cast<std::ptrdiff_t>(index) + 1);
    return true;
  }
  return false;
}

LoadOutcome load(std::string_view policy, const std::string& target) {
  LoadOptions options;
  options.opens_files = true;
  return load_policy(policy, target == "-" ? "<stdin>" : target, options);
}

// As `policyctl fmt` leaves it. The places of warnings are those of that text.
void write_canonically(std::string& policy, const std::string& target, LoadOutcome& outcome) {
  FormatOutcome formed = format_policy(policy, target);
  if (!formed.text) return;
  policy = *std::move(formed.text);
  if (!outcome.diagnostics.empty()) outcome = load(policy, target);
}

// Reads the draft as check would. What can never take effect was no mistake where it came from: it goes, with a word.
LoadOutcome settle(Draft& draft, const std::string& target, Imported& imported) {
  LoadOutcome outcome = load(draft.text(), target);
  for (std::size_t most = 2 * draft.rules.size(); most > 0 && !outcome.ok(); --most) {
    const auto dead = std::find_if(outcome.diagnostics.begin(), outcome.diagnostics.end(), [&](const Diagnostic& d) {
      return d.code == "P021" && rule_index(d.path).value_or(draft.rules.size()) < draft.rules.size();
    });
    if (dead == outcome.diagnostics.end()) break;
    const std::size_t index = *rule_index(dead->path);
    if (!raise(draft.rules, index)) {
      const DraftRule& rule = draft.rules[index];
      imported.left_out.push_back({rule.file, rule.line, rule.text.empty() ? rule.name : rule.text, dead->repair});
      draft.rules.erase(draft.rules.begin() + static_cast<std::ptrdiff_t>(index));
    }
    outcome = load(draft.text(), target);
  }
  return outcome;
}

void drop_unused(Draft& draft) {
  std::erase_if(draft.lists, [&](const DraftList& list) {
    return std::none_of(draft.rules.begin(), draft.rules.end(), [&](const DraftRule& r) {
      return std::find(r.lists.begin(), r.lists.end(), list.name) != r.lists.end();
    });
  });
}

}  // namespace

Imported import_policy(std::span<const ImportSource> sources, const std::string& target) {
  Imported imported;
  std::vector<Findings> all;
  for (const ImportSource& source : sources) {
    all.push_back(read(source, target));
    if (all.back().failure.empty()) continue;
    imported.failure = all.back().failure;
    return imported;
  }
  imported.comparison = Comparison(all).text();
  Draft draft = Merge(all).run(imported);
  drop_unused(draft);
  for (const Findings& source : all) {
    imported.left_out.insert(imported.left_out.end(), source.left_out.begin(), source.left_out.end());
  }
  LoadOutcome outcome = settle(draft, target, imported);
  imported.policy = draft.text();
  if (outcome.ok()) write_canonically(imported.policy, target, outcome);
  imported.diagnostics = std::move(outcome.diagnostics);
  if (outcome.ok()) imported.names = count_names(*outcome.model);
  return imported;
}

std::string import_report(const Imported& imported, const std::string& target) {
  std::string text = (target == "-" ? "standard output" : target) + ": " + std::to_string(imported.names) +
                     (imported.names == 1 ? " name" : " names");
  if (!imported.comparison.empty()) text += ". " + imported.comparison;
  text += "\n";
  for (const std::string& remark : imported.remarks) text += remark + "\n";
  for (const LeftOut& left : imported.left_out) {
    text += "not carried over: " + place_text(left.file, left.line);
    if (!left.text.empty()) text += " " + in_ticks(left.text);
    text += " (" + left.why + ")\n";
  }
  return text;
}

}  // namespace sallyport
