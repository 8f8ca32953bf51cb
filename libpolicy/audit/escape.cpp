#include "audit/escape.hpp"

namespace sallyport {
namespace {

std::string escaped(std::string_view octets, std::size_t max_size, bool was_cut, std::string_view backslash) {
  static constexpr char kHex[] = "0123456789abcdef";
  static constexpr std::string_view kMark = "...";
  std::string out;
  std::size_t fits = 0;  // how much may stay if the mark must follow
  for (const char c : octets) {
    const auto octet = static_cast<unsigned char>(c);
    if (c == '\\') {
      out += backslash;
    } else if (octet >= 0x20 && octet < 0x7f) {
      out += c;
    } else {
      out += "\\x";
      out += kHex[octet >> 4];
      out += kHex[octet & 15];
    }
    if (out.size() > max_size) {
      was_cut = true;
      break;
    }
    if (out.size() + kMark.size() <= max_size) fits = out.size();
  }
  if (was_cut) {
    if (out.size() > fits) out.resize(fits);
    out += kMark.substr(0, max_size);
  }
  return out;
}

}  // namespace

std::string printable(std::string_view octets, std::size_t max_size, bool was_cut) {
  return escaped(octets, max_size, was_cut, "\\\\");
}

std::string printable_again(std::string_view text, std::size_t max_size) {
  return escaped(text, max_size, false, "\\");
}

}  // namespace sallyport
