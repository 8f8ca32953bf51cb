#include "host/warden/own_addresses.hpp"

#include <ifaddrs.h>
#include <netinet/in.h>

#include <algorithm>
#include <memory>

namespace sallyport {

std::vector<Address> own_addresses() {
  std::vector<Address> found;
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) return found;
  const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> owned(list, ::freeifaddrs);
  for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
    if (entry->ifa_addr == nullptr) continue;
    Result<Address> address = Error{};
    if (entry->ifa_addr->sa_family == AF_INET) address = Address::from_sockaddr(entry->ifa_addr, sizeof(sockaddr_in));
    if (entry->ifa_addr->sa_family == AF_INET6) address = Address::from_sockaddr(entry->ifa_addr, sizeof(sockaddr_in6));
    if (address.ok()) found.push_back(*address);  // link-local ones carry a zone, and are guarded anyway
  }
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  return found;
}

}  // namespace sallyport
