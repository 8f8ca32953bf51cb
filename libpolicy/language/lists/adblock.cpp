// The host subset of Adblock Plus and AdGuard filters: "||name^" is the name and all below it.
//
// Everything else of that language judges URLs, elements of pages, or who asked for them, which a gateway does not see.
// Exceptions ("@@||name^") would take names out of this list alone, where a rule above the list's says the same in the
// open: they are refused rather than given a second meaning.
#include <algorithm>

#include "language/lists/line_reader.hpp"

namespace sallyport {
namespace {

using namespace line_parts;

// Modifiers that leave "every request of this name" as it is: `important` orders it before exceptions, of which there
// are none here; `all` is every type of request.
bool keeps_every_request(std::string_view modifiers) {
  while (!modifiers.empty()) {
    const std::size_t comma = std::min(modifiers.find(','), modifiers.size());
    const std::string_view one = modifiers.substr(0, comma);
    if (one != "important" && one != "all") return false;
    modifiers.remove_prefix(std::min(comma + 1, modifiers.size()));
  }
  return true;
}

bool is_comment(std::string_view text) {
  return text.starts_with('!') || (text.starts_with('[') && text.ends_with(']')) || text == "#" ||
         text.starts_with("# ");
}

class AdblockReader : public LineReader {
 public:
  std::optional<LineFault> read(std::string_view line, std::vector<ListEntry>& out) override {
    const Word rule = whole(line);
    if (rule.text.empty() || is_comment(rule.text)) return std::nullopt;
    if (rule.text.starts_with("@@")) {
      return foreign(rule, "an exception: a list only names; write an allow rule above the list's");
    }
    if (rule.text.find("##") != std::string_view::npos || rule.text.find("#@#") != std::string_view::npos ||
        rule.text.find("#?#") != std::string_view::npos || rule.text.find("#$#") != std::string_view::npos ||
        rule.text.find("#%#") != std::string_view::npos) {
      return foreign(rule, "elements of a page have no meaning for a gateway");
    }
    if (!rule.text.starts_with("||")) return without_anchor(rule);
    const Word pattern = rule.from(2);
    // A name ends at what separates: ABP's `^`, or a part of a URL.
    const std::size_t end = pattern.text.find_first_of("^/:$|?=&,~ ");
    const Word after = pattern.from(std::min(end, pattern.text.size()));
    if (after.text.empty() || after.text.starts_with('$')) {
      return mistake(rule, "no `^` behind the name: it would match all that begin so");
    }
    if (after.text.starts_with(':')) return foreign(after, "a port belongs in the rule, not in a list of names");
    if (!after.text.starts_with('^')) return foreign(after, "a path, which a list of names cannot hold");
    Word rest = after.from(1);
    if (rest.text.starts_with('|')) rest = rest.from(1);
    if (rest.text.starts_with('$')) {
      if (!keeps_every_request(rest.text.substr(1))) return foreign(rest, "modifier has no meaning for a gateway");
    } else if (!rest.text.empty()) {
      return foreign(rest, "a part of a URL, which a list of names cannot hold");
    }
    const Word name{pattern.offset, pattern.text.substr(0, end)};
    if (name.text.starts_with("*.")) return add_pattern(name, EntrySense::kUnsaid, out);
    if (const std::size_t star = name.text.find('*'); star != std::string_view::npos) {
      return foreign({name.offset + star, name.text.substr(star, 1)}, "`*` stands for whole labels, and only in front");
    }
    return add_name(name, PatternKind::kExactAndBelow, EntrySense::kUnsaid, out);
  }

 private:
  static LineFault without_anchor(Word rule) {
    if (rule.text.starts_with('/') && rule.text.ends_with('/') && rule.text.size() > 1) {
      return foreign(rule, "a regular expression, which a list of names cannot hold");
    }
    if (rule.text.starts_with('|')) return foreign(rule, "a URL, where ||name^ is expected");
    return foreign(rule, "a part of a URL; a name is written ||name^");
  }
};

}  // namespace

std::unique_ptr<LineReader> adblock_reader() { return std::make_unique<AdblockReader>(); }

}  // namespace sallyport
