// ClientCounts: how many flows there are, in all and for each client, over all threads of a plugin.
//
// Invariant  A client has an entry while it has a flow, and no longer.
// Lifetime   Outlives its places.
// Threads    Any; touched when a flow comes and goes, not in between.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <utility>

namespace sallyport::net {

class ClientCounts {
 public:
  ClientCounts(std::size_t most, std::size_t most_per_client) noexcept
      : most_(most), most_per_client_(most_per_client) {}

  // One flow's share, given back when it goes.
  class Place {
   public:
    Place(Place&& other) noexcept : counts_(std::exchange(other.counts_, nullptr)), client_(other.client_) {}
    Place& operator=(Place&&) = delete;
    ~Place() {
      if (counts_) counts_->leave(client_);
    }

   private:
    friend class ClientCounts;
    Place(ClientCounts& counts, std::optional<std::uint64_t> client) noexcept : counts_(&counts), client_(client) {}
    ClientCounts* counts_;
    std::optional<std::uint64_t> client_;
  };

  // Nothing: a bound is reached. No client: it has no bound of its own (a cell's one client).
  std::optional<Place> enter(std::optional<std::uint64_t> client);
  std::size_t total() const noexcept { return total_.load(std::memory_order_relaxed); }

 private:
  struct Shard {
    std::mutex mutex;
    std::unordered_map<std::uint64_t, std::size_t> counts;
  };
  Shard& shard(std::uint64_t client) noexcept { return shards_[(client ^ client >> 17) % shards_.size()]; }
  bool count(std::uint64_t client);
  void leave(std::optional<std::uint64_t> client);

  const std::size_t most_, most_per_client_;
  std::atomic<std::size_t> total_{0};
  std::array<Shard, 16> shards_;
};

}  // namespace sallyport::net
