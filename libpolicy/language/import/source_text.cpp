#include "language/import/source_text.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>

#include "language/list_content.hpp"

namespace sallyport {
namespace {

constexpr std::string_view kBlanks = " \t\r\v\f";

std::string_view without_blanks(std::string_view text) {
  const std::size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) + 1 - first);
}

std::size_t comment_at(std::string_view line, std::string_view marks) {
  for (std::size_t at = line.find_first_of(marks); at != std::string_view::npos;
       at = line.find_first_of(marks, at + 1)) {
    if (at == 0 || kBlanks.find(line[at - 1]) != std::string_view::npos) return at;
  }
  return std::string_view::npos;
}

}  // namespace

std::string tidy_comment(std::string_view text) {
  while (!text.empty() && std::string_view("#!;").find(text.front()) != std::string_view::npos) text.remove_prefix(1);
  text = without_blanks(text);
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const auto lead = static_cast<unsigned char>(text[at]);
    const std::size_t length = lead < 0x80                   ? 1
                               : lead >= 0xc3 && lead < 0xe0 ? 2  // below: C1 controls
                               : lead > 0xe0 && lead < 0xf0  ? 3
                               : lead > 0xf0 && lead < 0xf4  ? 4
                                                             : 0;
    bool good = length > 0 && at + length <= text.size() && (length > 1 || (lead >= 0x20 && lead != 0x7f));
    for (std::size_t i = 1; good && i < length; ++i) good = (static_cast<unsigned char>(text[at + i]) & 0xc0) == 0x80;
    const std::string_view character = text.substr(at, good ? length : 1);
    // General punctuation holds the characters that turn or hide text; surrogates and the byte order mark are no text.
    const bool hidden = character.starts_with("\xe2\x80") || character.starts_with("\xe2\x81") ||
                        (lead == 0xed && character.size() == 3 && static_cast<unsigned char>(character[1]) >= 0xa0) ||
                        character == "\xef\xbb\xbf";
    out += good && !hidden ? std::string(character) : lead == '\t' ? " " : "?";
    at += character.size();
  }
  return out;
}

std::vector<SourceLine> source_lines(std::string_view text, std::string_view marks) {
  std::vector<SourceLine> lines;
  std::vector<std::string> above;
  std::uint32_t number = 0;
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    ++number;
    const std::uint32_t first = number;
    std::string joined;  // lines that end in a backslash go on
    while (line.ends_with('\\') && !text.empty() && marks == "#") {
      joined += std::string(line.substr(0, line.size() - 1)) + " ";
      const std::size_t next = std::min(text.find('\n'), text.size());
      line = text.substr(0, next);
      text.remove_prefix(std::min(next + 1, text.size()));
      ++number;
    }
    joined += line;
    const bool indented = !joined.empty() && kBlanks.find(joined[0]) != std::string_view::npos;
    const std::string_view whole = without_blanks(joined);
    const std::size_t comment = comment_at(whole, marks);
    const std::string_view code = without_blanks(whole.substr(0, comment));
    std::string remark = comment == std::string_view::npos ? "" : tidy_comment(whole.substr(comment));
    if (code.empty()) {
      if (!remark.empty()) above.push_back(std::move(remark));
      continue;
    }
    lines.push_back({first, std::string(code), std::string(whole), std::move(above), std::move(remark), indented});
    above.clear();
  }
  return lines;
}

std::optional<std::string> read_whole(const std::string& file, std::string& failure) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> opened(std::fopen(file.c_str(), "rbe"), std::fclose);
  std::string text;
  char buffer[65536];
  std::size_t got = 0;
  if (opened != nullptr) {
    while (text.size() <= kMaxListOctets && (got = std::fread(buffer, 1, sizeof buffer, opened.get())) > 0)
      text.append(buffer, got);
  }
  if (opened == nullptr || std::ferror(opened.get()) != 0) {
    failure = file + ": " + std::strerror(errno);
    return std::nullopt;
  }
  if (text.size() > kMaxListOctets) {
    failure = file + ": more than " + std::to_string(kMaxListOctets >> 20) + " MiB";
    return std::nullopt;
  }
  return text;
}

std::string named_file(const std::string& configuration, const std::string& name) {
  const std::filesystem::path folder = std::filesystem::path(configuration).parent_path();
  std::error_code unknown;
  const std::filesystem::path written = folder / name;
  if (std::filesystem::exists(written, unknown)) return written.string();
  return (folder / std::filesystem::path(name).filename()).string();
}

}  // namespace sallyport
