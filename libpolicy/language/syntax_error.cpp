#include "language/syntax_error.hpp"

#include <algorithm>
#include <cctype>
#include <string>
#include <vector>

#include "language/suggest.hpp"

namespace sallyport {
namespace {

constexpr std::size_t kNone = std::string_view::npos;

// What is still open in front of an octet.
struct Open {
  std::vector<std::size_t> brackets;  // outermost first
  std::size_t quote = kNone;
};

// Reads as much of YAML as tells brackets and quotes from the same characters inside words and comments.
Open open_before(std::string_view text, std::size_t at) {
  Open open;
  at = std::min(at, text.size());
  for (std::size_t i = 0; i < at; ++i) {
    const char c = text[i];
    if (open.quote != kNone) {
      if (c == '\\' && text[open.quote] == '"') {
        ++i;
      } else if (c == text[open.quote]) {
        open.quote = kNone;  // '' reopens at once
      }
      continue;
    }
    const char before = i == 0 ? '\n' : text[i - 1];
    const bool blank_before = std::isspace(static_cast<unsigned char>(before)) != 0;
    const bool starts =
        blank_before || before == '[' || before == '{' || before == ',' || before == '\'' || before == '"';
    if (c == '#' && blank_before) {
      while (i + 1 < at && text[i + 1] != '\n') ++i;
    } else if ((c == '"' || c == '\'') && starts) {
      open.quote = i;
    } else if ((c == '[' || c == '{') && starts) {
      open.brackets.push_back(i);
    } else if ((c == ']' || c == '}') && !open.brackets.empty()) {
      open.brackets.pop_back();
    }
  }
  return open;
}

class SyntaxError {
 public:
  SyntaxError(const Source& source, Reporter& reporter, std::size_t at)
      : source_(source), reporter_(reporter), at_(std::min(at, source.text().size())) {}

  void report(std::string_view cause) {
    if (word_with_a_meaning() || tab() || (cause.find("map value") != kNone && map_value()) || never_closed(cause))
      return;
    if (cause == "illegal flow end") return wrong_end();
    if (cause.starts_with("unknown escape")) {
      return say(at_, 1, "a backslash in double quotes", "use single quotes, or write `\\\\`");
    }
    std::string said(cause);
    if (!said.empty()) said[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(said[0])));
    if (is_about_lines(cause)) {
      return say(at_, 1, "this line does not fit the ones above it",
                 "keys of one mapping start in the same column, and so do the `- ` of one list");
    }
    say(at_, 1, "not valid YAML: " + said,
        "look for a bracket, a quote or an indentation that is wrong, here or just above");
  }

 private:
  // What a line that starts in the wrong column leads to; and the first line after a bracket that was left open.
  static bool is_about_lines(std::string_view cause) {
    return cause.starts_with("end of map not") || cause.starts_with("end of sequence not") ||
           cause == "illegal block entry" || cause == "illegal map key";
  }

  void say(std::size_t offset, std::size_t length, std::string cause, std::string repair) {
    reporter_.error("P002", source_.span_at(offset, length), "", std::move(cause), std::move(repair));
  }

  // An unquoted "*.example.com" is an alias to YAML.
  bool word_with_a_meaning() {
    const std::string_view text = source_.text();
    const auto in_word = [&](std::size_t i) {
      const auto c = static_cast<unsigned char>(text[i]);
      return std::isspace(c) == 0 && c != '[' && c != ']' && c != ',' && c != '{' && c != '}';
    };
    std::size_t start = at_;
    while (start > 0 && in_word(start - 1)) --start;
    std::size_t end = start;
    while (end < text.size() && in_word(end)) ++end;
    const std::string word(text.substr(start, std::min<std::size_t>(end - start, 100)));
    if (word.starts_with('*')) {
      say(start, word.size(), "an unquoted `*` means a YAML alias", "write \"" + word + "\" in quotes");
      return true;
    }
    if (word.size() > 1 && (word[0] == '@' || word[0] == '`' || word[0] == '%' || word[0] == '!' || word[0] == '&')) {
      say(start, word.size(), std::string("`") + word[0] + "` has a meaning of its own in YAML",
          "write \"" + word + "\" in quotes");
      return true;
    }
    return false;
  }

  bool tab() {
    const Span span = source_.span_at(at_, 1);
    const std::string_view line = source_.line(span.line);
    const std::size_t indent = line.find_first_not_of(' ');
    if (indent == kNone || line[indent] != '\t') return false;
    say(at_ - span.column + 1 + indent, 1, "a tab in the indentation", "indent with spaces");
    return true;
  }

  // "illegal map value": a colon that makes a key where none can be.
  bool map_value() {
    const Span span = source_.span_at(at_, 1);
    const std::string_view before = source_.line(span.line).substr(0, span.column - 1);
    if (before.find(": ") != kNone) {
      say(at_, 1, "a second `:` in one value", "put the value in quotes, or each key on a line of its own");
      return true;
    }
    const std::size_t start = std::min(before.find_first_not_of(" -"), before.size());
    const std::size_t key = at_ - before.size() + start;
    say(key, std::max<std::size_t>(1, at_ - key), "a key where none can stand",
        "keys of one mapping start in the same column, below each other");
    return true;
  }

  void wrong_end() {
    const Open open = open_before(source_.text(), at_);
    if (open.brackets.empty()) return say(at_, 1, "a closing bracket that nothing opens", "remove it, or open it");
    const std::size_t bracket = open.brackets.back();
    const bool list = source_.text()[bracket] == '[';
    say(bracket, 1, std::string("the ") + (list ? "bracket `[`" : "brace `{`") + " is not closed by its own kind",
        list ? "close it with `]`" : "close it with `}`");
  }

  bool never_closed(std::string_view cause) {
    const bool flow = cause.find("flow not found") != kNone;
    const bool scalar = cause.find("EOF in scalar") != kNone;
    if (!flow && !scalar && !is_about_lines(cause)) return false;
    const Open open = open_before(source_.text(), at_);
    if ((flow || scalar) && open.quote != kNone) {
      const std::string quote(1, source_.text()[open.quote]);
      say(open.quote, 1, "the quote " + in_ticks(quote) + " is never closed",
          "close it with another " + in_ticks(quote));
      return true;
    }
    if (open.brackets.empty()) return false;
    const std::size_t bracket = open.brackets.back();
    const Open at_the_end = open_before(source_.text(), source_.text().size());
    if (std::find(at_the_end.brackets.begin(), at_the_end.brackets.end(), bracket) == at_the_end.brackets.end()) {
      // It is closed further on: what stands between does not belong there.
      if (at_ < source_.text().size() && source_.text()[at_] == ':') return map_value();
      return false;
    }
    const bool list = source_.text()[bracket] == '[';
    say(bracket, 1, list ? "the bracket `[` is never closed" : "the brace `{` is never closed",
        list ? "close it with `]`" : "close it with `}`");
    return true;
  }

  const Source& source_;
  Reporter& reporter_;
  const std::size_t at_;
};

}  // namespace

void report_syntax_error(const Source& source, Reporter& reporter, std::size_t at, std::string_view cause) {
  SyntaxError(source, reporter, at).report(cause);
}

}  // namespace sallyport
