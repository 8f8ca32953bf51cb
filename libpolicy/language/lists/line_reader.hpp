// LineReader: one format, one line at a time; and what the formats share.
//
// Internal to language/lists, but for import, which reads single values the way lists do.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "language/lists/list_parser.hpp"

namespace sallyport {

struct ListEntry {
  DomainName name;
  PatternKind kind = PatternKind::kExact;
  EntrySense sense = EntrySense::kUnsaid;
  std::size_t offset = 0, length = 0;  // in the line
};

// Why a line is invalid: the part that is wrong, by offset and length in the line.
struct LineFault {
  std::size_t offset = 0, length = 0;
  std::string reason;
  bool is_mistake = true;
};

class LineReader {
 public:
  virtual ~LineReader() = default;
  // Adds what the line names. With a fault what was added is not looked at. The line has no NUL, and no line end.
  virtual std::optional<LineFault> read(std::string_view line, std::vector<ListEntry>& out) = 0;
};

std::unique_ptr<LineReader> domains_reader();
std::unique_ptr<LineReader> hosts_reader();
std::unique_ptr<LineReader> adblock_reader();
std::unique_ptr<LineReader> dnsmasq_reader();
std::unique_ptr<LineReader> squid_reader();
std::unique_ptr<LineReader> rpz_reader();
std::unique_ptr<LineReader> line_reader(ListFormat format);

// Names of every machine's own hosts file (localhost, broadcasthost, ip6-allnodes ...): they lead to nobody outside.
bool is_own_host_name(std::string_view name) noexcept;

// Blocks, as block lists write it: unspecified or loopback.
bool is_sinkhole(std::string_view address) noexcept;

namespace line_parts {

inline constexpr std::string_view kBlanks = " \t\r\v\f";

// A part of a line: where it begins in it, and its text.
struct Word {
  std::size_t offset = 0;
  std::string_view text;
  std::size_t end() const noexcept { return offset + text.size(); }
  Word from(std::size_t skip) const noexcept { return {offset + skip, text.substr(skip)}; }
};

Word trimmed(Word word) noexcept;
Word whole(std::string_view line) noexcept;  // without blanks around it
// Without a comment: `#` in front, or behind a blank.
Word without_comment(std::string_view line) noexcept;
// The next word between blanks; takes it off rest. Empty: none left.
Word next_word(Word& rest) noexcept;

// The name, U-labels allowed, as an entry of that kind.
std::optional<LineFault> add_name(Word word, PatternKind kind, EntrySense sense, std::vector<ListEntry>& out);
// A pattern as in `domains`: "a.b", "*.a.b", ".a.b".
std::optional<LineFault> add_pattern(Word word, EntrySense sense, std::vector<ListEntry>& out);

LineFault mistake(Word word, std::string reason);
LineFault foreign(Word word, std::string reason);  // not wrong, but without a counterpart here

}  // namespace line_parts
}  // namespace sallyport
