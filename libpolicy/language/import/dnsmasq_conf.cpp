// dnsmasq.conf: server=/name/ lets a name pass, address=/name/0.0.0.0 and local=/name/ stop it, address=/name/ADDRESS
// leads it there; address=/#/ stops what nothing else names. The most specific name decides there, the first rule here:
// so rules go by the number of labels where names of both kinds lie below each other.
#include <algorithm>
#include <map>
#include <utility>

#include "language/import/findings.hpp"
#include "names/address.hpp"
#include "names/guard.hpp"

namespace sallyport {
namespace {

struct Fate {
  std::string_view option, why;
};

// What becomes of options that name nobody. Empty: the policy says the same without a word.
constexpr Fate kFates[] = {
    {"log-queries", "audit does this"},
    {"log-facility", "audit does this"},
    {"log-async", "audit does this"},
    {"no-resolv", ""},
    {"no-poll", ""},
    {"no-hosts", ""},
    {"domain-needed", ""},    // a single label is asked of nobody
    {"bogus-priv", ""},       // private addresses are guarded
    {"stop-dns-rebind", ""},  // as answers too
    {"bind-interfaces", ""},
    {"keep-in-foreground", ""},
    {"listen-address", "listeners of gateway.yaml"},
    {"interface", "listeners of gateway.yaml"},
    {"except-interface", "listeners of gateway.yaml"},
    {"port", "listeners of gateway.yaml"},
    {"cache-size", "the dns plugin has its own cache"},
    {"min-cache-ttl", "the dns plugin keeps to the answers' own"},
    {"max-cache-ttl", "the dns plugin keeps to the answers' own"},
    {"neg-ttl", "the dns plugin keeps to the answers' own"},
    {"resolv-file", "upstreams of the dns plugin, in gateway.yaml"},
    {"strict-order", "upstreams of the dns plugin, in gateway.yaml"},
    {"all-servers", "upstreams of the dns plugin, in gateway.yaml"},
    {"rebind-domain-ok", "write a rule with resolves_to: private addresses are guarded"},
    {"rebind-localhost-ok", "loopback is guarded"},
    {"conf-file", "import that file too: --dnsmasq FILE"},
    {"conf-dir", "import its files too: --dnsmasq FILE"},
    {"addn-hosts", "import that file too: --hosts FILE"},
    {"cname", "the name that is asked decides; where it leads is the zone's own"},
    {"user", "workers have no privileges"},
    {"group", "workers have no privileges"},
    {"ipset", "the nftables plugin keeps sets of its own"},
    {"nftset", "the nftables plugin keeps sets of its own"},
};

std::string_view trimmed(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t");
  return first == std::string_view::npos ? std::string_view{}
                                         : text.substr(first, text.find_last_not_of(" \t") + 1 - first);
}

class Reading {
 public:
  explicit Reading(Findings& findings) : findings_(findings), reader_(dnsmasq_reader()) {}

  void line(const SourceLine& line) {
    const std::string_view text = line.text;
    const std::size_t equals = text.find('=');
    const std::string_view option = trimmed(text.substr(0, equals));
    const std::string_view value = equals == std::string_view::npos ? "" : trimmed(text.substr(equals + 1));
    if (option == "address" && value.starts_with("/#/")) {
      denies_all_ = true;
      return;
    }
    if (option == "host-record") return host_record(line, value);
    if (option != "server" && option != "local" && option != "address") return other(line, option);
    if (!value.starts_with('/')) {
      if (upstream_.empty()) upstream_ = findings_.file + ":" + std::to_string(line.number) + " `" + line.text + "`";
      findings_.leave_out(line.number, line.text, "upstreams of the dns plugin, in gateway.yaml");
      return;
    }
    std::vector<DraftName> names;
    std::vector<EntrySense> senses;
    add_names(findings_, *reader_, line, names, &senses);
    if (names.empty()) return;
    const std::string target(value.substr(value.rfind('/') + 1));
    if (option == "address" && !target.empty() && target != "#" && !is_sinkhole(target)) {
      return fixed(line, std::move(names), target);
    }
    const Result<Address> server = Address::parse(target.substr(0, target.find_first_of("#@")));
    if (option != "address" && server.ok() && is_guarded(classify(*server)) &&
        classify(*server) != AddressClass::kLoopback) {
      findings_.leave_out(line.number, line.text,
                          "the name is; its own resolver is not: the dns plugin asks its upstreams");
    }
    for (std::size_t i = 0; i < names.size(); ++i) {
      (senses[i] == EntrySense::kPasses ? passes_ : blocked_).push_back(std::move(names[i]));
    }
  }

