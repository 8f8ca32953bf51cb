#include "support/upstream.hpp"

#include <algorithm>

namespace sallyport::net {
namespace {

constexpr std::string_view kBlank = " \t\r";

std::string_view take_word(std::string_view& line) {
  line.remove_prefix(std::min(line.find_first_not_of(kBlank), line.size()));
  const std::string_view word = line.substr(0, line.find_first_of(kBlank));
  line.remove_prefix(word.size());
  return word;
}

}  // namespace

std::string text_of(const std::vector<Upstream>& upstreams) {
  std::string out;
  for (const Upstream& upstream : upstreams) {
    if (!out.empty()) out += ", ";
    const std::string address = upstream.address.text();
    out += (upstream.address.is_v4() ? address : "[" + address + "]") + ":" + std::to_string(upstream.port);
  }
  return out;
}

std::vector<Upstream> upstreams_from_resolv_conf(std::string_view text) {
  std::vector<Upstream> upstreams;
  while (!text.empty()) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    if (take_word(line) != "nameserver") continue;
    const Result<Address> address = Address::parse(take_word(line));
    if (!address.ok()) continue;
    const Upstream upstream{*address};
    if (std::find(upstreams.begin(), upstreams.end(), upstream) == upstreams.end()) upstreams.push_back(upstream);
  }
  return upstreams;
}

}  // namespace sallyport::net
