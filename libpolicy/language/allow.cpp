// --allow NAME[:PORT,PORT...]: the smallest policy there is, read by the same readers as a file's values.
#include <algorithm>
#include <iterator>
#include <utility>

#include "language/convert.hpp"
#include "language/load.hpp"
#include "language/suggest.hpp"
#include "language/values.hpp"
#include "names/guard.hpp"

namespace sallyport {
namespace {

struct Parts {
  std::string_view name;
  std::string_view ports;
  bool has_ports = false;
};

// The colon before the ports: behind "]", or the only one. An address of IPv6 without brackets has no ports.
Parts split(std::string_view argument) {
  std::size_t from = 0;
  if (argument.starts_with('[')) {
    from = argument.find(']');
    if (from == std::string_view::npos) return {argument, {}, false};
  }
  const std::size_t colon = argument.find(':', from);
  const bool one = colon != std::string_view::npos && argument.find(':', colon + 1) == std::string_view::npos;
  if (!one) return {argument, {}, false};
  return {argument.substr(0, colon), argument.substr(colon + 1), true};
}

// The comma before what is no port but another name or address; npos if there is none.
std::size_t second_name(std::string_view argument) {
  for (std::size_t comma = argument.find(','); comma != std::string_view::npos; comma = argument.find(',', comma + 1)) {
    const std::string_view piece = argument.substr(comma + 1, argument.find(',', comma + 1) - comma - 1);
    if (piece.find_first_of(".:*") != std::string_view::npos) return comma;
  }
  return std::string_view::npos;
}

class ArgumentReader {
 public:
  ArgumentReader(std::string_view argument, Diagnostics& diagnostics)
      : argument_(argument), diagnostics_(diagnostics) {}

  std::optional<RuleModel> rule() {
    if (argument_.empty()) {
      refuse({"P008", "an empty name", "write --allow NAME[:PORT,PORT...]", {}, 0, 0}, argument_);
      return std::nullopt;
    }
    const Target target = split_target(argument_);
    if (!target.scheme.empty()) {
      std::string repair = "write --allow " + std::string(target.host);
      const std::string_view port = !target.port.empty() ? target.port : target.scheme == "http" ? "80" : "443";
      refuse(
          {"P007", "expected a domain, found a URL", repair + ":" + std::string(port), {}, 0, target.scheme.size() + 3},
          argument_);
      return std::nullopt;
    }
    if (const std::size_t comma = second_name(argument_); comma != std::string_view::npos) {
      const std::string rest(argument_.substr(comma + 1));
      refuse({"P008",
              "two names in one --allow",
              "give it twice: --allow " + std::string(argument_.substr(0, comma)) + " --allow " + rest,
              {},
              comma,
              1},
             argument_);
      return std::nullopt;
    }
    const Parts parts = split(argument_);
    RuleModel rule;
    rule.name = "--allow " + std::string(argument_);
    rule.action = Action::kAllow;
    destination(parts.name, rule);
    ports(parts, rule);
    if (failed_) return std::nullopt;
    return rule;
  }

 private:
  void destination(std::string_view name, RuleModel& rule) {
    std::string_view bare = name;
    if (bare.starts_with('[') && bare.ends_with(']')) bare = bare.substr(1, bare.size() - 2);
    const std::string_view host = bare.substr(0, bare.find('/'));
    const bool numeric = !host.empty() && host.find_first_not_of("0123456789.") == std::string_view::npos &&
                         host.find_first_of("0123456789") != std::string_view::npos && !host.starts_with('.');
    if (numeric || host.find(':') != std::string_view::npos || bare.size() != name.size()) {
      Parsed<Prefix> prefix = read_prefix(bare);
      if (const auto* problem = std::get_if<Problem>(&prefix)) return refuse(*problem, bare);
      const Prefix& block = std::get<Prefix>(prefix);
      const bool is_host = block.bits() == (block.network().is_v4() ? 32u : 128u);
      if (is_host && classify(block.network()) == AddressClass::kMetadata) {
        return refuse({"P021",
                       in_ticks(bare) + " is a cloud metadata service, which hands out credentials",
                       "to mean it, write a policy file with allow_metadata: true",
                       {},
                       0,
                       0},
                      bare);
      }
      if (const std::optional<Problem> wide = wide_block(block)) add(*wide, bare, Severity::kWarning);
      rule.addresses.push_back(block);
      return;
    }
    Parsed<Pattern> pattern = read_domain(name, {});
    if (auto* problem = std::get_if<Problem>(&pattern)) {
      // The keys that lift these are a file's.
      if (problem->code == "P014" || problem->code == "P015")
        problem->note = "to mean it, write a policy file and use -p";
      return refuse(*problem, name);
    }
    const Pattern& parsed = std::get<Pattern>(pattern);
    if (parsed.name.labels() == 1) {
      return refuse({"P018",
                     "the single label " + in_ticks(name) + " is never asked for outside",
                     "write the full name, or a policy file with resolves_to",
                     {},
                     0,
                     0},
                    name);
    }
    rule.domains.push_back(parsed);
  }

