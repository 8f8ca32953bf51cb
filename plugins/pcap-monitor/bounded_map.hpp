// BoundedMap: a hash map that forgets its least recently used entry when it is full, and counts that it did.
//
// Invariant  order_ holds exactly the entries of index_, most recently used first.
// Threads    One at a time. Pointers are valid until the entry goes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <unordered_map>
#include <utility>

#include "pcap-monitor/flow_id.hpp"

namespace sallyport::monitor {

template <typename Key, typename Value>
class BoundedMap {
 public:
  using Entry = std::pair<const Key, Value>;

  BoundedMap(std::size_t most, std::uint64_t seed) : most_(most), index_(16, HashOf{seed}) {}

  // Called with an entry before it is forgotten for want of room.
  std::function<void(Entry&)> on_evicted;

  Value* find(const Key& key) {
    const auto found = index_.find(key);
    if (found == index_.end()) return nullptr;
    order_.splice(order_.begin(), order_, found->second);
    return &found->second->second;
  }
  Value& get(const Key& key) {
    if (Value* found = find(key)) return *found;
    if (index_.size() >= most_) {
      ++evicted_;
      Entry& oldest = order_.back();
      if (on_evicted) on_evicted(oldest);
      index_.erase(oldest.first);
      order_.pop_back();
    }
    order_.emplace_front(std::piecewise_construct, std::forward_as_tuple(key), std::forward_as_tuple());
    index_.emplace(key, order_.begin());
    return order_.front().second;
  }
  void erase(const Key& key) {
    const auto found = index_.find(key);
    if (found == index_.end()) return;
    order_.erase(found->second);
    index_.erase(found);
  }
  Entry* oldest() { return order_.empty() ? nullptr : &order_.back(); }
  std::size_t size() const noexcept { return index_.size(); }
  std::uint64_t evicted() const noexcept { return evicted_; }

 private:
  std::size_t most_;
  std::list<Entry> order_;
  std::unordered_map<Key, typename std::list<Entry>::iterator, HashOf> index_;
  std::uint64_t evicted_ = 0;
};

}  // namespace sallyport::monitor
