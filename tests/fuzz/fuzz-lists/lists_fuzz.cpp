// Any bytes are lines of names and lines that are refused, in every format, wherever the pieces end. REL-10.
//
// The first octet says the format and how long the pieces are; all names are canonical, all places inside their lines,
// and a name read from a list is read again from the lists that are written of it.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "language/lists/list_parser.hpp"
#include "names/pattern.hpp"

namespace {

using sallyport::DomainName;
using sallyport::EntrySense;
using sallyport::ListFormat;
using sallyport::PatternKind;

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}

class Record : public sallyport::ListSink {
 public:
  void name(const DomainName& name, PatternKind kind, EntrySense sense, const sallyport::LinePart& where) override {
    require(DomainName::is_canonical(name.text()), "names are canonical");
    place(where);
    names.push_back(sallyport::Pattern{name, kind}.text() + " " + std::to_string(static_cast<int>(sense)) + " " +
                    std::to_string(where.line));
    patterns.push_back({name, kind});
  }
  void invalid(const sallyport::InvalidLine& why, const sallyport::LinePart& where) override {
    require(!why.reason.empty(), "a refusal has a reason");
    require(why.reason.find('\n') == std::string::npos, "a reason is one line");
    place(where);
    require(where.line != last_invalid, "a line is refused once");
    last_invalid = where.line;
    faults.push_back(std::to_string(where.line) + ":" + std::to_string(where.column) + " " + why.reason);
  }

  std::vector<std::string> names, faults;
  std::vector<sallyport::Pattern> patterns;

 private:
  void place(const sallyport::LinePart& where) {
    require(where.line >= last_line, "lines come in order");
    last_line = where.line;
    require(where.column >= 1 && where.column <= where.text.size() + 1, "a place is inside its line");
    require(where.length >= 1, "something is pointed at");
    require(where.text.find('\n') == std::string_view::npos, "a line is one line");
  }
  std::uint32_t last_line = 0, last_invalid = 0;
};

Record read(ListFormat format, std::string_view text, std::size_t piece) {
  Record record;
  sallyport::ListParser parser(format, record);
  for (; !text.empty(); text.remove_prefix(std::min(piece, text.size()))) parser.feed(text.substr(0, piece));
  parser.finish();
  return record;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  constexpr std::size_t kFormats = std::size(sallyport::kListFormats);
  const ListFormat format = sallyport::kListFormats[data[0] % kFormats];
  const std::size_t piece = 1 + data[0] / kFormats;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const Record whole = read(format, text, text.size() + 1);
  const Record parts = read(format, text, piece);
  require(whole.names == parts.names && whole.faults == parts.faults, "pieces make no difference");

  std::string again;
  for (const sallyport::Pattern& pattern : whole.patterns) again += pattern.text() + "\n";
  const Record repeated = read(ListFormat::kDomains, again, again.size() + 1);
  require(repeated.faults.empty() && repeated.patterns.size() == whole.patterns.size(), "what was read is written");
  for (std::size_t i = 0; i < whole.patterns.size(); ++i) {
    require(repeated.patterns[i].text() == whole.patterns[i].text(), "and is the same");
  }
  return 0;
}
