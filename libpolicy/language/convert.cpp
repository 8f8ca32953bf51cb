#include "language/convert.hpp"

#include <algorithm>
#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "language/effect.hpp"
#include "language/effect_report.hpp"
#include "language/explain_flow.hpp"
#include "language/policy_lists.hpp"
#include "language/presets.hpp"
#include "language/requests.hpp"
#include "language/suggest.hpp"
#include "language/trial_keys.hpp"
#include "language/values.hpp"
#include "names/guard.hpp"

namespace sallyport {
namespace {

using policy::v1::Client;
using policy::v1::Policy;
using policy::v1::Rule;

constexpr std::size_t kMostClients = 64;  // a query carries its clients as bits of one word

// A user-id of RFC 7617, as far as the audit can show it whole (AuditRecord::kMaxUser).
bool is_user(std::string_view text) {
  constexpr std::size_t kLongest = 63;
  return !text.empty() && text.size() <= kLongest && std::none_of(text.begin(), text.end(), [](char c) {
    return c == ':' || static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
  });
}

// A name and where it was given.
struct Named {
  std::string name;
  Span at;
  Reporter* reporter;
  Excerpt excerpt() const { return reporter->source().excerpt(at); }
};

// What the files of a policy share.
struct Whole {
  Whole(bool opens_files, std::vector<std::string>& files) : lists(opens_files, files) {}
  PolicyModel model;
  PolicyLists lists;
  std::vector<RulePlace> rule_places;  // one a rule of the model
  std::vector<Named> clients;
  std::unordered_map<std::string, Named> rule_names;
  std::unordered_map<std::string, bool> client_used;
};

// Reads one file of a policy into the whole of it.
class Converter {
 public:
  // file: as SourcePosition::file.
  Converter(const LoadOptions& options, Reporter& reporter, Whole& whole, std::uint32_t file)
      : options_(options), reporter_(reporter), whole_(whole), model_(whole.model), file_(file) {}

  // Rules may name what any of the files define, so this comes first.
  void definitions(const Policy& policy, const Place& place) {
    version(policy, place);
    if (file_ == 0) {
      default_action(policy, place);
      model_.observe =
          read_trial(policy.mode(), policy.until(), place.field(Policy::kModeFieldNumber),
                     place.field(Policy::kUntilFieldNumber), "", "the whole policy", options_.now, reporter_);
    } else {
      only_in_the_policy(place);
    }
    clients(policy, place);
    whole_.lists.declare(policy, place, reporter_);
  }
  void rules(const Policy& policy, const Place& place);
  void tests(const Policy& policy, const Place& place);
  void unused_clients();

 private:
  void version(const Policy& policy, const Place& place);
  void default_action(const Policy& policy, const Place& place);
  void clients(const Policy& policy, const Place& place);
  void client(const Client& client, const Place& place);
  void only_in_the_policy(const Place& place);
  void test(const policy::v1::Test& test, const Place& place);
  void rule(const Rule& rule, const Place& place);
  void rule_name(const Rule& rule, const Place& place, const std::string& path);
  void rule_clients(const Rule& rule, const Place& place, RuleModel& model, const std::string& path);
  void rule_domains(const Rule& rule, const Place& place, RuleModel& model, const std::string& path);
  void rule_ports(const Rule& rule, const Place& place, RuleModel& model, const std::string& path);
  void rule_destinations(const Place& place, const RuleModel& model, const std::string& path);
  void rule_metadata(const Rule& rule, const Place& place, const RuleModel& model, const std::string& path);
  void rule_limits(const Rule& rule, const Place& place, RuleModel& model, const std::string& path);
  void rule_presets(const Rule& rule, const Place& place, RuleModel& model, const std::string& path);
  void rule_requests(const Rule& rule, const Place& place, RuleModel& model, const std::string& path);
  void where_requests_are_hidden(const Place& place, const RuleModel& model, const std::string& path);
  std::string_view nearest_client(const std::string& name) const;
  SourcePosition position(const Span& span) const { return {span.line, span.column, file_}; }
  void prefixes(const google::protobuf::RepeatedPtrField<std::string>& texts, const Place* place,
                const std::string& path, std::vector<Prefix>& out);
  // `domains: []` must not mean what leaving the key out means.
  bool empty_list(const Place* place, const std::string& path, std::string_view meaning);
  void report(const Problem& problem, const Span& value, const std::string& path);

  static std::string at(const std::string& path, std::string_view key) { return path + "." + std::string(key); }
  static std::string at(const std::string& path, const Place& entry) {
    return path + "[" + std::to_string(entry.index) + "]";
  }

