// Text as a JSON string, for audit details: quoted, ASCII alone, control octets escaped, cut to `most` octets of input.
// Octets above 0x7e are refused input, not text: each becomes \\xHH, so that a reader sees what came.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace sallyport::net {

inline constexpr std::size_t kMaxRaw = 255;  // UX, Audit: raw input
std::string json_text(std::string_view raw, std::size_t most = kMaxRaw);

}  // namespace sallyport::net
