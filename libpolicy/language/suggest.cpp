#include "language/suggest.hpp"

#include <algorithm>
#include <array>
#include <cstdint>

namespace sallyport {
namespace {

constexpr std::size_t kLongestWord = 64;    // keys and names are shorter; the cost is the product of both lengths
constexpr std::size_t kLongestQuoted = 80;  // as much as fits beside a message

template <typename Words>
std::string_view nearest_of(std::string_view word, const Words& candidates) {
  std::string_view best;
  std::size_t best_distance = std::max<std::size_t>(1, word.size() / 3) + 1;
  for (const std::string_view candidate : candidates) {
    const std::size_t distance = edit_distance(word, candidate);
    if (distance < best_distance) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

}  // namespace

std::size_t edit_distance(std::string_view a, std::string_view b) {
  if (a.size() > kLongestWord || b.size() > kLongestWord) return std::max(a.size(), b.size());
  std::array<std::array<std::uint8_t, kLongestWord + 1>, 3> rows{};
  for (std::size_t j = 0; j <= b.size(); ++j) rows[0][j] = static_cast<std::uint8_t>(j);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    auto& row = rows[i % 3];
    const auto& above = rows[(i + 2) % 3];
    const auto& two_above = rows[(i + 1) % 3];
    row[0] = static_cast<std::uint8_t>(i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const int change = above[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      int least = std::min({above[j] + 1, row[j - 1] + 1, change});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) least = std::min(least, two_above[j - 2] + 1);
      row[j] = static_cast<std::uint8_t>(least);
    }
  }
  return rows[a.size() % 3][b.size()];
}

std::string_view nearest(std::string_view word, std::span<const std::string_view> candidates) {
  return nearest_of(word, candidates);
}

std::string_view nearest(std::string_view word, std::span<const std::string> candidates) {
  return nearest_of(word, candidates);
}

std::string in_ticks(std::string_view value) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text = "`";
  for (std::size_t i = 0; i < value.size(); ++i) {
    // Cut before a character, not inside one.
    if (i >= kLongestQuoted && (static_cast<unsigned char>(value[i]) & 0xc0) != 0x80) {
      text += "...";
      break;
    }
    const auto c = static_cast<unsigned char>(value[i]);
    if (c < 0x20 || c == 0x7f) {
      text += "\\x";
      text += kDigits[c >> 4];
      text += kDigits[c & 15];
    } else {
      text += value[i];
    }
  }
  return text + "`";
}

}  // namespace sallyport
