#include "support/answer_cache.hpp"

#include <chrono>

namespace sallyport::net {

std::optional<ResolveResult> AnswerCache::find(const AnswerKey& key, Clock::time_point now) {
  const auto found = entries_.find(key);
  if (found == entries_.end()) return std::nullopt;
  if (found->second.expires <= now) {
    order_.erase(found->second.place);
    entries_.erase(found);
    return std::nullopt;
  }
  order_.splice(order_.end(), order_, found->second.place);
  ResolveResult result = found->second.result;
  result.ttl = static_cast<std::uint32_t>(std::chrono::ceil<std::chrono::seconds>(found->second.expires - now).count());
  return result;
}

void AnswerCache::store(const AnswerKey& key, const ResolveResult& result, Clock::time_point now) {
  if (result.ttl == 0 || capacity_ == 0) return;
  const Clock::time_point expires = now + std::chrono::seconds(result.ttl);
  if (const auto found = entries_.find(key); found != entries_.end()) {
    found->second.result = result;
    found->second.expires = expires;
    order_.splice(order_.end(), order_, found->second.place);
    return;
  }
  if (entries_.size() >= capacity_) {
    entries_.erase(order_.front());
    order_.pop_front();
  }
  const auto place = order_.insert(order_.end(), key);
  entries_.emplace(key, Entry{result, expires, place});
}

void AnswerCache::clear() {
  entries_.clear();
  order_.clear();
}

}  // namespace sallyport::net
