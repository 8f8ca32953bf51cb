#include "language/format/scalar_text.hpp"

#include <algorithm>
#include <cstdint>
#include <iterator>

#include "language/yaml_tree.hpp"

namespace sallyport {
namespace {

constexpr std::string_view kWords[] = {"null", "true", "false", "yes", "no", "on", "off", "y", "n", "~", "=", "<<"};

bool is_word(std::string_view value) {
  return std::any_of(std::begin(kWords), std::end(kWords), [&](std::string_view word) {
    return std::equal(word.begin(), word.end(), value.begin(), value.end(), [](char a, char b) {
      return a == (b >= 'A' && b <= 'Z' ? static_cast<char>(b - 'A' + 'a') : b);
    });
  });
}

// Of decimal, hexadecimal, octal and exponent forms; wider than any reader's, which costs a pair of quotes.
bool is_number(std::string_view value) {
  const std::size_t digit = value.find_first_of("0123456789");
  if (digit == std::string_view::npos || value.find_first_not_of("0123456789abcdefxABCDEFXoO_.+-") < value.size()) {
    return false;
  }
  const bool hexadecimal = value.starts_with("0x") || value.starts_with("0X");
  const bool exponent = value.find_first_not_of("0123456789_.+-eE") == std::string_view::npos;
  // An address has more dots than a number, a date more dashes.
  return (hexadecimal || exponent) && std::count(value.begin(), value.end(), '.') < 2 &&
         std::count(value.begin(), value.end(), '-') < 2;
}

bool is_plain(std::string_view value) {
  // In brackets and out of them alike, so that a value is written one way.
  if (value.empty() || value.front() == ' ' || value.back() == ' ') return false;
  if (std::string_view("-?&*!|>'\"%@`#").find(value.front()) != std::string_view::npos) {
    // "-1" is a number, `-a` a word; all others of these begin something else.
    if (value.front() != '-' || value.size() < 2 || value[1] == ' ') return false;
  }
  return value.find_first_of(":,*[]{}\t\"") == std::string_view::npos && value.find(" #") == std::string_view::npos &&
         !value.starts_with("---") && !value.starts_with("...");
}

// The next character of UTF-8 that is known to be valid, and its length.
std::uint32_t code_point(std::string_view text, std::size_t at, std::size_t& length) {
  const auto lead = static_cast<unsigned char>(text[at]);
  length = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  length = std::min(length, text.size() - at);
  std::uint32_t value = length == 1 ? lead : lead & (0x7fu >> length);
  for (std::size_t i = 1; i < length; ++i) value = value << 6 | (static_cast<unsigned char>(text[at + i]) & 0x3fu);
  return value;
}

std::string quoted(std::string_view value) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out = "\"";
  for (std::size_t at = 0, length = 1; at < value.size(); at += length) {
    const std::uint32_t c = code_point(value, at, length);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (is_hidden_character(c) || c == '\r') {
      out += "\\u";
      for (int shift = 12; shift >= 0; shift -= 4) out += kDigits[c >> shift & 15];
    } else {
      out += value.substr(at, length);
    }
  }
  return out + "\"";
}

bool is_shown(std::string_view value) {
  for (std::size_t at = 0, length = 1; at < value.size(); at += length) {
    const std::uint32_t c = code_point(value, at, length);
    if (is_hidden_character(c) || c == '\n' || c == '\r') return false;
  }
  return true;
}

}  // namespace

std::string scalar_text(std::string_view value, bool number_like) {
  const bool plain = is_plain(value) && is_shown(value) && !is_word(value) && (number_like || !is_number(value));
  return plain ? std::string(value) : quoted(value);
}

}  // namespace sallyport
