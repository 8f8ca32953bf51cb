// Values of Squid's `acl dstdomain`, as a file holds them: ".name" is the name and all below, "name" that name alone.
#include "language/lists/line_reader.hpp"

namespace sallyport {
namespace {

using namespace line_parts;

class SquidReader : public LineReader {
 public:
  std::optional<LineFault> read(std::string_view line, std::vector<ListEntry>& out) override {
    Word rest = without_comment(line);
    for (Word value = next_word(rest); !value.text.empty(); value = next_word(rest)) {
      if (value.text.starts_with('-')) return foreign(value, "an option of the acl, not a name");
      if (value.text.find('*') != std::string_view::npos) {
        return mistake(value, "dstdomain has no `*`: .name is the name and all below it");
      }
      if (std::optional<LineFault> fault = add_pattern(value, EntrySense::kUnsaid, out)) return fault;
    }
    return std::nullopt;
  }
};

}  // namespace

std::unique_ptr<LineReader> squid_reader() { return std::make_unique<SquidReader>(); }

}  // namespace sallyport
