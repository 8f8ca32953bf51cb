// Printing diagnostics: rustc's blocks for people, one line for logs, workflow commands for GitHub, JSON for programs.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "language/diagnostic.hpp"
#include "language/yaml_tree.hpp"

namespace sallyport {
namespace {

struct Style {
  const char *error = "", *warning = "", *place = "", *strong = "", *off = "";
};
constexpr Style kPlain{};
constexpr Style kColor{"\x1b[1;31m", "\x1b[1;33m", "\x1b[1;34m", "\x1b[1m", "\x1b[0m"};

constexpr std::size_t kMostCarets = 80;

std::string place_of(const Excerpt& where) {
  std::string text = where.file;
  if (where.line > 0) {
    text += ":" + std::to_string(where.line) + ":" +
            std::to_string(where.entry_column > 0 ? where.entry_column : where.column);
  }
  return text;
}

// Of a character of UTF-8 at the front of the text, its octets; 0: there is none.
std::size_t character(std::string_view text, std::uint32_t& code_point) {
  const auto lead = static_cast<unsigned char>(text[0]);
  const std::size_t length = lead < 0x80                   ? 1
                             : lead >= 0xc2 && lead < 0xe0 ? 2
                             : lead >= 0xe0 && lead < 0xf0 ? 3
                             : lead >= 0xf0 && lead < 0xf5 ? 4
                                                           : 0;
  if (length == 0 || length > text.size()) return 0;
  code_point = length == 1 ? lead : lead & (0x7fu >> length);
  for (std::size_t i = 1; i < length; ++i) {
    const auto next = static_cast<unsigned char>(text[i]);
    if ((next & 0xc0) != 0x80) return 0;
    code_point = code_point << 6 | (next & 0x3fu);
  }
  return length;
}

// What a terminal would act on, or nobody would see, is shown and not sent; a tab becomes one blank, so that carets
// stay below their octets.
std::string printable(std::string_view text, bool one_line = false) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (std::size_t at = 0, length = 1; at < text.size(); at += length) {
    std::uint32_t c = 0;
    length = character(text.substr(at), c);
    if (length == 0) {
      length = 1;
      out += "\\x";
      out += kDigits[static_cast<unsigned char>(text[at]) >> 4];
      out += kDigits[text[at] & 15];
    } else if (c == '\t' || (c == '\n' && !one_line)) {
      out += ' ';
    } else if (c < 0x20 || c == 0x7f) {
      out += "\\x";
      out += kDigits[c >> 4];
      out += kDigits[c & 15];
    } else if (is_hidden_character(c)) {
      out += "\\u";
      for (int shift = 12; shift >= 0; shift -= 4) out += kDigits[c >> shift & 15];
    } else {
      out += text.substr(at, length);
    }
  }
  return out;
}

// Columns of a terminal, taking each UTF-8 character for one.
std::size_t width(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

// "12 |     domains: [x]" and, below it, the carets with what belongs beside them.
void excerpt(std::string& out, const Excerpt& where, std::string_view beside, const Style& style, const char* accent,
             std::size_t gutter) {
  if (where.text.empty() && where.line == 0) return;
  const std::string number = where.line > 0 ? std::to_string(where.line) : "";
  const std::string margin(gutter, ' ');
  const std::string text = printable(where.text, true);
  out += style.place + number + std::string(gutter - number.size(), ' ') + " |" + style.off + " " + text + "\n";
  const std::size_t skip = where.column >= where.text_column ? where.column - where.text_column : 0;
  const std::string_view before = std::string_view(where.text).substr(0, std::min(skip, where.text.size()));
  // Whole characters: a place may name the first octet of one.
  std::size_t end = std::min(before.size() + std::min<std::size_t>(where.length, kMostCarets), where.text.size());
  while (end < where.text.size() && (static_cast<unsigned char>(where.text[end]) & 0xc0) == 0x80) ++end;
  const std::string_view under = std::string_view(where.text).substr(before.size(), end - before.size());
  const std::size_t carets = std::max<std::size_t>(1, width(printable(under, true)));
  out += style.place + margin + " |" + style.off + " " + std::string(width(printable(before, true)), ' ') + accent +
         std::string(carets, '^');
  if (!beside.empty()) out += " " + printable(beside);
  out += std::string(style.off) + "\n";
}

void block(std::string& out, const Diagnostic& diagnostic, const Style& style) {
  const bool error = diagnostic.severity == Severity::kError;
  const char* accent = error ? style.error : style.warning;
  out += std::string(accent) + (error ? "error[" : "warning[") + std::string(diagnostic.code) + "]" + style.off +
         style.strong + ": " + printable(diagnostic.message) + style.off + "\n";
  std::uint32_t last_line = diagnostic.where.line;
  for (const Excerpt& other : diagnostic.related) last_line = std::max(last_line, other.line);
  const std::size_t gutter = last_line > 0 ? std::to_string(last_line).size() : 2;
  out += std::string(gutter, ' ') + style.place + "--> " + style.off + printable(place_of(diagnostic.where)) + "\n";
  const bool shown = diagnostic.where.line > 0 || !diagnostic.where.text.empty();
  if (shown) {
    excerpt(out, diagnostic.where, diagnostic.repair, style, accent, gutter);
  } else if (!diagnostic.repair.empty()) {
    out += std::string(gutter, ' ') + " = " + printable(diagnostic.repair) + "\n";
  }
  for (const Excerpt& other : diagnostic.related) {
    const bool elsewhere = other.file != diagnostic.where.file;
    if (elsewhere)
      out += std::string(gutter, ' ') + style.place + "::: " + style.off + printable(place_of(other)) + "\n";
    const std::string_view beside = !other.label.empty()                              ? std::string_view(other.label)
                                    : elsewhere || other.line < diagnostic.where.line ? "first here"
                                                                                      : "here";
    excerpt(out, other, beside, style, style.place, gutter);
  }
  if (!diagnostic.note.empty()) out += std::string(gutter, ' ') + " = " + printable(diagnostic.note) + "\n";
}

// "rules[2].domains[0]" to "domains[0]": the line says the rest.
std::string_view last_part(std::string_view path) {
  const std::size_t dot = path.rfind('.');
  return dot == std::string_view::npos ? path : path.substr(dot + 1);
}

// Backticks around a value become quotes, which logs and annotations show as they are.
std::string with_quotes(std::string_view text) {
  std::string out(text);
  std::replace(out.begin(), out.end(), '`', '"');
  return out;
}

std::string cause_and_repair(const Diagnostic& diagnostic) {
  std::string text;
  const std::string_view part = last_part(diagnostic.path);
  const bool list_entry = part.ends_with(']');
  if (list_entry) text = std::string(part) + (diagnostic.message.starts_with('`') ? " " : ": ");
  text += with_quotes(diagnostic.message);
  if (!diagnostic.repair.empty()) text += "; " + with_quotes(diagnostic.repair);
  return printable(text, true);
}

// GitHub: % and line ends in data, and , and : in properties as well.
std::string workflow_escaped(std::string_view text, bool property) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '%':
        out += "%25";
        break;
      case '\r':
        out += "%0D";
        break;
      case '\n':
        out += "%0A";
        break;
      case ':':
        out += property ? "%3A" : ":";
        break;
      case ',':
        out += property ? "%2C" : ",";
        break;
      default:
        out += c;
    }
  }
  return out;
}

