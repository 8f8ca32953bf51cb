// Diagnostic: one thing wrong with a policy, with its place, value, cause and repair, and the ways to print it.
//
// Form     Lower case, no full stop. `message` is the cause, `repair` what to write instead; values stand in backticks.
//          Lines and columns are 1-based; a column counts octets, as editors' jump commands and GitHub do.
// Lifetime Self-contained: the source line is copied in, so that rendering needs no source.
// Threads  Plain values, pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sallyport {

enum class Severity : std::uint8_t { kError = 0, kWarning };

// A place in a source, with the source line it points into.
struct Excerpt {
  std::string file;                // "policy.yaml", or "--allow" for an argument
  std::uint32_t line = 0;          // 0: no line; the file as a whole, or a command-line argument
  std::uint32_t column = 0;        // 0: no column
  std::uint32_t length = 0;        // octets under the caret, at least 1 when there is a column
  std::string text;                // the source line or, if that is long, a part of it; empty if there is none to show
  std::uint32_t text_column = 1;   // of the first octet of text
  std::uint32_t entry_column = 0;  // of the whole entry, where the caret is at a part of it; 0: as column
  std::string label = {};          // of a related line: what it has to do with it; empty: "first here" or "here"
};

struct Diagnostic {
  std::string_view code;  // static: "P003"; `policyctl help P003` explains it
  Severity severity = Severity::kError;
  Excerpt where;
  std::string path;              // of the value, as "rules[2].domains[0]"; empty for the file
  std::string message;           // the cause: "unknown key `domain`"
  std::string repair;            // "did you mean `domains`?"; may be empty
  std::string note;              // a line of its own, may be empty
  std::vector<Excerpt> related;  // other lines that matter, such as the rule that shadows this one
  std::size_t stands_for = 1;    // how many of its severity; more than one for P026, which counts those not shown
};

using Diagnostics = std::vector<Diagnostic>;

bool has_errors(std::span<const Diagnostic> diagnostics) noexcept;
// Those that are not shown included.
std::size_t count_of(std::span<const Diagnostic> diagnostics, Severity severity) noexcept;

// rustc's blocks, one blank line between two, ends with a newline; empty for no diagnostics. Control octets are
// escaped.
std::string render(std::span<const Diagnostic> diagnostics, bool color);

// `policy.yaml:14:16: domains[2] "*.co.uk" covers ...; expected ...`, no newline: for logs.
std::string render_line(const Diagnostic& diagnostic);

// GitHub workflow commands, one line each.
std::string render_github(std::span<const Diagnostic> diagnostics);

// A JSON array (no envelope), one object each.
std::string render_json(std::span<const Diagnostic> diagnostics);

// A SARIF 2.1.0 log of one run, ends with a newline; codes() are its rules. version: of the program that found them.
std::string render_sarif(std::span<const Diagnostic> diagnostics, std::string_view version);

// What `help P014` prints; empty for an unknown code. codes() lists all, in order.
struct CodeText {
  std::string_view code, title, text;
};
std::string_view explain_code(std::string_view code) noexcept;
std::span<const CodeText> codes() noexcept;

}  // namespace sallyport