  void ports(const Parts& parts, RuleModel& rule) {
    if (!parts.has_ports) {
      rule.ports = default_ports();
      return;
    }
    if (parts.ports.empty()) {
      const std::string name(parts.name);
      // Its own colon is what stands there with nothing behind it.
      return refuse({"P011",
                     "no port after `:`",
                     "write " + name + ":443, or " + name + " for 80 and 443",
                     {},
                     argument_.size() - 1,
                     1},
                    argument_);
    }
    std::string_view rest = parts.ports;
    while (true) {
      const std::size_t comma = rest.find(',');
      const std::string_view text = rest.substr(0, comma);
      Parsed<PortRange> port = read_port(text);
      if (auto* problem = std::get_if<Problem>(&port)) {
        if (problem->repair.find("udp") != std::string::npos) problem->repair = "write 443, 22/tcp or 8000-8010";
        refuse(*problem, text);
      } else if (std::get<PortRange>(port).proto == kProtoUdp) {
        refuse({"P022", "UDP cannot leave a cell: " + in_ticks(text), "cells carry TCP and their own DNS", {}, 0, 0},
               text);
      } else {
        rule.ports.push_back(std::get<PortRange>(port));
      }
      if (comma == std::string_view::npos) return;
      rest.remove_prefix(comma + 1);
    }
  }

  void refuse(const Problem& problem, std::string_view part) {
    failed_ = true;
    add(problem, part, Severity::kError);
  }

  // part is a view into argument_.
  void add(const Problem& problem, std::string_view part, Severity severity) {
    const auto start = static_cast<std::size_t>(part.data() - argument_.data());
    const std::size_t length = problem.length > 0 ? problem.length : std::max<std::size_t>(part.size(), 1);
    Diagnostic diagnostic;
    diagnostic.code = problem.code;
    diagnostic.severity = severity;
    diagnostic.where.file = "--allow";
    diagnostic.where.text = std::string(argument_);
    diagnostic.where.column = static_cast<std::uint32_t>(start + (problem.length > 0 ? problem.offset : 0) + 1);
    diagnostic.where.length = static_cast<std::uint32_t>(length);
    diagnostic.path = "--allow";
    diagnostic.message = problem.message;
    diagnostic.repair = problem.repair;
    diagnostic.note = problem.note;
    diagnostics_.push_back(std::move(diagnostic));
  }

  std::string_view argument_;
  Diagnostics& diagnostics_;
  bool failed_ = false;
};

}  // namespace

LoadOutcome model_from_allow(std::span<const std::string> arguments, const PolicyModel* base,
                             const LoadOptions& options) {
  LoadOutcome outcome;
  PolicyModel model;
  if (base != nullptr) model = *base;
  if (base == nullptr) model.source = "command line";
  if (base == nullptr) model.own_addresses = options.own_addresses;
  std::vector<RuleModel> rules;
  for (const std::string& argument : arguments) {
    if (std::optional<RuleModel> rule = ArgumentReader(argument, outcome.diagnostics).rule())
      rules.push_back(*std::move(rule));
  }
  model.rules.insert(model.rules.begin(), std::make_move_iterator(rules.begin()), std::make_move_iterator(rules.end()));
  if (!has_errors(outcome.diagnostics)) outcome.model = std::move(model);
  return outcome;
}

}  // namespace sallyport