  void finish() {
    keep_what_may_pass(findings_, passes_);
    for (const DraftName& name : passes_) findings_.remember(name);
    if (nested()) {
      by_specificity();
    } else {
      if (!blocked_.empty()) findings_.rules.push_back(rule("dns-blocked", false, std::move(blocked_)));
      findings_.passes = std::move(passes_);
    }
    findings_.default_allow = !denies_all_ && !upstream_.empty();
    findings_.default_text = upstream_;
  }

 private:
  void other(const SourceLine& line, std::string_view option) {
    for (const Fate& fate : kFates) {
      if (fate.option != option) continue;
      if (!fate.why.empty()) findings_.leave_out(line.number, line.text, std::string(fate.why));
      return;
    }
    const bool lease = option.starts_with("dhcp") || option.starts_with("tftp") || option.starts_with("enable-");
    findings_.leave_out(line.number, line.text, lease ? "Sallyport gives out no addresses" : "no counterpart here");
  }

  // host-record=name,name,address
  void host_record(const SourceLine& line, std::string_view value) {
    std::vector<DraftName> names;
    std::string target;
    while (!value.empty()) {
      const std::size_t comma = std::min(value.find(','), value.size());
      const std::string_view part = trimmed(value.substr(0, comma));
      value.remove_prefix(std::min(comma + 1, value.size()));
      if (Address::parse(part).ok()) {
        if (target.empty()) target = part;
        continue;
      }
      const Result<DomainName> name = parse_user_name(part);
      if (name.ok()) names.push_back({{*name, PatternKind::kExact}, {}, {}, findings_.file, line.number});
    }
    if (names.empty() || target.empty()) return findings_.leave_out(line.number, line.text, "no name with an address");
    names[0].above = line.above;
    names.back().beside = line.beside;
    fixed(line, std::move(names), target);
  }

  void fixed(const SourceLine& line, std::vector<DraftName> names, const std::string& target) {
    const Result<Address> address = Address::parse(target);
    if (!address.ok() || classify(*address) == AddressClass::kMetadata) {
      return findings_.leave_out(line.number, line.text,
                                 address.ok() ? "cloud metadata: write it with allow_metadata: true, if you mean it"
                                              : "`" + target + "` is no address");
    }
    for (DraftName& name : names) {
      // A compose service: there is nothing below it.
      if (name.pattern.name.labels() == 1) name.pattern.kind = PatternKind::kExact;
    }
    DraftRule made = rule(draft_name(names[0].pattern.name.text(), "host"), true, std::move(names));
    made.resolves_to = {address->text()};
    made.text = line.text;
    made.line = line.number;
    findings_.rules.push_back(std::move(made));
  }

  DraftRule rule(std::string name, bool allow, std::vector<DraftName> names) const {
    DraftRule made;
    made.name = std::move(name);
    made.allow = allow;
    made.domains = std::move(names);
    made.file = findings_.file;
    return made;
  }

  bool nested() const {
    const auto lies_below = [](const DraftName& name, const std::vector<DraftName>& others) {
      return std::any_of(others.begin(), others.end(), [&](const DraftName& other) {
        return name.pattern.name.is_within(other.pattern.name) && !(name.pattern.name == other.pattern.name);
      });
    };
    return std::any_of(passes_.begin(), passes_.end(), [&](const DraftName& n) { return lies_below(n, blocked_); });
  }

  // Most labels first. Of one name that is both, what stops it: dnsmasq would take the later line.
  void by_specificity() {
    std::map<unsigned, std::pair<std::vector<DraftName>, std::vector<DraftName>>, std::greater<>> levels;
    for (DraftName& name : blocked_) levels[name.pattern.name.labels()].first.push_back(std::move(name));
    for (DraftName& name : passes_) levels[name.pattern.name.labels()].second.push_back(std::move(name));
    for (auto& [labels, names] : levels) {
      if (!names.first.empty()) findings_.rules.push_back(rule("dns-blocked", false, std::move(names.first)));
      if (!names.second.empty()) findings_.rules.push_back(rule("dns-allowed", true, std::move(names.second)));
    }
  }

  Findings& findings_;
  std::unique_ptr<LineReader> reader_;
  std::vector<DraftName> passes_, blocked_;
  bool denies_all_ = false;
  std::string upstream_;  // the first server for every name
};

}  // namespace

Findings read_dnsmasq(const ImportSource& source) {
  Findings findings;
  findings.file = source.file;
  const std::optional<std::string> text = read_whole(source.file, findings.failure);
  if (!text) return findings;
  Reading reading(findings);
  for (const SourceLine& line : source_lines(*text, "#")) reading.line(line);
  reading.finish();
  return findings;
}

}  // namespace sallyport
