// sip_hash(): SipHash-2-4 (Aumasson, Bernstein 2012), for keys that a workload must not find collisions for.
//
// Form     key is random and the process's own.
// Threads  Any.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace sallyport {

std::uint64_t sip_hash(const std::array<std::uint64_t, 2>& key, std::string_view data) noexcept;

}  // namespace sallyport
