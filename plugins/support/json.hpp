// Text as a JSON string, for audit details: quoted and ASCII alone. Inside it is the escaped form that a reader of the
// audit sees: a backslash doubled, \xHH for every octet outside printable ASCII; cut to `most` characters of that form.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace sallyport::net {

inline constexpr std::size_t kMaxRaw = 255;  // UX, Audit: raw input
std::string json_text(std::string_view raw, std::size_t most = kMaxRaw);

}  // namespace sallyport::net
