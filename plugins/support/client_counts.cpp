#include "support/client_counts.hpp"

namespace sallyport::net {

std::optional<ClientCounts::Place> ClientCounts::enter(std::optional<std::uint64_t> client) {
  if (total_.fetch_add(1, std::memory_order_relaxed) < most_ && (!client || count(*client)))
    return Place(*this, client);
  total_.fetch_sub(1, std::memory_order_relaxed);
  return std::nullopt;
}

bool ClientCounts::count(std::uint64_t client) {
  Shard& own = shard(client);
  const std::lock_guard lock(own.mutex);
  const auto entry = own.counts.try_emplace(client, 0).first;
  if (entry->second >= most_per_client_) return false;
  ++entry->second;
  return true;
}

void ClientCounts::leave(std::optional<std::uint64_t> client) {
  total_.fetch_sub(1, std::memory_order_relaxed);
  if (!client) return;
  Shard& own = shard(*client);
  const std::lock_guard lock(own.mutex);
  const auto entry = own.counts.find(*client);
  if (entry != own.counts.end() && --entry->second == 0) own.counts.erase(entry);
}

}  // namespace sallyport::net
