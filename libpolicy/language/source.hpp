// Source: the text of a policy with its lines, and Span: a place in it.
//
// Form     Lines and columns are 1-based octets; span {0, 0, 0} is the file as a whole.
// Lifetime Borrows the text.
// Threads  Immutable.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "language/diagnostic.hpp"

namespace sallyport {

struct Span {
  std::uint32_t line = 0, column = 0, length = 0;
};

// The line, cut around the span where it is long.
Excerpt excerpt_of(std::string_view file, std::string_view line, const Span& span);

class Source {
 public:
  Source(std::string_view text, std::string_view file_name);
  // A text that a program made of its command line: a place in line n is called options[n - 1], as "--listen ::1"; the
  // file name, where that is empty. Nobody wrote the line, so it is not shown.
  Source(std::string_view text, std::string_view file_name, std::vector<std::string> options);

  std::string_view text() const noexcept { return text_; }
  std::string_view file() const noexcept { return file_; }
  bool of_options() const noexcept { return !options_.empty(); }

  std::string_view line(std::uint32_t number) const noexcept;  // without its end; empty out of range
  Span span_at(std::size_t offset, std::size_t length) const noexcept;
  std::size_t offset_of(const Span& span) const noexcept;  // of its first octet
  Excerpt excerpt(const Span& span) const;

 private:
  std::string_view text_;
  std::string file_;
  std::vector<std::size_t> starts_;  // offset of each line
  std::vector<std::string> options_;
};

// Collects diagnostics against one source. Bounded: the rest are counted, since a file of a million errors needs one
// fix.
class Reporter {
 public:
  static constexpr std::size_t kMost = 1000;

  explicit Reporter(const Source& source) : source_(source) {}

  Diagnostic& error(std::string_view code, const Span& span, std::string_view path, std::string message,
                    std::string repair = {});
  Diagnostic& warning(std::string_view code, const Span& span, std::string_view path, std::string message,
                      std::string repair = {});
  // At a place in another file.
  Diagnostic& error_at(std::string_view code, Excerpt where, std::string_view path, std::string message,
                       std::string repair = {});
  Diagnostic& warning_at(std::string_view code, Excerpt where, std::string_view path, std::string message,
                         std::string repair = {});

  bool failed() const noexcept { return errors_ > 0; }
  bool full() const noexcept { return diagnostics_.size() >= kMost; }  // what follows is counted alone: spare the words
  const Source& source() const noexcept { return source_; }

  // In the order of the file, those of other files behind. Leaves the reporter empty.
  Diagnostics take();

 private:
  Diagnostic& add(Severity severity, std::string_view code, Excerpt where, std::string_view path, std::string message,
                  std::string repair);

  const Source& source_;
  Diagnostics diagnostics_;
  Diagnostic discarded_;
  std::size_t errors_ = 0;
  std::size_t left_out_ = 0, errors_left_out_ = 0;
};

}  // namespace sallyport
