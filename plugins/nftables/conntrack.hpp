// Conntrack entries of admitted flows: found, and deleted when what admitted them is gone (NFT-08).
//
// Errors   A text; entries that vanish meanwhile are no error.
// Threads  One.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "names/address.hpp"

namespace sallyport::nft {

struct TrackedFlow {
  Address source, destination;  // as the client sent it, before any translation
  std::uint8_t proto = 0;
  std::uint16_t port = 0;  // destination's
  std::uint32_t mark = 0;
};

// Shows every entry. Something: what failed.
std::optional<std::string> each_flow(const std::function<void(const TrackedFlow&)>& show);

// Deletes every entry that `condemned` says yes to; how many went.
struct Deleted {
  std::size_t count = 0;
  std::optional<std::string> error;
};
Deleted delete_flows(const std::function<bool(const TrackedFlow&)>& condemned);

}  // namespace sallyport::nft