  const LoadOptions& options_;
  Reporter& reporter_;
  Whole& whole_;
  PolicyModel& model_;
  const std::uint32_t file_;
};

void Converter::report(const Problem& problem, const Span& value, const std::string& path) {
  Span span = value;
  // A value that stands there as written can be pointed into.
  if (problem.length > 0 && problem.offset + problem.length <= value.length) {
    span.column += static_cast<std::uint32_t>(problem.offset);
    span.length = static_cast<std::uint32_t>(problem.length);
  }
  reporter_.error(problem.code, span, path, problem.message, problem.repair).note = problem.note;
}

bool Converter::empty_list(const Place* place, const std::string& path, std::string_view meaning) {
  if (place == nullptr || !place->elements.empty()) return false;
  // Nothing decoded: either written empty, or every entry was reported already.
  const std::size_t offset = reporter_.source().offset_of(place->value);
  const std::string_view rest = reporter_.source().text().substr(offset);
  const std::size_t inside = rest.starts_with('[') ? rest.find_first_not_of(" \t\r\n", 1) : std::string_view::npos;
  if (inside != std::string_view::npos && rest[inside] == ']') {
    reporter_.error("P019", place->value, path, "an empty list",
                    "write a value, or remove the key, which means " + std::string(meaning));
  }
  return true;
}

void Converter::version(const Policy& policy, const Place& place) {
  const Place* written = place.field(Policy::kVersionFieldNumber);
  if (written == nullptr) {
    const Span first = place.fields.empty() ? Span{1, 1, 1} : place.fields.front().key;
    reporter_.error("P006", first, "version", "`version` is missing", "write `version: 1` as the first line");
    return;
  }
  if (policy.version() != 1 && !reporter_.failed()) {
    reporter_.error("P023", written->value, "version", "version " + std::to_string(policy.version()) + " is not known",
                    "this program reads version 1");
  }
}

void Converter::default_action(const Policy& policy, const Place& place) {
  model_.default_action = policy.default_() == policy::v1::ACTION_ALLOW ? Action::kAllow : Action::kDeny;
  const Place* written = place.field(Policy::kDefaultFieldNumber);
  if (written == nullptr) written = place.field(Policy::kVersionFieldNumber);
  if (written != nullptr) model_.default_where = position(written->key);
}

// What speaks of the policy as a whole stands in the file that is the policy.
void Converter::only_in_the_policy(const Place& place) {
  for (const auto& [field, key] :
       {std::pair{Policy::kDefaultFieldNumber, "default"}, std::pair{Policy::kModeFieldNumber, "mode"},
        std::pair{Policy::kUntilFieldNumber, "until"}}) {
    const Place* written = place.field(field);
    if (written == nullptr) continue;
    reporter_.error("P044", written->key, key, in_ticks(key) + " in a file that another one includes",
                    "write it in " + in_ticks(model_.source) + ", of which this is a part");
  }
}

void Converter::clients(const Policy& policy, const Place& place) {
  const Place* written = place.field(Policy::kClientsFieldNumber);
  if (written == nullptr) return;
  const std::size_t before = whole_.clients.size();
  if (before <= kMostClients && before + written->elements.size() > kMostClients) {
    reporter_.error("P024", written->elements[kMostClients - before].key, "clients",
                    std::to_string(before + written->elements.size()) + " clients; at most " +
                        std::to_string(kMostClients) + " are possible",
                    "merge those that share their rules");
  }
  for (const Place& entry : written->elements) {
    const Named named{entry.name, entry.key, &reporter_};
    const auto same = std::find_if(whole_.clients.begin(), whole_.clients.end(),
                                   [&](const Named& other) { return other.name == entry.name; });
    if (same != whole_.clients.end()) {
      reporter_
          .error("P013", entry.key, "clients." + entry.name, "two clients are named " + in_ticks(entry.name),
                 "rename one, or define it once")
          .related.push_back(same->excerpt());
      continue;
    }
    whole_.clients.push_back(named);
    const auto found = policy.clients().find(entry.name);
    if (found != policy.clients().end()) client(found->second, entry);
  }
}

void Converter::client(const Client& client, const Place& place) {
  const std::string path = "clients." + place.name;
  ClientModel model;
  model.name = place.name;
  if (!is_plain_name(place.name)) {
    const std::string plain = plain_name_of(place.name);
    reporter_.error("P025", place.key, path, in_ticks(place.name) + " is no name for a client",
                    plain.empty() ? "use letters, digits, `-`, `_` and `.`" : "did you mean " + in_ticks(plain) + "?");
  }
  const Place* addresses = place.field(Client::kAddressesFieldNumber);
  const Place* cells = place.field(Client::kCellsFieldNumber);
  empty_list(addresses, at(path, "addresses"), "no address");
  empty_list(cells, at(path, "cells"), "no cell");
  prefixes(client.addresses(), addresses, at(path, "addresses"), model.addresses);
  for (int i = 0; i < client.cells_size(); ++i) {
    const Place& entry = cells->elements[static_cast<std::size_t>(i)];
    std::string bare = client.cells(i);
    bare.erase(std::remove(bare.begin(), bare.end(), '*'), bare.end());
    if (client.cells(i).empty() || (!bare.empty() && !is_plain_name(bare))) {
      reporter_.error("P025", entry.value, at(at(path, "cells"), entry),
                      in_ticks(client.cells(i)) + " is no name of a cell",
                      "use letters, digits, `-`, `_`, `.`, and `*` for any run of characters");
    }
    model.cells.push_back(client.cells(i));
  }
  const Place* credentials = place.field(Client::kCredentialsFieldNumber);
  empty_list(credentials, at(path, "credentials"), "no user");
  for (int i = 0; i < client.credentials_size(); ++i) {
    const Place& entry = credentials->elements[static_cast<std::size_t>(i)];
    if (!is_user(client.credentials(i))) {
      reporter_.error("P025", entry.value, at(at(path, "credentials"), entry),
                      in_ticks(client.credentials(i)) + " is no name of a user",
                      "use 1 to 63 characters, no control characters and no `:`");
    }
    model.credentials.push_back(client.credentials(i));
  }
  if (addresses == nullptr && cells == nullptr && credentials == nullptr && !place.partial) {
    reporter_.error("P019", place.key, path, "client " + in_ticks(place.name) + " can never be anyone",
                    "say who it is, by addresses, cells or credentials");
  }
  model.observe = read_trial(client.mode(), client.until(), place.field(Client::kModeFieldNumber),
                             place.field(Client::kUntilFieldNumber), path, "client " + in_ticks(place.name),
                             options_.now, reporter_);
  if (model.observe) whole_.client_used[model.name] = true;
  model_.clients.push_back(std::move(model));
}

void Converter::prefixes(const google::protobuf::RepeatedPtrField<std::string>& texts, const Place* place,
                         const std::string& path, std::vector<Prefix>& out) {
  for (int i = 0; i < texts.size(); ++i) {
    const Place& entry = place->elements[static_cast<std::size_t>(i)];
    Parsed<Prefix> prefix = read_prefix(texts[i]);
    if (const auto* problem = std::get_if<Problem>(&prefix)) {
      report(*problem, entry.value, at(path, entry));
    } else {
      out.push_back(std::get<Prefix>(prefix));
    }
  }
}

void Converter::rules(const Policy& policy, const Place& place) {
  const Place* written = place.field(Policy::kRulesFieldNumber);
  for (int i = 0; i < policy.rules_size(); ++i) {
    rule(policy.rules(i), written->elements[static_cast<std::size_t>(i)]);
  }
}

void Converter::rule_name(const Rule& rule, const Place& place, const std::string& path) {
  const Place* written = place.field(Rule::kNameFieldNumber);
  if (written == nullptr) {
    if (place.partial) return;  // the key that was refused may be the one that is missing
    const std::string from = rule.domains_size() > 0     ? rule.domains(0)
                             : rule.addresses_size() > 0 ? rule.addresses(0)
                                                         : "";
    const std::string plain = plain_name_of(from);
    reporter_.error("P006", place.value, path, "a rule without `name`",
                    "write `name: " + (plain.empty() ? "what-it-is-for" : plain) + "`, which the audit will show");
    return;
  }
  if (!is_plain_name(rule.name())) {
    const std::string plain = plain_name_of(rule.name());
    if (!written->explicit_null) {
      reporter_.error(
          "P025", written->value, at(path, "name"), in_ticks(rule.name()) + " is no name for a rule",
          plain.empty() ? "use letters, digits, `-`, `_` and `.`" : "did you mean " + in_ticks(plain) + "?");
    }
    return;
  }
  const auto [first, fresh] = whole_.rule_names.emplace(rule.name(), Named{rule.name(), written->value, &reporter_});
  if (!fresh) {
    Diagnostic& twice =
        reporter_.error("P013", written->value, at(path, "name"), "two rules are named " + in_ticks(rule.name()),
                        "rename one: the audit tells them apart");
    twice.related.push_back(first->second.excerpt());
  }
}

void Converter::rule_clients(const Rule& rule, const Place& place, RuleModel& model, const std::string& path) {
  const Place* written = place.field(Rule::kClientsFieldNumber);
  if (empty_list(written, at(path, "clients"), "all clients")) return;
  for (int i = 0; i < rule.clients_size(); ++i) {
    const Place& entry = written->elements[static_cast<std::size_t>(i)];
    const std::string& name = rule.clients(i);
    const bool known =
        std::any_of(whole_.clients.begin(), whole_.clients.end(), [&](const Named& c) { return c.name == name; });
    if (known) {
      model.clients.push_back(name);
      whole_.client_used[name] = true;
      continue;
    }
    const std::string_view near = nearest_client(name);
    reporter_.error("P016", entry.value, at(at(path, "clients"), entry), "unknown client " + in_ticks(name),
                    near.empty() ? "define it under `clients`" : "did you mean " + in_ticks(near) + "?");
  }
}

void Converter::rule_domains(const Rule& rule, const Place& place, RuleModel& model, const std::string& path) {
  const Place* written = place.field(Rule::kDomainsFieldNumber);
  if (empty_list(written, at(path, "domains"), "no name")) return;
  const DomainPermissions permissions{rule.allow_public_suffix(), rule.multi_tenant()};
  const bool fixed = is_answered_here(model);
  std::unordered_map<std::string, Span> seen;
  for (int i = 0; i < rule.domains_size(); ++i) {
    const Place& entry = written->elements[static_cast<std::size_t>(i)];
    const std::string where = at(at(path, "domains"), entry);
    Parsed<Pattern> parsed = read_domain(rule.domains(i), permissions);
    if (auto* problem = std::get_if<Problem>(&parsed)) {
      report(*problem, entry.value, where);
      continue;
    }
    const Pattern& pattern = std::get<Pattern>(parsed);
    const auto [first, fresh] = seen.emplace(pattern.text(), entry.value);
    if (!fresh) {
      reporter_.warning("P012", entry.value, where, in_ticks(rule.domains(i)) + " is listed twice", "remove one")
          .related.push_back(reporter_.source().excerpt(first->second));
      continue;
    }
    const bool single = pattern.name.labels() == 1 && pattern.kind == PatternKind::kExact;
    if (single && model.action == Action::kAllow && !fixed) {
      reporter_.error("P018", entry.value, where,
                      "the single label " + in_ticks(rule.domains(i)) + " is never asked for outside",
                      "give its host addresses (resolves_to: [172.20.0.5]), or write the full name");
    }
    model.domains.push_back(pattern);
  }
}

// The rule has a key that names its names; presets apart.
bool lists_names(const Place& rule) {
  return rule.field(Rule::kDomainsFieldNumber) != nullptr || rule.field(Rule::kListsFieldNumber) != nullptr;
}

std::string clients_text(const RuleModel& model) {
  std::string text;
  for (const std::string& client : model.clients) text += (text.empty() ? "" : ", ") + in_ticks(client);
  return text;
}

void Converter::rule_ports(const Rule& rule, const Place& place, RuleModel& model, const std::string& path) {
  const Place* written = place.field(Rule::kPortsFieldNumber);
  if (empty_list(written, at(path, "ports"), "the default")) return;
  const bool only_cells =
      !model.clients.empty() && std::all_of(model.clients.begin(), model.clients.end(), [&](const std::string& name) {
        const auto client = std::find_if(model_.clients.begin(), model_.clients.end(),
                                         [&](const ClientModel& c) { return c.name == name; });
        return client != model_.clients.end() && client->addresses.empty() && client->credentials.empty();
      });
  for (int i = 0; i < rule.ports_size(); ++i) {
    const Place& entry = written->elements[static_cast<std::size_t>(i)];
    Parsed<PortRange> parsed = read_port(rule.ports(i));
    if (const auto* problem = std::get_if<Problem>(&parsed)) {
      report(*problem, entry.value, at(at(path, "ports"), entry));
      continue;
    }
    const PortRange& range = std::get<PortRange>(parsed);
    if (range.proto == kProtoUdp && only_cells && model.action == Action::kAllow) {
      reporter_.error("P022", entry.value, at(at(path, "ports"), entry),
                      "UDP cannot leave a cell, and " + clients_text(model) +
                          (model.clients.size() == 1 ? " is" : " are") + " reached in cells alone",
                      "cells carry TCP and their own DNS; remove " + in_ticks(rule.ports(i)));
      continue;
    }
    model.ports.push_back(range);
  }
  if (written != nullptr || place.partial || model.action == Action::kDeny) return;
  if (!model.addresses.empty()) {
    const Place* addresses = place.field(Rule::kAddressesFieldNumber);
    reporter_.error("P019", addresses->key, path, "an allow rule with addresses needs `ports`",
                    "write them, such as ports: [443]; ports 80 and 443 are the default for names alone");
  } else if (lists_names(place)) {
    model.ports = default_ports();
  }
  if (const Place* preset = place.field(Rule::kPresetFieldNumber); preset != nullptr) {
    // Of a rule that says no ports, the presets' own.
    std::vector<PortRange> ports = std::move(model.ports);
    for (const std::string& name : rule.preset()) {
      const Preset* found = find_preset(name);
      if (found != nullptr) ports.insert(ports.end(), found->ports.begin(), found->ports.end());
    }
    model.ports.clear();
    for (const PortRange& range : ports) {
      const auto same = [&](const PortRange& other) {
        return other.proto == range.proto && other.first == range.first && other.last == range.last;
      };
      if (std::none_of(model.ports.begin(), model.ports.end(), same)) model.ports.push_back(range);
    }
  }
}

void Converter::rule_destinations(const Place& place, const RuleModel& model, const std::string& path) {
  const bool names = lists_names(place) || place.field(Rule::kPresetFieldNumber) != nullptr;
  const Place* addresses = place.field(Rule::kAddressesFieldNumber);
  const Place* resolves_to = place.field(Rule::kResolvesToFieldNumber);
  if (resolves_to != nullptr && !names) {
    reporter_.error("P020", resolves_to->key, at(path, "resolves_to"), "`resolves_to` without `domains`",
                    addresses != nullptr ? "it narrows names; write the addresses in `addresses` alone"
                                         : "write the names that resolve to these, or use `addresses`");
    return;
  }
  const Place* name = place.field(Rule::kNameFieldNumber);
  if (model.action == Action::kAllow && !names && addresses == nullptr && !place.partial) {
    reporter_.error("P019", name != nullptr ? name->value : place.value, path,
                    "an allow rule without `domains`, `lists` or `addresses`",
                    "say what it allows; to allow everything, set default: allow");
  }
  if (model.action != Action::kAllow) return;
  const auto warn_wide = [&](const std::vector<Prefix>& blocks, const Place* written, std::string_view key) {
    if (written == nullptr || written->elements.size() != blocks.size()) return;
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      const std::optional<Problem> wide = wide_block(blocks[i]);
      if (!wide) continue;
      reporter_.warning(wide->code, written->elements[i].value, at(at(path, key), written->elements[i]), wide->message,
                        wide->repair);
    }
  };
  warn_wide(model.addresses, addresses, "addresses");
  warn_wide(model.resolves_to, resolves_to, "resolves_to");
}

void Converter::rule_metadata(const Rule& rule, const Place& place, const RuleModel& model, const std::string& path) {
  const Place* flag = place.field(Rule::kAllowMetadataFieldNumber);
  const Place* tunnel = place.field(Rule::kTunnelFieldNumber);
  if (model.action == Action::kDeny) {
    if (flag != nullptr && rule.allow_metadata()) {
      reporter_.error("P020", flag->key, at(path, "allow_metadata"), "`allow_metadata` means nothing on a deny rule",
                      "remove it");
    }
    if (tunnel != nullptr) {
      reporter_.error("P020", tunnel->key, at(path, "tunnel"), "`tunnel` means nothing on a deny rule", "remove it");
    }
    return;
  }
  const auto any_metadata = [](const std::vector<Prefix>& blocks) {
    return std::any_of(blocks.begin(), blocks.end(), may_hold_metadata);
  };
  if (rule.allow_metadata()) {
    if (flag != nullptr && !any_metadata(model.addresses) && !any_metadata(model.resolves_to)) {
      reporter_.error(
          "P021", flag->key, at(path, "allow_metadata"), "this key can never take effect",
          "no metadata service is among this rule's addresses or resolves_to; name one there, or remove the key");
    }
    return;
  }
  const auto refuse_hosts = [&](const google::protobuf::RepeatedPtrField<std::string>& texts, int field,
                                std::string_view key) {
    for (int i = 0; i < texts.size(); ++i) {
      const Result<Address> address = Address::parse(std::string_view(texts[i]).substr(0, texts[i].find('/')));
      Result<Prefix> prefix = Prefix::parse(texts[i]);
      if (!address.ok() || !prefix.ok() || prefix->bits() != (address->is_v4() ? 32u : 128u)) continue;
      if (classify(*address) != AddressClass::kMetadata) continue;
      const Place& entry = place.field(field)->elements[static_cast<std::size_t>(i)];
      reporter_.error(
          "P021", entry.value, at(at(path, key), entry), in_ticks(texts[i]) + " can never be reached by this rule",
          "it is a cloud metadata service, which hands out credentials; if you mean it, set allow_metadata: true");
    }
  };
  refuse_hosts(rule.addresses(), Rule::kAddressesFieldNumber, "addresses");
  refuse_hosts(rule.resolves_to(), Rule::kResolvesToFieldNumber, "resolves_to");
}

void Converter::rule_limits(const Rule& rule, const Place& place, RuleModel& model, const std::string& path) {
  using policy::v1::Limits;
  const Place* written = place.field(Rule::kLimitsFieldNumber);
  if (written == nullptr) return;
  const std::string where = at(path, "limits");
  const Limits& in = rule.limits();
  if (written->fields.empty()) {
    // Of another type, or with unknown keys alone: reported.
    if (reporter_.source().text().substr(reporter_.source().offset_of(written->value)).starts_with('{') &&
        !written->partial)
      reporter_.error("P019", written->key, where, "`limits` without a limit",
                      "write one, such as limits: { requests: 600/m }, or remove the key");
    return;
  }
  const auto read = [&](int field, std::string_view key, const std::string& text, auto parse,
                        std::optional<RateModel>& out) {
    const Place* value = written->field(field);
    if (value == nullptr || value->explicit_null) return;
    const std::string_view source = reporter_.source().text().substr(reporter_.source().offset_of(value->value));
    if (text.empty() && !source.starts_with('"') && !source.starts_with('\'')) return;  // of another type: reported
    Parsed<RateModel> rate = parse(text);
    if (const auto* problem = std::get_if<Problem>(&rate)) {
      report(*problem, value->value, at(where, key));
    } else {
      out = std::get<RateModel>(rate);
    }
  };
  const auto quota = [](std::string_view text) { return read_octet_rate(text, OctetLimit::kQuota); };
  const auto bandwidth = [](std::string_view text) { return read_octet_rate(text, OctetLimit::kBandwidth); };
  read(Limits::kRequestsFieldNumber, "requests", in.requests(), read_request_rate, model.limits.requests);
  read(Limits::kBandwidthFieldNumber, "bandwidth", in.bandwidth(), bandwidth, model.limits.bandwidth);
  read(Limits::kUploadFieldNumber, "upload", in.upload(), quota, model.limits.upload);
  read(Limits::kDownloadFieldNumber, "download", in.download(), quota, model.limits.download);
  if (const Place* value = written->field(Limits::kConnectionsFieldNumber); value != nullptr && !value->partial) {
    if (in.connections() > kMostConnections) {
      reporter_.error("P057", value->value, at(where, "connections"),
                      std::to_string(in.connections()) + " connections are more than can be counted",
                      "at most " + std::to_string(kMostConnections) + "; or leave the key out");
    } else if (in.connections() > 0) {
      model.limits.connections = in.connections();
    } else if (reporter_.source().text().substr(reporter_.source().offset_of(value->value)).starts_with('0')) {
      reporter_.error("P057", value->value, at(where, "connections"), "`0` allows nothing",
                      "to stop these flows, write a deny rule; or remove the key");
    }
  }
  if (place.field(Rule::kActionFieldNumber) != nullptr && model.action == Action::kDeny) {
    reporter_.error("P020", written->key, where, "`limits` means nothing on a deny rule",
                    "remove it, or write action: allow");
    model.limits = {};
    return;
  }
  const Place* ports = place.field(Rule::kPortsFieldNumber);
  const bool udp = std::any_of(model.ports.begin(), model.ports.end(),
                               [](const PortRange& range) { return range.proto == kProtoUdp; });
  if (udp && ports != nullptr) {
    reporter_
        .error("P058", written->key, where,
               "limits cannot be kept for UDP: the kernel forwards it, and counts for nobody",
               "put the UDP ports into a rule of their own, without limits")
        .related.push_back(reporter_.source().excerpt(ports->value));
    model.limits = {};
  }
}

void Converter::rule(const Rule& rule, const Place& place) {
  const std::string path = "rules[" + std::to_string(place.index) + "]";
  if (place.fields.empty()) {
    if (reporter_.source().text().substr(reporter_.source().offset_of(place.value)).starts_with('{')) {
      reporter_.error("P006", place.value, path, "an empty rule", "write name, action and domains, or remove it");
    }
    return;  // not a mapping, or only unknown keys: reported
  }
  RuleModel model;
  const Place* name = place.field(Rule::kNameFieldNumber);
  model.name = rule.name();
  const Span& where = name != nullptr ? name->key : place.value;
  model.where = position(where);
  rule_name(rule, place, path);

  const Place* action = place.field(Rule::kActionFieldNumber);
  if (action == nullptr && !place.partial) {
    reporter_.error("P006", name != nullptr ? name->value : place.value, path, "a rule without `action`",
                    "write `action: allow` or `action: deny`");
  }
  model.action = rule.action() == policy::v1::ACTION_ALLOW ? Action::kAllow : Action::kDeny;
  model.tunnel_any = rule.tunnel() == policy::v1::TUNNEL_ANY;
  model.allow_metadata = rule.allow_metadata();
  model.observe = rule.mode() == policy::v1::MODE_OBSERVE;

  rule_clients(rule, place, model, path);
  const Place* addresses = place.field(Rule::kAddressesFieldNumber);
  const Place* resolves_to = place.field(Rule::kResolvesToFieldNumber);
  empty_list(addresses, at(path, "addresses"), "no address");
  empty_list(resolves_to, at(path, "resolves_to"), "any public address");
  prefixes(rule.addresses(), addresses, at(path, "addresses"), model.addresses);
  prefixes(rule.resolves_to(), resolves_to, at(path, "resolves_to"), model.resolves_to);
  rule_domains(rule, place, model, path);
  if (!empty_list(place.field(Rule::kListsFieldNumber), at(path, "lists"), "no name")) {
    whole_.lists.use(rule, place, model, path, reporter_);
  }
  rule_presets(rule, place, model, path);
  rule_ports(rule, place, model, path);
  rule_limits(rule, place, model, path);
  if (action != nullptr) {
    rule_destinations(place, model, path);
    rule_metadata(rule, place, model, path);
    rule_requests(rule, place, model, path);
  }
  model_.rules.push_back(std::move(model));
  whole_.rule_places.push_back({&place, &reporter_});
}

void Converter::rule_presets(const Rule& rule, const Place& place, RuleModel& model, const std::string& path) {
  const Place* written = place.field(Rule::kPresetFieldNumber);
  if (empty_list(written, at(path, "preset"), "no name")) return;
  std::unordered_set<std::string> seen;
  for (const Pattern& pattern : model.domains) seen.insert(pattern.text());
  for (int i = 0; i < rule.preset_size(); ++i) {
    const Place& entry = written->elements[static_cast<std::size_t>(i)];
    const Preset* preset = find_preset(rule.preset(i));
    if (preset == nullptr) {
      const std::string_view near = nearest_preset(rule.preset(i));
      std::string all;
      for (const Preset& one : presets()) all += (all.empty() ? "" : ", ") + std::string(one.name);
      reporter_
          .error("P029", entry.value, at(at(path, "preset"), entry), "unknown preset " + in_ticks(rule.preset(i)),
                 near.empty() ? "write the names in domains" : "did you mean " + in_ticks(near) + "?")
          .note = "presets: " + all;
      continue;
    }
    for (const Pattern& pattern : preset->domains) {
      if (seen.insert(pattern.text()).second) model.domains.push_back(pattern);
    }
  }
}

void Converter::rule_requests(const Rule& rule, const Place& place, RuleModel& model, const std::string& path) {
  const Place* methods = place.field(Rule::kMethodsFieldNumber);
  const Place* paths = place.field(Rule::kPathsFieldNumber);
  const Place* inspect = place.field(Rule::kInspectFieldNumber);
  empty_list(methods, at(path, "methods"), "all of them");
  empty_list(paths, at(path, "paths"), "all of them");
  const auto read = [&](const google::protobuf::RepeatedPtrField<std::string>& texts, const Place* list,
                        std::string_view key, auto reader, std::vector<std::string>& out) {
    for (int i = 0; i < texts.size(); ++i) {
      const Place& entry = list->elements[static_cast<std::size_t>(i)];
      Parsed<std::string> parsed = reader(texts[i]);
      if (const auto* problem = std::get_if<Problem>(&parsed)) {
        report(*problem, entry.value, at(at(path, key), entry));
      } else {
        out.push_back(std::get<std::string>(std::move(parsed)));
      }
    }
  };
  read(rule.methods(), methods, "methods", read_method, model.methods);
  read(rule.paths(), paths, "paths", read_path, model.paths);
  if (rule.inspect()) {
    reporter_.error("P030", inspect->key, at(path, "inspect"), "no plugin offers inspection of TLS",
                    "remove inspect; methods and paths work on clear HTTP");
    return;
  }
  if (methods == nullptr && paths == nullptr) return;
  if (model.tunnel_any && model.action == Action::kAllow) {
    const Place* tunnel = place.field(Rule::kTunnelFieldNumber);
    reporter_.error("P020", tunnel->key, at(path, "tunnel"),
                    "`tunnel: any` lets bytes pass that nobody reads, and the rule asks for requests",
                    "remove tunnel, or methods and paths");
    return;
  }
  if (model.action == Action::kAllow && !model.addresses.empty() && model.domains.empty()) {
    const Place* key = paths != nullptr ? paths : methods;
    reporter_.error("P020", key->key, at(path, paths != nullptr ? "paths" : "methods"),
                    "requests are read of destinations with a name, and this rule allows addresses",
                    "name the destination in domains, or remove methods and paths");
    return;
  }
  where_requests_are_hidden(place, model, path);
}

// Requests are seen in clear HTTP alone. A rule that asks for them where there is none does nothing, or more than it
// says.
void Converter::where_requests_are_hidden(const Place& place, const RuleModel& model, const std::string& path) {
  const bool by_path = place.field(Rule::kPathsFieldNumber) != nullptr;
  const Place* key = place.field(by_path ? Rule::kPathsFieldNumber : Rule::kMethodsFieldNumber);
  const std::string word = by_path ? "paths" : "methods";
  std::vector<PortRange> hidden;
  for (const PortRange& range : model.ports) {
    if (!is_clear(range)) hidden.push_back(range);
  }
  std::string ports;
  for (std::size_t i = 0; i < hidden.size(); ++i) ports += (i > 0 ? ", " : "") + port_text(hidden[i]);
  if (hidden.size() == 1 && ports.ends_with("/tcp")) ports.resize(ports.size() - 4);
  const bool all_hidden = !hidden.empty() && hidden.size() == model.ports.size();
  if (model.action == Action::kAllow && all_hidden) {
    reporter_
        .error("P021", key->key, at(path, word), "this rule can never take effect",
               word + " need clear or inspected HTTP; port " + ports + " of " + in_ticks(model.name) + " is spliced")
        .note = "name a port of clear HTTP, such as 80, or remove " + word;
  } else if (model.action == Action::kAllow && !hidden.empty()) {
    reporter_.warning("P049", key->key, at(path, word),
                      in_ticks(model.name) + " allows nothing on " + ports + ", where nobody sees its " + word,
                      "write ports: [80], or remove " + word);
  } else if (model.action == Action::kDeny && (model.ports.empty() || !hidden.empty())) {
    reporter_.warning(
        "P049", key->key, at(path, word),
        in_ticks(model.name) + " denies every connection that is no clear HTTP, since nobody sees its " + word,
        "write ports: [80] to deny these requests alone");
  }
}

std::string_view Converter::nearest_client(const std::string& name) const {
  std::vector<std::string_view> names;
  for (const Named& client : whole_.clients) names.push_back(client.name);
  return nearest(name, std::span<const std::string_view>(names));
}

void Converter::tests(const Policy& policy, const Place& place) {
  const Place* written = place.field(Policy::kTestsFieldNumber);
  for (int i = 0; i < policy.tests_size(); ++i) test(policy.tests(i), written->elements[static_cast<std::size_t>(i)]);
}

void Converter::test(const policy::v1::Test& test, const Place& place) {
  using policy::v1::Test;
  const std::string path = "tests[" + std::to_string(place.index) + "]";
  const Place* allow = place.field(Test::kAllowFieldNumber);
  const Place* deny = place.field(Test::kDenyFieldNumber);
  if ((allow == nullptr) == (deny == nullptr)) {
    if (place.partial) return;
    reporter_.error("P050", allow != nullptr ? deny->key : place.value, path,
                    allow != nullptr ? "a test of both `allow` and `deny`" : "a test without `allow` or `deny`",
                    allow != nullptr ? "make two of it"
                                     : "write what must pass or not, such as { allow: \"https://api.example.com\" }");
    return;
  }
  TestModel model;
  model.allow = allow != nullptr;
  const Place& target = allow != nullptr ? *allow : *deny;
  model.target = allow != nullptr ? test.allow() : test.deny();
  model.where = position(target.value);
  std::string usage;
  (void)read_destination(model.target, std::nullopt, usage);
  if (!usage.empty()) {
    reporter_.error("P050", target.value, at(path, allow != nullptr ? "allow" : "deny"),
                    in_ticks(model.target) + " is no destination", usage);
  }
  model.client = test.client();
  model.cell = test.cell();
  const Place* client = place.field(Test::kClientFieldNumber);
  const Place* cell = place.field(Test::kCellFieldNumber);
  if (client != nullptr && cell != nullptr) {
    reporter_.error("P020", cell->key, at(path, "cell"), "a test of both a client and a cell", "keep one of the two");
  } else if (client != nullptr) {
    const bool known = std::any_of(whole_.clients.begin(), whole_.clients.end(),
                                   [&](const Named& c) { return c.name == model.client; });
    const std::string_view near = nearest_client(model.client);
    if (!known) {
      reporter_.error("P016", client->value, at(path, "client"), "unknown client " + in_ticks(model.client),
                      near.empty() ? "define it under `clients`" : "did you mean " + in_ticks(near) + "?");
    }
  } else if (cell != nullptr && !is_plain_name(model.cell)) {
    reporter_.error("P025", cell->value, at(path, "cell"), in_ticks(model.cell) + " is no name of a cell",
                    "use letters, digits, `-`, `_` and `.`");
  }
  if (const Place* method = place.field(Test::kMethodFieldNumber)) {
    const Parsed<std::string> parsed = read_method(test.method());
    if (const auto* problem = std::get_if<Problem>(&parsed)) report(*problem, method->value, at(path, "method"));
    model.method = test.method();
  }
  if (const Place* resolved = place.field(Test::kResolvedFieldNumber)) {
    const Result<Address> address = Address::parse(test.resolved());
    if (address.ok()) {
      model.resolved = *address;
    } else {
      reporter_.error("P010", resolved->value, at(path, "resolved"), in_ticks(test.resolved()) + " is no address",
                      address.error().message);
    }
  }
  model_.tests.push_back(std::move(model));
}

// Those of this file.
void Converter::unused_clients() {
  for (const Named& client : whole_.clients) {
    if (client.reporter != &reporter_ || whole_.client_used.contains(client.name)) continue;
    reporter_.warning("P040", client.at, "clients." + client.name, "no rule names the client " + in_ticks(client.name),
                      "it gets what rules without `clients` give to all");
  }
}

}  // namespace

