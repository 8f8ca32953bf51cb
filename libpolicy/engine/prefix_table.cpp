#include "engine/prefix_table.hpp"

#include <algorithm>

namespace sallyport {

std::vector<format::PrefixKey> reduce(std::span<const Prefix> prefixes) {
  std::vector<format::PrefixKey> keys;
  keys.reserve(prefixes.size());
  for (const Prefix& prefix : prefixes) keys.push_back(format::key_of(prefix));
  // The widest of those that start together comes first, so that what it contains follows it.
  std::sort(keys.begin(), keys.end(), [](const format::PrefixKey& a, const format::PrefixKey& b) {
    return starts_before(a, b) || (!starts_before(b, a) && a.bits < b.bits);
  });
  std::vector<format::PrefixKey> kept;
  kept.reserve(keys.size());
  for (const format::PrefixKey& key : keys) {
    if (kept.empty() || !covers(kept.back(), key)) kept.push_back(key);
  }
  return kept;
}

bool is_reduced(std::span<const format::PrefixKey> keys) noexcept {
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const format::PrefixKey& key = keys[i];
    if (key.reserved != 0) return false;
    if (key.family == 4) {
      if (key.bits > 32 || key.low != 0) return false;
    } else if (key.family != 6 || key.bits > 128) {
      return false;
    }
    // Host bits: the network of the key is the key.
    const std::uint64_t high = key.bits >= 64 ? 0 : key.bits == 0 ? ~std::uint64_t{0} : ~std::uint64_t{0} >> key.bits;
    const std::uint64_t low = key.bits >= 128  ? 0
                              : key.bits <= 64 ? ~std::uint64_t{0}
                                               : ~std::uint64_t{0} >> (key.bits - 64);
    if ((key.high & high) != 0 || (key.low & low) != 0) return false;
    if (i != 0 && (!starts_before(keys[i - 1], key) || covers(keys[i - 1], key))) return false;
  }
  return true;
}

}  // namespace sallyport
