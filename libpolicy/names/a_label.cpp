// libidn2 decodes the label, checks the code points and writes it again; the label is good if it comes back as it was.
//
// The same check runs on a policy, on what a user types and on every SNI, Host and QNAME. A laxer one for the hot path
// would let `explain` refuse a name that enforcement lets through a wildcard. It costs about 1 us and an allocation
// inside libidn2, for names that have such a label. Emoji domains fail it: IDNA 2008 does not allow them.
#include "names/a_label.hpp"

#include <idn2.h>

#include <array>
#include <cstdint>
#include <cstring>

namespace sallyport {

const char* why_not_an_a_label(std::string_view label) noexcept {
  std::array<std::uint8_t, 64> text{};
  if (label.size() < 5 || label.size() >= text.size()) return "\"xn--\" with nothing behind it";
  if (label.ends_with('-')) return "an A-label that decodes to plain ASCII";
  // Ours to refuse: under IDN2_USE_STD3_ASCII_RULES libidn2 2.3 drops what the rules forbid instead of failing.
  if (label.find('_') != std::string_view::npos) return "'_' inside an A-label";
  std::memcpy(text.data(), label.data(), label.size());
  std::uint8_t* again = nullptr;
  const int status = idn2_lookup_u8(text.data(), &again, IDN2_NONTRANSITIONAL);
  if (status != IDN2_OK) return "an A-label that does not decode to valid Unicode (IDNA 2008)";
  const bool same = std::string_view(reinterpret_cast<const char*>(again)) == label;
  idn2_free(again);
  return same ? nullptr : "an A-label that its own decoding would not be written as";
}

}  // namespace sallyport
