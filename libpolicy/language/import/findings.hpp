// Findings: what one configuration says, before it is put together with the others.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "language/import/draft.hpp"
#include "language/import/import.hpp"
#include "language/import/source_text.hpp"
#include "language/lists/line_reader.hpp"
#include "names/pattern_set.hpp"

namespace sallyport {

inline constexpr std::size_t kMostInline = 1000;  // names that are written out; more stay in their file

struct Findings {
  std::string file;
  std::vector<DraftName> passes;  // one rule's worth; every client's
  std::vector<DraftRule> rules;   // further ones, in their order
  std::vector<DraftList> lists;
  std::vector<DraftClient> clients;
  std::vector<std::string> passing_lists;  // of `lists`, what passes
  std::optional<bool> default_allow;       // if it says
  std::string default_text;                // "dnsmasq.conf:3 `server=9.9.9.9`"
  std::vector<LeftOut> left_out;
  std::string failure;

  // All names that pass, large lists included, with their lines.
  std::shared_ptr<PatternSet> set = std::make_shared<PatternSet>();
  std::vector<std::pair<std::string, std::uint32_t>> places;  // file and line, one a name of the set

  void leave_out(std::uint32_t line, std::string_view text, std::string why) {
    left_out.push_back({file, line, std::string(text), std::move(why)});
  }
  void remember(const DraftName& name);
};

// Why an allow rule may not name this, in words for the report; empty if it may.
std::string why_not_allowed(const Pattern& pattern);

// Reads the values of one line by a list's format, comments and all. Adds to left_out what is not understood.
void add_names(Findings& findings, LineReader& reader, const SourceLine& line, std::vector<DraftName>& out,
               std::vector<EntrySense>* senses = nullptr);

// Drops what an allow rule may not name, and reports it.
void keep_what_may_pass(Findings& findings, std::vector<DraftName>& names);

Findings read_list_source(const ImportSource& source, const std::string& target);
Findings read_squid(const ImportSource& source, const std::string& target);
Findings read_dnsmasq(const ImportSource& source);

}  // namespace sallyport
