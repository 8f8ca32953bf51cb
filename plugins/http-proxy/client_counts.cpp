#include "http-proxy/client_counts.hpp"

namespace sallyport::http_proxy {

bool ClientCounts::enter(std::uint64_t client) {
  if (total_.fetch_add(1, std::memory_order_relaxed) < most_) {
    Shard& own = shard(client);
    const std::lock_guard lock(own.mutex);
    std::size_t& count = own.counts[client];
    if (count < most_per_client_) {
      ++count;
      return true;
    }
  }
  total_.fetch_sub(1, std::memory_order_relaxed);
  return false;
}

void ClientCounts::leave(std::uint64_t client) {
  total_.fetch_sub(1, std::memory_order_relaxed);
  Shard& own = shard(client);
  const std::lock_guard lock(own.mutex);
  const auto entry = own.counts.find(client);
  if (entry != own.counts.end() && --entry->second == 0) own.counts.erase(entry);
}

}  // namespace sallyport::http_proxy
