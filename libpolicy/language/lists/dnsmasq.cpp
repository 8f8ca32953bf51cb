// dnsmasq: server=/name/…, local=/name/, address=/name/…, with several names in one; each is the name and all below it.
//
// A server that is asked lets the name pass; no server (NXDOMAIN), or an answer of one's own, stops it.
#include <algorithm>

#include "language/lists/line_reader.hpp"

namespace sallyport {
namespace {

using namespace line_parts;

class DnsmasqReader : public LineReader {
 public:
  std::optional<LineFault> read(std::string_view line, std::vector<ListEntry>& out) override {
    const Word option = without_comment(line);
    if (option.text.empty()) return std::nullopt;
    const std::size_t equals = option.text.find('=');
    const Word key = trimmed({option.offset, option.text.substr(0, equals)});
    const bool address = key.text == "address";
    if (!address && key.text != "server" && key.text != "local") {
      return foreign(key, "the option names nobody: server=, local= and address= do");
    }
    if (equals == std::string_view::npos) return mistake(key, "the option has no value");
    const Word value = trimmed(option.from(equals + 1));
    if (!value.text.starts_with('/')) return foreign(value, "no /name/: it is for every name");
    const std::size_t last = value.text.rfind('/');
    if (last == 0) return mistake(value, "no `/` behind the name");
    const std::string_view target = value.text.substr(last + 1);
    const bool blocks = address || target.empty();
    for (std::size_t at = 1; at <= last;) {
      const std::size_t end = value.text.find('/', at);
      const Word name{value.offset + at, value.text.substr(at, end - at)};
      if (std::optional<LineFault> fault = add(name, blocks ? EntrySense::kBlocks : EntrySense::kPasses, out))
        return fault;
      at = end + 1;
    }
    return std::nullopt;
  }

 private:
  static std::optional<LineFault> add(Word name, EntrySense sense, std::vector<ListEntry>& out) {
    if (name.text.empty()) return foreign(name, "// is for names without a dot");
    if (name.text == "#") return foreign(name, "it covers every name there is; `default` says that");
    if (name.text.starts_with("*.")) return add_pattern(name, sense, out);  // below, not the name itself
    if (name.text.starts_with('*')) {
      return foreign(name, "`*` stands for whole labels here: `*x` would also match notx");
    }
    // "/.x/ is equivalent to /x/": dnsmasq(8).
    return add_name(name.text.starts_with('.') ? name.from(1) : name, PatternKind::kExactAndBelow, sense, out);
  }
};

}  // namespace

std::unique_ptr<LineReader> dnsmasq_reader() { return std::make_unique<DnsmasqReader>(); }

}  // namespace sallyport
