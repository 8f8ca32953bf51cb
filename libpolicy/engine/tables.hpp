// Tables: a verified snapshot as typed arrays. Internal to engine/.
//
// Lifetime Views over the snapshot's bytes.
// Errors   verify() is the only way to fill one from bytes: whatever it returns, decide() may walk without further
// checks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "engine/address_index.hpp"
#include "engine/decide.hpp"
#include "engine/domain_index.hpp"
#include "engine/format.hpp"
#include "result/result.hpp"

namespace sallyport {

struct Tables {
  const format::Header* header = nullptr;
  std::span<const format::Rule> rules;
  std::span<const format::Port> ports;
  std::span<const format::PrefixKey> prefixes;
  std::span<const format::Client> clients;
  std::span<const format::Range> cells;
  std::span<const std::uint32_t> lists;
  std::span<const char> strings;
  std::span<const format::Range> files;
  std::span<const format::Http> http;
  std::span<const format::Limits> limits;
  DomainIndex index;
  AddressIndex addresses;

  std::span<const format::PrefixKey> prefixes_in(format::Range range) const noexcept {
    return {prefixes.data() + range.first, range.count};
  }
  bool is_in(format::Range range, const format::PrefixKey& address) const noexcept {
    return addresses.contains(range.first, prefixes_in(range), address);
  }
  std::span<const format::Port> ports_in(format::Range range) const noexcept {
    return {ports.data() + range.first, range.count};
  }
  std::span<const std::uint32_t> list_in(format::Range range) const noexcept {
    return {lists.data() + range.first, range.count};
  }
  std::span<const format::Range> cells_in(format::Range range) const noexcept {
    return {cells.data() + range.first, range.count};
  }
  std::string_view string_in(format::Range range) const noexcept { return {strings.data() + range.first, range.count}; }

  // The latest end of the trials these clients are on; 0: none.
  std::int64_t trial_until(std::uint64_t groups) const noexcept {
    std::int64_t until = header->observe_until;
    for (std::size_t i = 0; i < clients.size(); ++i) {
      if ((groups >> i & 1) != 0 && clients[i].observe_until > until) until = clients[i].observe_until;
    }
    return until;
  }
};

// bytes are aligned to 8. kCorrupt with the offset of what is wrong; nothing in bytes is followed before it was
// checked.
Result<Tables> verify(std::span<const std::byte> bytes);

}  // namespace sallyport
