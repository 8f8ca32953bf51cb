#include "wire/dns_svcb.hpp"

#include <algorithm>

#include "wire/dns_octets.hpp"

namespace sallyport::wire {
namespace {

constexpr std::uint16_t kMandatory = 0, kIpv4Hint = 4, kEch = 5, kIpv6Hint = 6;

bool leads_around(std::uint16_t key) { return key == kIpv4Hint || key == kEch || key == kIpv6Hint; }

// §8: keys that rise strictly, none of them `mandatory` itself.
bool is_key_list(std::span<const std::uint8_t> value) {
  if (value.empty() || value.size() % 2 != 0) return false;
  std::uint16_t last = kMandatory;
  for (std::size_t at = 0; at < value.size(); at += 2) {
    if (get16(value, at) <= last) return false;
    last = get16(value, at);
  }
  return true;
}

}  // namespace

Result<SvcbData> strip_svcb(std::span<const std::uint8_t> rdata, std::span<std::uint8_t> out) noexcept {
  if (rdata.size() < 3) return Error{ErrorCode::kIncomplete, "SVCB data ends early", rdata.size()};
  SvcbData data;
  data.priority = get16(rdata, 0);
  std::size_t at = 2;
  const Result<WireName> target = WireName::read(rdata, at);
  if (!target.ok()) return target.error();
  data.target = *target;
  std::copy_n(rdata.begin(), at, out.begin());
  data.octets = at;

  int last = -1;
  while (at < rdata.size()) {
    if (rdata.size() - at < 4) return Error{ErrorCode::kIncomplete, "SVCB parameter ends early", at};
    const std::uint16_t key = get16(rdata, at);
    const std::size_t size = get16(rdata, at + 2);
    if (int{key} <= last) return Error{ErrorCode::kMalformed, "SVCB keys do not rise", at};
    if (rdata.size() - at - 4 < size) return Error{ErrorCode::kIncomplete, "SVCB value ends early", at + 4};
    const std::span<const std::uint8_t> value = rdata.subspan(at + 4, size);
    if (key == kMandatory) {
      if (!is_key_list(value)) return Error{ErrorCode::kMalformed, "SVCB mandatory is not a list of keys", at + 4};
      for (std::size_t i = 0; i < size; i += 2)
        if (leads_around(get16(value, i))) data.is_usable = false;
    }
    last = key;
    if (data.priority != 0 && !leads_around(key)) {
      std::copy_n(rdata.begin() + static_cast<std::ptrdiff_t>(at), 4 + size,
                  out.begin() + static_cast<std::ptrdiff_t>(data.octets));
      data.octets += 4 + size;
    }
    at += 4 + size;
  }
  if (data.priority == 0) data.is_usable = true;  // nothing of it is heeded
  return data;
}

}  // namespace sallyport::wire