// What the audit calls the refusal of a policy (engine/decide.hpp, Reason).
std::string_view reason_of(const Diagnostic& diagnostic) {
  return diagnostic.code == "P014" || diagnostic.code == "P015" ? "pattern_too_broad" : "policy_invalid";
}

}  // namespace

bool has_errors(std::span<const Diagnostic> diagnostics) noexcept {
  return std::any_of(diagnostics.begin(), diagnostics.end(),
                     [](const Diagnostic& d) { return d.severity == Severity::kError; });
}

std::size_t count_of(std::span<const Diagnostic> diagnostics, Severity severity) noexcept {
  std::size_t count = 0;
  for (const Diagnostic& diagnostic : diagnostics) {
    if (diagnostic.severity == severity) count += diagnostic.stands_for;
  }
  return count;
}

std::string render(std::span<const Diagnostic> diagnostics, bool color) {
  std::string out;
  for (const Diagnostic& diagnostic : diagnostics) {
    if (!out.empty()) out += "\n";
    block(out, diagnostic, color ? kColor : kPlain);
  }
  return out;
}

std::string render_line(const Diagnostic& diagnostic) {
  std::string out = printable(place_of(diagnostic.where), true) + ": ";
  if (diagnostic.severity == Severity::kWarning) out += "warning: ";
  return out + cause_and_repair(diagnostic) + " [" + std::string(diagnostic.code) + "]";
}

std::string render_github(std::span<const Diagnostic> diagnostics) {
  std::string out;
  for (const Diagnostic& diagnostic : diagnostics) {
    const bool error = diagnostic.severity == Severity::kError;
    out += std::string(error ? "::error " : "::warning ") + "file=" + workflow_escaped(diagnostic.where.file, true);
    if (diagnostic.where.line > 0) {
      out += ",line=" + std::to_string(diagnostic.where.line) + ",col=" + std::to_string(diagnostic.where.column);
    }
    out +=
        ",title=" + std::string(diagnostic.code) + "::" + workflow_escaped(cause_and_repair(diagnostic), false) + "\n";
  }
  return out;
}

std::string render_json(std::span<const Diagnostic> diagnostics) {
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  const auto place = [](const Excerpt& where) {
    nlohmann::ordered_json json{{"file", where.file}};
    if (where.line > 0) json["line"] = where.line;
    if (where.column > 0) json["column"] = where.column;
    return json;
  };
  for (const Diagnostic& diagnostic : diagnostics) {
    nlohmann::ordered_json json = place(diagnostic.where);
    json["code"] = diagnostic.code;
    json["severity"] = diagnostic.severity == Severity::kError ? "error" : "warning";
    if (diagnostic.severity == Severity::kError) json["reason"] = reason_of(diagnostic);
    if (!diagnostic.path.empty()) json["path"] = diagnostic.path;
    json["message"] = diagnostic.message;
    if (!diagnostic.repair.empty()) json["repair"] = diagnostic.repair;
    if (!diagnostic.note.empty()) json["note"] = diagnostic.note;
    for (const Excerpt& other : diagnostic.related) json["related"].push_back(place(other));
    all.push_back(std::move(json));
  }
  return all.dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace sallyport