std::vector<PortRange> default_ports() { return {{80, 80, kProtoTcp}, {443, 443, kProtoTcp}}; }

PolicyModel convert(std::span<const PolicyPart> parts, const LoadOptions& options, std::vector<std::string>& files) {
  Whole whole(options.opens_files, files);
  whole.model.source = parts.back().reporter->source().file();
  whole.model.own_addresses = options.own_addresses;
  std::vector<Converter> converters;
  for (const PolicyPart& part : parts) {
    const bool included = &part != &parts.back();
    if (included) whole.model.included.emplace_back(part.reporter->source().file());
    const auto file = static_cast<std::uint32_t>(included ? whole.model.included.size() : 0);
    converters.emplace_back(options, *part.reporter, whole, file);
  }
  const auto each = [&](auto step) {
    for (std::size_t i = 0; i < parts.size(); ++i) (converters[i].*step)(*parts[i].policy, *parts[i].place);
  };
  each(&Converter::definitions);
  each(&Converter::rules);
  each(&Converter::tests);
  // What could take effect is only known of a policy that is whole.
  if (std::none_of(parts.begin(), parts.end(), [](const PolicyPart& part) { return part.reporter->failed(); })) {
    report_rules_without_effect(whole.model, whole.rule_places);
    for (Converter& converter : converters) converter.unused_clients();
    whole.lists.report_unused();
  }
  return std::move(whole.model);
}

}  // namespace sallyport
