#include "policyctl/explain_words.hpp"

#include <algorithm>
#include <utility>

#include "language/suggest.hpp"
#include "language/values.hpp"
#include "names/guard.hpp"

namespace sallyport::policyctl {
namespace {

template <typename T, typename Text>
std::string joined(const std::vector<T>& values, Text text) {
  constexpr std::size_t kMost = 4;  // a line of a terminal
  std::string out;
  for (std::size_t i = 0; i < std::min(values.size(), kMost); ++i) out += (i > 0 ? ", " : "") + text(values[i]);
  if (values.size() > kMost) out += " and " + std::to_string(values.size() - kMost) + " more";
  return out;
}

unsigned common_labels(const DomainName& a, const DomainName& b) {
  unsigned common = 0;
  while (common < std::min(a.labels(), b.labels()) && a.suffix(common + 1) == b.suffix(common + 1)) ++common;
  return common;
}

// The entry that was most likely meant: the most labels in common beyond the top, then the fewest edits.
std::string nearest_pattern(const RuleModel& rule, const DomainName& name) {
  std::string best;
  std::pair<unsigned, std::size_t> best_score{1, 0};  // more than a top-level name in common, or a typing error
  const std::size_t most_edits = std::max<std::size_t>(2, name.text().size() / 5);
  const auto look = [&](const Pattern& pattern) {
    const unsigned common = common_labels(pattern.name, name);
    const std::size_t distance = edit_distance(pattern.name.text(), name.text());
    const std::size_t closeness = 1000 - std::min<std::size_t>(distance, 1000);
    if (common < 2 && distance > most_edits) return;
    const std::pair<unsigned, std::size_t> score{std::max(common, 2u), closeness};
    if (best.empty() || score > best_score) {
      best = pattern.text();
      best_score = score;
    }
  };
  for (const Pattern& pattern : rule.domains) look(pattern);
  // Of a million names most are told apart at a glance: neither as long as this one nor with its last two labels.
  const std::string_view last_two = name.labels() > 1 ? name.suffix(2) : name.text();
  for (const auto& list : rule.lists) {
    for (std::size_t i = 0; i < list->size(); ++i) {
      const std::string_view listed = (*list)[i].name;
      const std::size_t longer = std::max(listed.size(), name.text().size());
      const bool alike = longer - std::min(listed.size(), name.text().size()) <= most_edits &&
                         (listed.front() == name.text().front() || listed.back() == name.text().back());
      if (alike || listed.ends_with(last_two)) look(list->pattern(i));
    }
  }
  return best;
}

std::string prefix_text(const Prefix& prefix) { return prefix.text(); }
// All that a rule without its values can say of a mismatch.
std::string_view attribute(Mismatch mismatch) {
  switch (mismatch) {
    case Mismatch::kClient:
      return "client";
    case Mismatch::kName:
      return "name";
    case Mismatch::kPort:
      return "port";
    case Mismatch::kAddress:
    case Mismatch::kResolvesTo:
    case Mismatch::kGuard:
      return "address";
    case Mismatch::kMethod:
      return "method";
    case Mismatch::kPath:
      return "path";
    case Mismatch::kInvisible:
    case Mismatch::kNothing:
      break;
  }
  return "what nobody sees";
}

std::string text_itself(const std::string& text) { return text; }

}  // namespace

PolicyModel outline_of(const Snapshot& snapshot) {
  PolicyModel model;
  model.source = snapshot.source();
  model.default_action = snapshot.default_action();
  const auto place = [&](std::uint32_t rule) {
    SourcePosition where = snapshot.rule_where(rule);
    // The outline has files by number as well, in the order in which they are met.
    if (where.file == 0) return where;
    const std::string file(snapshot.file_of(where));
    const auto known = std::find(model.included.begin(), model.included.end(), file);
    where.file = static_cast<std::uint32_t>(known - model.included.begin()) + 1;
    if (known == model.included.end()) model.included.push_back(file);
    return where;
  };
  model.default_where = place(kNoRuleIndex);
  for (unsigned bit = 0; bit < 64 && !snapshot.group_name(bit).empty(); ++bit) {
    model.clients.emplace_back().name = snapshot.group_name(bit);
  }
  for (std::uint32_t i = 0; i < snapshot.rules(); ++i) {
    RuleModel& rule = model.rules.emplace_back();
    rule.name = snapshot.rule_name(i);
    rule.action = snapshot.rule_action(i);
    rule.observe = snapshot.rule_on_trial(i);
    rule.where = place(i);
  }
  return model;
}

std::string Explainer::why(const Step& step, const RuleTrace& row) const {
  const RuleModel& rule = model_.rules[row.rule];
  if (row.outcome == Outcome::kMatch) {
    if (step.verdict.rule != row.rule) return "";
    if (rule.action == Action::kAllow)
      return rule.limits.any() ? "allows; each client: " + limits_text(rule.limits) : "allows";
    return destination_.address && rule.lists_names() ? "denies: an address might be any name" : "denies";
  }
  if (is_outline_) {
    const std::string what(attribute(row.mismatch));
    if (row.mismatch == Mismatch::kGuard) return "the address guard";
    return what + (row.outcome == Outcome::kMay ? " will tell" : " differs");
  }
  if (row.outcome == Outcome::kMay) return still_open(rule, row);
  switch (row.mismatch) {
    case Mismatch::kClient:
      return "for " + joined(rule.clients, text_itself) + " only";
    case Mismatch::kName:
      return name_differs(rule);
    case Mismatch::kPort: {
      const bool only = rule.ports.size() == 1;
      return "port " + std::to_string(destination_.port) + " is not " + (only ? "" : "among ") +
             joined(rule.ports, port_text);
    }
    case Mismatch::kAddress:
      if (destination_.name && !rule.lists_names()) return "lists addresses only";
      if (destination_.name && rule.action == Action::kAllow) return name_differs(rule);
      return "address differs";
    case Mismatch::kResolvesTo:
      return (step.address ? step.address->text() : "the address") + " is not among " +
             joined(rule.resolves_to, prefix_text);
    case Mismatch::kGuard:
      return guard_text(step, rule);
    case Mismatch::kMethod:
      return "method " + destination_.method + " is not " + (rule.methods.size() == 1 ? "" : "among ") +
             joined(rule.methods, text_itself);
    case Mismatch::kPath:
      return (destination_.path ? in_ticks(*destination_.path) : "the path") + " is not " +
             (rule.paths.size() == 1 ? "" : "among ") + joined(rule.paths, text_itself);
    case Mismatch::kInvisible:
      if (rule.asks_for_requests() && destination_.name) {
        return explanation_.path_unreadable ? "servers read this path in different ways"
                                            : "asks for methods or paths, which nobody sees here";
      }
      return rule.addresses.empty() ? "lists names only, and an address carries none" : "an address carries no name";
    case Mismatch::kNothing:
      break;
  }
  return "";
}

std::string Explainer::where(std::uint32_t rule) const {
  const SourcePosition position = rule == kNoRuleIndex ? model_.default_where : model_.rules[rule].where;
  if (position.line == 0) return rule == kNoRuleIndex ? "default" : "command line";
  return model_.file_of(position) + ":" + std::to_string(position.line);
}

std::vector<std::string> Explainer::notes() const {
  std::vector<std::string> notes;
  if (!explanation_.steps.empty() && explanation_.address_open) {
    const Verdict& verdict = explanation_.steps.back().verdict;
    const RuleModel* rule = verdict.rule == kNoRuleIndex ? nullptr : &model_.rules[verdict.rule];
    if (rule != nullptr && !rule->resolves_to.empty()) {
      notes.push_back("only if the name resolves to " + joined(rule->resolves_to, prefix_text) +
                      "; try --resolved ADDRESS");
    } else {
      notes.push_back(
          "the address is checked when it is dialled: private, loopback and other guarded ones are refused");
    }
  }
  if (explanation_.observed)
    notes.push_back("a trial (mode: observe) lets it pass, and the audit says what would deny it");
  if (explanation_.request_open) notes.push_back("the request will tell; ask for http://NAME/PATH, and --method");
  if (explanation_.never_resolves)
    notes.push_back("a single label is asked of nobody: give its addresses by resolves_to");
  if (explanation_.inside_the_cell)
    notes.push_back("inside a cell this address is the workload's own; no rule makes it lead outside");
  if (explanation_.udp && !explanation_.own_dns)
    notes.push_back("UDP never leaves a cell, whatever the rules say: it carries TCP and its own DNS");
  if (explanation_.own_dns)
    notes.push_back("port 53 of every address is the cell's own dns; ask for the name that is to be looked up");
  const bool port_counts = !explanation_.steps.empty() && explanation_.steps.back().layer != Layer::kDns;
  if (!destination_.port_given && port_counts) {
    const std::vector<PortRange> ports = explanation_.allowed ? std::vector<PortRange>{} : ports_beside();
    notes.push_back("no port was given: 443 is supposed" +
                    (ports.empty() ? "" : "; it may pass on " + joined(ports, port_text)) +
                    (ports.empty() ? "" : ", so try " + destination_.raw + ":" + std::to_string(ports[0].first)));
  }
  return notes;
}

std::vector<PortRange> Explainer::ports_beside() const {
  std::vector<PortRange> ports;
  for (const RuleTrace& row : explanation_.steps.back().trace) {
    const RuleModel& rule = model_.rules[row.rule];
    if (row.mismatch != Mismatch::kPort || rule.action != Action::kAllow) continue;
    for (const PortRange& range : rule.ports) {
      if (range.proto == kProtoTcp) ports.push_back(range);
    }
  }
  return ports;
}

std::string Explainer::name_differs(const RuleModel& rule) const {
  const std::string near = destination_.name ? nearest_pattern(rule, *destination_.name) : "";
  return near.empty() ? "name differs" : "name differs (nearest: " + near + ")";
}

std::string Explainer::still_open(const RuleModel& rule, const RuleTrace& row) const {
  switch (row.mismatch) {
    case Mismatch::kPort:
      return "the port will tell: " + joined(rule.ports, port_text);
    case Mismatch::kResolvesTo:
      return "if the name resolves to " + joined(rule.resolves_to, prefix_text);
    case Mismatch::kAddress:
      return "if it is dialled at " + joined(rule.addresses, prefix_text);
    case Mismatch::kMethod:
    case Mismatch::kPath:
      return "the request will tell: " +
             joined(row.mismatch == Mismatch::kMethod ? rule.methods : rule.paths, text_itself);
    default:
      return "a later layer will tell";
  }
}

std::string Explainer::guard_text(const Step& step, const RuleModel& rule) const {
  if (!step.address) return "the address guard";
  const AddressClass kind = classify(*step.address);
  const std::string text =
      step.address->text() + " is " + (is_guarded(kind) ? std::string(to_string(kind)) : "the gateway's own");
  const bool named = !rule.resolves_to.empty() || (!rule.addresses.empty() && destination_.address);
  if (kind == AddressClass::kMetadata && named) return text + ", which needs allow_metadata: true";
  return text + ", which a rule must name by " + (destination_.name ? "resolves_to" : "addresses");
}

}  // namespace sallyport::policyctl
