// The word of a POLICY_REASON_* as users see it; "no_rule", the strictest, for a value this build does not know.
#pragma once

#include <cstdint>
#include <string_view>

namespace sallyport::net {

std::string_view reason_word(std::uint16_t reason) noexcept;

}  // namespace sallyport::net
