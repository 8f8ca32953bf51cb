// hosts(5): an address, and the names that it is for. Block lists write any address that leads nowhere; which one it is
// makes no difference here.
#include <algorithm>

#include "language/lists/line_reader.hpp"
#include "names/address.hpp"

namespace sallyport {
namespace {

using namespace line_parts;

class HostsReader : public LineReader {
 public:
  std::optional<LineFault> read(std::string_view line, std::vector<ListEntry>& out) override {
    Word rest = whole(line.substr(0, line.find('#')));
    if (rest.text.empty()) return std::nullopt;
    const Word address = next_word(rest);
    // A link-local address has a zone: fe80::1%lo0.
    if (!Address::parse(address.text.substr(0, address.text.find('%'))).ok()) {
      return mistake(address, "no address in front of the name");
    }
    Word name = next_word(rest);
    if (name.text.empty()) return mistake(address, "an address without a name");
    for (; !name.text.empty(); name = next_word(rest)) {
      if (is_own_host_name(name.text)) continue;
      if (std::optional<LineFault> fault = add_name(name, PatternKind::kExact, EntrySense::kUnsaid, out)) return fault;
    }
    return std::nullopt;
  }
};

}  // namespace

std::unique_ptr<LineReader> hosts_reader() { return std::make_unique<HostsReader>(); }

}  // namespace sallyport
