// A response policy zone, as a zone file: its owner names, below the zone's own, are the names that it is about.
//
// "name CNAME ." (NXDOMAIN), "CNAME *." (NODATA), rpz-drop and addresses that lead nowhere block; rpz-passthru lets
// pass. Triggers other than names, and answers that lead elsewhere, are invalid lines. Records of the zone's own name,
// SOA and NS, are about the zone.
#include <algorithm>
#include <optional>
#include <string>

#include "language/lists/line_reader.hpp"

namespace sallyport {
namespace {

using namespace line_parts;

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

std::string lowered(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), lower);
  return out;
}

// "300", and "1h30m" in BIND's units.
bool is_ttl(std::string_view word) {
  return !word.empty() && word[0] >= '0' && word[0] <= '9' &&
         word.find_first_not_of("0123456789smhdwSMHDW") == std::string_view::npos;
}

bool is_class(std::string_view word) { return word == "IN" || word == "in" || word == "In" || word == "iN"; }

class RpzReader : public LineReader {
 public:
  std::optional<LineFault> read(std::string_view line, std::vector<ListEntry>& out) override {
    const std::string_view code = line.substr(0, line.find(';'));
    if (inside_) {  // of a record over several lines, whose first line said all there is to say
      if (code.find(')') != std::string_view::npos) inside_ = false;
      return std::nullopt;
    }
    Word rest = trimmed({0, code});
    if (rest.text.empty()) return std::nullopt;
    if (rest.text.starts_with('$')) return directive(rest);
    if (code.find('(') != std::string_view::npos && code.find(')') == std::string_view::npos) inside_ = true;

    Word owner{0, {}};  // a blank in front: that of the record before
    if (rest.offset == 0) {
      owner = next_word(rest);
      owner_ = lowered(owner.text);
    }
    if (owner_.empty()) return mistake(rest, "a record without an owner");
    Word type = next_word(rest);
    while (is_ttl(type.text) || is_class(type.text)) type = next_word(rest);
    if (type.text.empty()) return mistake(whole(code), "a record without a type");
    const std::string kind = lowered(type.text);
    if (kind == "soa" && !zone_) zone_ = absolute(owner_).value_or("");
    const Word data = next_word(rest);
    return record(owner, kind, type, data, out);
  }

 private:
  std::optional<LineFault> directive(Word rest) {
    const Word word = next_word(rest);
    const std::string name = lowered(word.text);
    const Word value = next_word(rest);
    if (name == "$ttl") return std::nullopt;
    if (name != "$origin") return foreign(word, "another file: name it as a list of its own");
    if (value.text.empty()) return mistake(word, "$ORIGIN without a name");
    origin_ = absolute(lowered(value.text)).value_or(lowered(value.text));
    if (!zone_) zone_ = origin_;
    return std::nullopt;
  }

  // Without the last dot; nothing if the name is relative and no origin is known.
  std::optional<std::string> absolute(std::string_view name) const {
    if (name.ends_with('.')) return std::string(name.substr(0, name.size() - 1));
    if (!origin_) return std::nullopt;
    if (name == "@") return origin_;
    return std::string(name) + (origin_->empty() ? "" : "." + *origin_);
  }

  std::optional<LineFault> record(Word owner, const std::string& kind, Word type, Word data,
                                  std::vector<ListEntry>& out) {
    const std::optional<std::string> full = absolute(owner_);
    std::string trigger = owner_;
    if (owner_ == "@" || (full && zone_ && *full == *zone_)) return std::nullopt;  // the zone's own records
    if (full && zone_ && !zone_->empty()) {
      if (!full->ends_with("." + *zone_)) return mistake(owner, "the owner is not in the zone `" + *zone_ + "`");
      trigger = full->substr(0, full->size() - zone_->size() - 1);
    } else if (owner_.ends_with('.') && !zone_) {
      return mistake(owner, "no $ORIGIN or SOA says which zone this absolute name is in");
    }
    const std::string last = trigger.substr(trigger.rfind('.') + 1);
    if (last.starts_with("rpz-")) return foreign(owner, "a trigger that is no name: `" + last + "`");

    EntrySense sense = EntrySense::kBlocks;
    const std::string target = lowered(data.text);
    if (kind == "cname") {
      const bool itself = target.ends_with('.') && std::string_view(target).substr(0, target.size() - 1) == trigger;
      if (target == "rpz-passthru." || itself) {  // to itself is how passthru was once written
        sense = EntrySense::kPasses;
      } else if (target != "." && target != "*." && target != "rpz-drop.") {
        return foreign(data, target == "rpz-tcp-only." ? "DNS over TCP alone has no counterpart here"
                                                       : "an answer that leads to another name");
      }
    } else if (kind == "a" || kind == "aaaa") {
      if (!is_sinkhole(data.text)) return foreign(data, "an answer of one's own; write a rule with resolves_to");
    } else {
      return foreign(type, "records of this type neither block nor pass a name");
    }
    if (trigger == "*") return mistake(owner, "it covers every name there is; `default` says that");
    const PatternKind pattern = trigger.starts_with("*.") ? PatternKind::kBelow : PatternKind::kExact;
    const std::string_view name = std::string_view(trigger).substr(pattern == PatternKind::kBelow ? 2 : 0);
    if (std::optional<LineFault> fault = add_name({owner.offset, name}, pattern, sense, out)) {
      fault->offset = owner.offset;
      fault->length = owner.text.size();
      return fault;
    }
    out.back().offset = owner.offset;
    out.back().length = owner.text.size();
    return std::nullopt;
  }

  std::optional<std::string> zone_, origin_;  // without the last dot
  std::string owner_;                         // of the last record, as written, in lower case
  bool inside_ = false;                       // between ( and )
};

}  // namespace

std::unique_ptr<LineReader> rpz_reader() { return std::make_unique<RpzReader>(); }

}  // namespace sallyport
