// domains: a pattern a line, as the language writes them in `domains`.
#include "language/lists/line_reader.hpp"

namespace sallyport {
namespace {

using namespace line_parts;

class DomainsReader : public LineReader {
 public:
  std::optional<LineFault> read(std::string_view line, std::vector<ListEntry>& out) override {
    Word rest = without_comment(line);
    if (rest.text.empty()) return std::nullopt;
    const Word word = next_word(rest);
    rest = trimmed(rest);
    if (!rest.text.empty()) return mistake(rest, "more than one name in a line");
    return add_pattern(word, EntrySense::kUnsaid, out);
  }
};

}  // namespace

std::unique_ptr<LineReader> domains_reader() { return std::make_unique<DomainsReader>(); }

}  // namespace sallyport
