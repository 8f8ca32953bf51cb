#include "language/policy_lists.hpp"

#include <algorithm>
#include <filesystem>
#include <span>
#include <utility>

#include "language/suggest.hpp"
#include "language/values.hpp"

namespace sallyport {
namespace {

using policy::v1::List;
using policy::v1::Policy;
using policy::v1::Rule;

std::string file_shown(std::string_view policy_file, const std::string& file) {
  const std::filesystem::path folder = std::filesystem::path(policy_file).parent_path();
  return folder.empty() ? file : (folder / file).string();
}

std::string and_more(const ListTally& tally) {
  return in_ticks(tally.what) + (tally.count > 1 ? " and " + std::to_string(tally.count - 1) + " more" : "");
}

}  // namespace

bool is_answered_here(const RuleModel& model) {
  return !model.resolves_to.empty() &&
         std::all_of(model.resolves_to.begin(), model.resolves_to.end(),
                     [](const Prefix& prefix) { return prefix.bits() == (prefix.network().is_v4() ? 32 : 128); });
}

void PolicyLists::declare(const Policy& policy, const Place& place, Reporter& reporter) {
  const Place* written = place.field(Policy::kListsFieldNumber);
  if (written == nullptr) return;
  for (const Place& entry : written->elements) {
    const auto found = policy.lists().find(entry.name);
    if (found != policy.lists().end()) declare(entry.name, found->second, entry, reporter);
  }
}

void PolicyLists::declare(const std::string& name, const List& list, const Place& place, Reporter& reporter) {
  const std::string path = "lists." + name;
  auto declared = std::make_unique<Declared>();
  declared->name = name;
  declared->name_at = place.key;
  declared->reporter = &reporter;
  declared->whole = !place.partial;
  const auto fault = [&] { declared->whole = false; };
  if (!is_plain_name(name)) {
    const std::string plain = plain_name_of(name);
    reporter.error("P025", place.key, path, in_ticks(name) + " is no name for a list",
                   plain.empty() ? "use letters, digits, `-`, `_` and `.`" : "did you mean " + in_ticks(plain) + "?");
  }
  const Place* file = place.field(List::kFileFieldNumber);
  if (file == nullptr || list.file().empty()) {
    if (!place.partial && (file == nullptr || !file->explicit_null)) {
      reporter.error("P006", file == nullptr ? place.key : file->value, path, "a list without `file`",
                     "write `file: lists/" + plain_name_of(name) + ".txt`, relative to the policy");
    }
    fault();
  } else {
    declared->file_at = file->value;
    declared->shown = file_shown(reporter.source().file(), list.file());
  }
  const std::optional<ListFormat> format =
      list.format() == policy::v1::LIST_FORMAT_UNSPECIFIED
          ? std::nullopt
          : std::optional(kListFormats[static_cast<std::size_t>(list.format()) - policy::v1::LIST_FORMAT_DOMAINS]);
  if (format) {
    declared->format = *format;
  } else {
    if (!place.partial && place.field(List::kFormatFieldNumber) == nullptr) {
      reporter.error("P006", place.key, path, "a list without `format`",
                     "write `format: ` domains, hosts, adblock, dnsmasq, squid or rpz");
    }
    fault();
  }
  declared->max_invalid = list.max_invalid();
  const auto [first, fresh] = by_name_.emplace(name, declared.get());
  if (!fresh) {
    reporter.error("P012", place.key, path, "two lists are named " + in_ticks(name), "rename one")
        .related.push_back(first->second->reporter->source().excerpt(first->second->name_at));
  }
  lists_.push_back(std::move(declared));
}

bool PolicyLists::read(Declared& list, bool weigh) {
  if (list.content && (list.weighed || !weigh)) return true;
  if (!list.whole) return false;  // reported
  const std::string path = "lists." + list.name + ".file";
  const auto refuse = [&](const std::string& message, const std::string& repair) {
    list.reporter->error("P032", list.file_at, path, "list " + in_ticks(list.name) + ": " + message, repair);
    list.whole = false;
    return false;
  };
  if (!opens_files_) return refuse("no file is opened here", "a policy that is a file can name others");
  if (!list.content) files_.push_back(list.shown);
  TrustedFile::Opened opened = TrustedFile::open(list.shown, kMaxListOctets);
  if (opened.failure) return refuse(opened.failure->message, opened.failure->repair);
  ListContent content;
  if (const auto failure = read_list(*opened.file, list.format, list.shown, weigh, content)) {
    return refuse(failure->message, failure->repair);
  }
  list.content = std::move(content);
  list.weighed = weigh;
  if (!list.content->ends_with_line_feed) {
    Excerpt whole;
    whole.file = list.shown;
    list.reporter->warning_at("P043", std::move(whole), path, "the file does not end with a line feed",
                              "is it whole? end it with one");
  }
  return true;
}

// What is wrong with its lines, for a rule of this action.
bool PolicyLists::check_lines(Declared& list, Action action) {
  const bool allow = action == Action::kAllow;
  const ListContent& content = *list.content;
  const std::string path = "lists." + list.name;
  bool good = true;
  if (content.invalid.count > list.max_invalid) {
    good = false;
    // The same lines are one mistake, whoever uses them; of both, a deny rule's holes are the worse ones.
    if (!list.told_holes[0] && !list.told_holes[1]) {
      const ListTally& tally = content.invalid;
      std::string message = "list " + in_ticks(list.name) + ": " + std::to_string(tally.count) + " of " +
                            std::to_string(content.lines) + (content.lines == 1 ? " line" : " lines") +
                            " not understood";
      if (list.max_invalid > 0) message += " (max_invalid: " + std::to_string(list.max_invalid) + ")";
      message += allow ? "; an allow list with holes refuses what it was to let pass"
                       : "; a deny list with holes lets traffic through";
      list.reporter->error_at("P031", tally.first, path, message,
                              tally.what + (tally.is_mistake ? "; repair it" : "; convert") +
                                  ", or set max_invalid: " + std::to_string(tally.count));
    }
    list.told_holes[allow] = true;
  }
  const ListTally& opposite = allow ? content.blocks : content.passes;
  if (opposite.count > 0) {
    good = false;
    if (!list.told_opposite[allow]) {
      list.reporter->error_at("P035", opposite.first, path,
                              "list " + in_ticks(list.name) + ": " + std::to_string(opposite.count) +
                                  (opposite.count == 1 ? " entry says" : " entries say") + " the opposite of the rule",
                              std::string("this ") + (allow ? "blocks " : "lets pass ") + in_ticks(opposite.what) +
                                  ", and the rule would " + (allow ? "allow" : "deny") +
                                  " it; write two lists, one of what passes and one of what does not");
    }
    list.told_opposite[allow] = true;
  }
  return good;
}

// Names that are too broad for an allow rule. A deny rule may list them: it closes more than was meant, if anything,
// and block lists name whole top-level domains on purpose.
void PolicyLists::check_names(const Declared& list, const Rule& rule, const Place& place, const RuleModel& model,
                              const std::string& path, Reporter& reporter) {
  const ListContent& content = *list.content;
  const auto refuse = [&](std::string_view code, const ListTally& tally, const std::string& what,
                          const std::string& repair) {
    const Place* name = place.field(Rule::kNameFieldNumber);
    const Span& at = name != nullptr ? name->value : place.value;
    Diagnostic& error = list.reporter->error_at(
        code, tally.first, path, "list " + in_ticks(list.name) + ": " + and_more(tally) + " " + what, repair);
    error.related.push_back(reporter.source().excerpt(at));
    error.related.back().label = "rule " + in_ticks(model.name) + " allows the list";
  };
  const auto verb = [](const ListTally& tally, std::string_view one, std::string_view many) {
    return std::string(tally.count == 1 ? one : many);
  };
  if (content.public_suffixes.count > 0 && !rule.allow_public_suffix()) {
    refuse("P014", content.public_suffixes,
           verb(content.public_suffixes, "covers a public suffix or top-level name", "cover public suffixes"),
           "name the organisation, or set allow_public_suffix: true on the rule");
  }
  if (content.many_tenants.count > 0 && !rule.multi_tenant()) {
    refuse("P015", content.many_tenants,
           verb(content.many_tenants, "is shared by many tenants", "are shared by many tenants"),
           "name the tenant, or set multi_tenant: true on the rule");
  }
  if (content.single_labels.count > 0 && !is_answered_here(model)) {
    refuse("P018", content.single_labels,
           verb(content.single_labels, "is a single label, never asked for outside",
                "are single labels, never asked for outside"),
           "write the full name, or give host addresses by resolves_to");
  }
}

void PolicyLists::unknown(const std::string& name, const Place& place, const std::string& path,
                          Reporter& reporter) const {
  std::vector<std::string_view> names;
  for (const auto& list : lists_) names.push_back(list->name);
  const std::string_view near = nearest(name, std::span<const std::string_view>(names));
  reporter.error("P033", place.value, path, "unknown list " + in_ticks(name),
                 near.empty() ? "define it under `lists`" : "did you mean " + in_ticks(near) + "?");
}

void PolicyLists::use(const Rule& rule, const Place& place, RuleModel& model, const std::string& path,
                      Reporter& reporter) {
  const Place* written = place.field(Rule::kListsFieldNumber);
  if (written == nullptr) return;
  std::vector<std::pair<std::string, Span>> seen;
  for (int i = 0; i < rule.lists_size(); ++i) {
    const Place& entry = written->elements[static_cast<std::size_t>(i)];
    const std::string& name = rule.lists(i);
    const std::string at = path + ".lists[" + std::to_string(entry.index) + "]";
    const auto twice = std::find_if(seen.begin(), seen.end(), [&](const auto& s) { return s.first == name; });
    if (twice != seen.end()) {
      reporter.warning("P012", entry.value, at, in_ticks(name) + " is listed twice", "remove one")
          .related.push_back(reporter.source().excerpt(twice->second));
      continue;
    }
    seen.emplace_back(name, entry.value);
    const auto found = by_name_.find(name);
    if (found == by_name_.end()) {
      unknown(name, entry, at, reporter);
      continue;
    }
    Declared& list = *found->second;
    list.used = true;
    const bool allow = model.action == Action::kAllow;
    if (!read(list, allow) || !check_lines(list, model.action)) continue;
    if (allow) check_names(list, rule, place, model, path, reporter);
    if (list.content->names->empty()) {
      const std::string message = "list " + in_ticks(name) + " (" + list.shown + ") has no names";
      if (allow) {
        reporter.warning("P036", entry.value, at, message, "by it the rule allows nothing; is the file whole?");
      } else {
        reporter.error("P036", entry.value, at, message,
                       "by it the rule would deny nothing; if that is meant, remove it here");
        continue;
      }
    }
    model.lists.push_back(list.content->names);
  }
}

void PolicyLists::report_unused() {
  for (const auto& list : lists_) {
    if (list->used) continue;
    list->reporter->warning("P034", list->name_at, "lists." + list->name,
                            "no rule uses the list " + in_ticks(list->name),
                            "write lists: [" + list->name + "] in one; until then its file is not read");
  }
}

}  // namespace sallyport
