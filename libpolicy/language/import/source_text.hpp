// SourceText: the lines of a configuration, each with the comments that belong to it.
//
// Form     A comment of its own belongs to what follows it, blank lines or not; one behind a value to that value.
//          Comments are kept as UTF-8 without control and hidden characters, which a policy refuses.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sallyport {

struct SourceLine {
  std::uint32_t number = 0;
  std::string text;                // without comment, blanks around and line end; never empty
  std::string raw;                 // as written, without blanks around
  std::vector<std::string> above;  // comments since the line before
  std::string beside;              // the comment behind
  bool indented = false;           // blanks in front, which mean something in a zone file
};

// marks: the characters that begin a comment ("#", "!#", ";"). A mark inside a line counts behind a blank.
std::vector<SourceLine> source_lines(std::string_view text, std::string_view marks);

// A comment as it may stand in a policy.
std::string tidy_comment(std::string_view text);

// The file whole; the failure, if it cannot be read.
std::optional<std::string> read_whole(const std::string& file, std::string& failure);

// A file that a configuration names: where it says, else beside the configuration, where a copy of it may be.
std::string named_file(const std::string& configuration, const std::string& name);

}  // namespace sallyport
