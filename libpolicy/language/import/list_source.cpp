// A list by itself: domains pass, hosts, adblock and RPZ block.
#include <algorithm>
#include <filesystem>
#include <utility>

#include "language/import/findings.hpp"
#include "language/list_content.hpp"
#include "language/suggest.hpp"
#include "names/address.hpp"

namespace sallyport {
namespace {

ListFormat format_of(ImportKind kind) {
  switch (kind) {
    case ImportKind::kSquid:
      return ListFormat::kSquid;
    case ImportKind::kDnsmasq:
      return ListFormat::kDnsmasq;
    case ImportKind::kHosts:
      return ListFormat::kHosts;
    case ImportKind::kAdblock:
      return ListFormat::kAdblock;
    case ImportKind::kDomains:
      return ListFormat::kDomains;
    case ImportKind::kRpz:
      return ListFormat::kRpz;
  }
  return ListFormat::kDomains;
}

// The file as a policy at target would name it.
std::string relative_to(const std::string& target, const std::string& file) {
  std::error_code unknown;
  const std::filesystem::path folder =
      target == "-" ? std::filesystem::path(".") : std::filesystem::path(target).parent_path();
  const std::filesystem::path from =
      std::filesystem::absolute(folder.empty() ? "." : folder, unknown).lexically_normal();
  const std::filesystem::path to = std::filesystem::absolute(file, unknown).lexically_normal();
  const std::filesystem::path relative = to.lexically_relative(from);
  const std::string text = relative.string();
  // A way up and down again says less than the place itself.
  return text.empty() || text.starts_with("../..") ? to.string() : text;
}

class Counter : public ListSink {
 public:
  Counter(Findings& findings, bool passes) : findings_(findings), passes_(passes) {}

  void name(const DomainName& name, PatternKind kind, EntrySense sense, const LinePart& where) override {
    ++names;
    opposite |= sense != EntrySense::kUnsaid && (sense == EntrySense::kPasses) != passes_;
    if (!passes_) return;
    findings_.set->add(name, kind);
    findings_.places.emplace_back(findings_.file, where.line);
  }
  void invalid(const InvalidLine& why, const LinePart& where) override {
    if (++faults <= kMostShown) findings_.leave_out(where.line, where.text.substr(0, 120), why.reason);
  }

  static constexpr std::uint64_t kMostShown = 10;
  std::uint64_t names = 0, faults = 0;
  bool opposite = false;

 private:
  Findings& findings_;
  const bool passes_;
};

// A line of a hosts file whose address leads somewhere: the name, at that address.
bool is_fixed(ListFormat format, const SourceLine& line, std::string& address) {
  if (format != ListFormat::kHosts) return false;
  address = line.text.substr(0, line.text.find_first_of(" \t"));
  return Address::parse(address).ok() && !is_sinkhole(address) && address != "255.255.255.255";
}

}  // namespace

Findings read_list_source(const ImportSource& source, const std::string& target) {
  Findings findings;
  findings.file = source.file;
  const std::optional<std::string> text = read_whole(source.file, findings.failure);
  if (!text) return findings;
  const ListFormat format = format_of(source.kind);
  const bool passes = source.kind == ImportKind::kDomains || source.kind == ImportKind::kSquid;

  Counter counter(findings, passes);
  ListParser parser(format, counter);
  parser.feed(*text);
  parser.finish();
  const std::string stem = std::filesystem::path(source.file).stem().string();
  if (counter.names > kMostInline && !counter.opposite) {
    const std::string name = draft_name(stem, "list");
    findings.lists.push_back({name, relative_to(target, source.file), std::string(to_string(format)), counter.faults});
    if (counter.faults > Counter::kMostShown) {
      findings.leave_out(0, "",
                         std::to_string(counter.faults - Counter::kMostShown) + " more lines are not understood");
    }
    if (passes) {
      findings.passing_lists.push_back(name);
    } else {
      findings.rules.push_back({name, false, {}, {}, {name}, {}, {}, {}, {}, source.file, "", 0});
    }
    return findings;
  }

  // Small enough to be read in the policy itself, or of both kinds.
  findings.left_out.clear();
  *findings.set = PatternSet();
  findings.places.clear();
  const std::unique_ptr<LineReader> reader = line_reader(format);
  std::vector<DraftName> blocked, exempt;
  const std::string_view marks = format == ListFormat::kAdblock ? "!" : format == ListFormat::kRpz ? ";" : "#";
  for (SourceLine& line : source_lines(*text, marks)) {
    if (format == ListFormat::kRpz && line.indented) line.text.insert(0, " ");
    std::vector<DraftName> names;
    std::vector<EntrySense> senses;
    add_names(findings, *reader, line, names, &senses);
    if (std::string address; !names.empty() && is_fixed(format, line, address)) {
      const std::string rule = draft_name(names[0].pattern.text(), "host");
      findings.rules.push_back(
          {rule, true, {}, std::move(names), {}, {}, {}, {address}, {}, source.file, line.text, line.number});
      continue;
    }
    for (std::size_t i = 0; i < names.size(); ++i) {
      std::vector<DraftName>& out = passes ? findings.passes : senses[i] == EntrySense::kPasses ? exempt : blocked;
      out.push_back(std::move(names[i]));
    }
  }
  keep_what_may_pass(findings, findings.passes);
  keep_what_may_pass(findings, exempt);
  for (const DraftName& name : findings.passes) findings.remember(name);
  if (!exempt.empty()) {
    findings.rules.push_back({draft_name(stem + "-passthru", "passthru"),
                              true,
                              {},
                              std::move(exempt),
                              {},
                              {},
                              {},
                              {},
                              {},
                              source.file,
                              "",
                              0});
  }
  if (!blocked.empty()) {
    findings.rules.push_back(
        {draft_name(stem, "blocked"), false, {}, std::move(blocked), {}, {}, {}, {}, {}, source.file, "", 0});
  }
  return findings;
}

}  // namespace sallyport
