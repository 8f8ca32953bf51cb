#include "language/source.hpp"

#include <algorithm>
#include <numeric>
#include <tuple>
#include <utility>

namespace sallyport {
namespace {

constexpr std::size_t kExcerptOctets = 160;  // a line longer than a wide terminal is cut around the caret
constexpr std::size_t kExcerptBefore = 60;

// Forward to the start of a UTF-8 character.
std::size_t whole_character(std::string_view text, std::size_t at) {
  while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80) ++at;
  return at;
}

}  // namespace

Source::Source(std::string_view text, std::string_view file_name) : text_(text), file_(file_name) {
  starts_.push_back(0);
  for (std::size_t at = text.find('\n'); at != std::string_view::npos; at = text.find('\n', at + 1)) {
    starts_.push_back(at + 1);
  }
}

Source::Source(std::string_view text, std::string_view file_name, std::vector<std::string> options)
    : Source(text, file_name) {
  options_ = std::move(options);
}

std::string_view Source::line(std::uint32_t number) const noexcept {
  if (number == 0 || number > starts_.size()) return {};
  const std::size_t start = starts_[number - 1];
  const std::size_t end = number < starts_.size() ? starts_[number] - 1 : text_.size();
  std::string_view line = text_.substr(start, end - start);
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

Span Source::span_at(std::size_t offset, std::size_t length) const noexcept {
  offset = std::min(offset, text_.size());
  const auto next = std::upper_bound(starts_.begin(), starts_.end(), offset);
  const std::size_t index = static_cast<std::size_t>(next - starts_.begin()) - 1;
  return {static_cast<std::uint32_t>(index + 1), static_cast<std::uint32_t>(offset - starts_[index] + 1),
          static_cast<std::uint32_t>(std::max<std::size_t>(length, 1))};
}

std::size_t Source::offset_of(const Span& span) const noexcept {
  if (span.line == 0 || span.line > starts_.size()) return text_.size();
  return std::min(text_.size(), starts_[span.line - 1] + (span.column > 0 ? span.column - 1 : 0));
}

Excerpt Source::excerpt(const Span& span) const {
  if (of_options()) {
    const bool named = span.line > 0 && span.line <= options_.size() && !options_[span.line - 1].empty();
    return {named ? options_[span.line - 1] : file_, 0, 0, 0, {}, 1};
  }
  return excerpt_of(file_, line(span.line), span);
}

Excerpt excerpt_of(std::string_view file, std::string_view line, const Span& span) {
  Excerpt excerpt{std::string(file), span.line, span.column, span.length, {}, 1};
  std::size_t from = 0;
  if (line.size() > kExcerptOctets && span.column > kExcerptBefore) {
    from = whole_character(line, std::min<std::size_t>(span.column - kExcerptBefore, line.size()));
  }
  const std::size_t to = whole_character(line, std::min(line.size(), from + kExcerptOctets));
  excerpt.text = line.substr(from, to - from);
  excerpt.text_column = static_cast<std::uint32_t>(from + 1);
  return excerpt;
}

Diagnostic& Reporter::add(Severity severity, std::string_view code, Excerpt where, std::string_view path,
                          std::string message, std::string repair) {
  if (severity == Severity::kError) ++errors_;
  if (diagnostics_.size() == kMost) {
    ++left_out_;
    if (severity == Severity::kError) ++errors_left_out_;
    return discarded_ = Diagnostic{};
  }
  return diagnostics_.emplace_back(
      Diagnostic{code, severity, std::move(where), std::string(path), std::move(message), std::move(repair), {}, {}});
}

Diagnostic& Reporter::error(std::string_view code, const Span& span, std::string_view path, std::string message,
                            std::string repair) {
  return error_at(code, source_.excerpt(span), path, std::move(message), std::move(repair));
}

Diagnostic& Reporter::warning(std::string_view code, const Span& span, std::string_view path, std::string message,
                              std::string repair) {
  return warning_at(code, source_.excerpt(span), path, std::move(message), std::move(repair));
}

Diagnostic& Reporter::error_at(std::string_view code, Excerpt where, std::string_view path, std::string message,
                               std::string repair) {
  return add(Severity::kError, code, std::move(where), path, std::move(message), std::move(repair));
}

Diagnostic& Reporter::warning_at(std::string_view code, Excerpt where, std::string_view path, std::string message,
                                 std::string repair) {
  return add(Severity::kWarning, code, std::move(where), path, std::move(message), std::move(repair));
}

Diagnostics Reporter::take() {
  // By place, then as reported. Not std::stable_sort: libstdc++ 12 has it call what clang 19 calls deprecated.
  std::vector<std::size_t> order(diagnostics_.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    const Excerpt& first = diagnostics_[a].where;
    const Excerpt& second = diagnostics_[b].where;
    if (!source_.of_options() && first.file != second.file) {
      const bool own = first.file == source_.file();
      return own || (second.file != source_.file() && first.file < second.file);
    }
    return std::tie(first.line, first.column, a) < std::tie(second.line, second.column, b);
  });
  Diagnostics sorted;
  sorted.reserve(order.size() + 1);
  for (const std::size_t i : order) {
    // One option can have become several lines.
    const auto same = [&](const Diagnostic& other) {
      return other.message == diagnostics_[i].message && other.where.file == diagnostics_[i].where.file;
    };
    if (source_.of_options() && std::any_of(sorted.begin(), sorted.end(), same)) continue;
    sorted.push_back(std::move(diagnostics_[i]));
  }
  diagnostics_.clear();
  if (left_out_ > 0) {
    // What was left out are warnings alone, where there is no error: then the policy is as valid as it was.
    Diagnostic rest;
    rest.code = "P026";
    rest.severity = errors_left_out_ > 0 ? Severity::kError : Severity::kWarning;
    rest.where = source_.excerpt({});
    rest.message = std::to_string(left_out_) + " more are not shown";
    rest.repair = "repair the first ones";
    rest.stands_for = errors_left_out_ > 0 ? errors_left_out_ : left_out_;
    sorted.push_back(std::move(rest));
  }
  return sorted;
}

}  // namespace sallyport
