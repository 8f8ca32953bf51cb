#include "language/import/findings.hpp"

namespace sallyport {

void Findings::remember(const DraftName& name) {
  set->add(name.pattern);
  places.emplace_back(name.file, name.line);
}

std::string why_not_allowed(const Pattern& pattern) {
  switch (breadth(pattern)) {
    case Breadth::kOrganisation:
      break;
    case Breadth::kMultiTenant:
      return "shared by many tenants: name yours, or write it with multi_tenant: true";
    case Breadth::kPublicSuffix:
    case Breadth::kTooBroad:
      return "anyone can register a name there: name the organisation, or write it with allow_public_suffix: true";
  }
  if (pattern.name.labels() == 1) return "a single label is asked of nobody: write it with resolves_to";
  return "";
}

void add_names(Findings& findings, LineReader& reader, const SourceLine& line, std::vector<DraftName>& out,
               std::vector<EntrySense>* senses) {
  std::vector<ListEntry> entries;
  if (line.text.find('\0') != std::string::npos) {
    findings.leave_out(line.number, "", "a NUL octet");
    return;
  }
  if (const std::optional<LineFault> fault = reader.read(line.text, entries)) {
    findings.leave_out(line.number, line.text, fault->reason);
    return;
  }
  for (std::size_t i = 0; i < entries.size(); ++i) {
    DraftName name{{entries[i].name, entries[i].kind}, {}, {}, findings.file, line.number};
    if (i == 0) name.above = line.above;
    if (i + 1 == entries.size()) name.beside = line.beside;
    out.push_back(std::move(name));
    if (senses != nullptr) senses->push_back(entries[i].sense);
  }
}

void keep_what_may_pass(Findings& findings, std::vector<DraftName>& names) {
  std::vector<DraftName> kept;
  for (DraftName& name : names) {
    const std::string why = why_not_allowed(name.pattern);
    if (why.empty()) {
      kept.push_back(std::move(name));
    } else {
      findings.left_out.push_back({name.file, name.line, name.pattern.text(), why});
    }
  }
  names = std::move(kept);
}

}  // namespace sallyport
