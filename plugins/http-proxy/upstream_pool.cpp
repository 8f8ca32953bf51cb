#include "http-proxy/upstream_pool.hpp"

#include <sys/socket.h>

#include <cerrno>

namespace sallyport::http_proxy {
namespace {

// Octets that answer nothing, an end or an error: such a connection is of no more use.
bool is_quiet(const net::Stream& socket) {
  char octet;
  return ::recv(socket.native_handle(), &octet, 1, MSG_PEEK | MSG_DONTWAIT) < 0 &&
         (errno == EAGAIN || errno == EWOULDBLOCK);
}

}  // namespace

void UpstreamPool::drop(Order::iterator entry) {
  const auto own = by_client_.find(entry->client);
  own->second.remove(entry);
  if (own->second.empty()) by_client_.erase(own);
  idle_.erase(entry);
}

std::optional<Upstream> UpstreamPool::take(const std::string& client, std::string_view origin,
                                           net::Clock::time_point now) {
  const auto own = by_client_.find(client);
  if (own == by_client_.end()) return std::nullopt;
  std::optional<Upstream> found;
  std::list<Order::iterator> candidates = own->second;                            // drop() edits the list, and ends it
  for (auto it = candidates.rbegin(); it != candidates.rend() && !found; ++it) {  // the youngest lives longest
    const Order::iterator entry = *it;
    if (entry->origin != origin) continue;
    if (now - entry->since < kept_for_ && is_quiet(entry->upstream.socket)) found = std::move(entry->upstream);
    drop(entry);
  }
  return found;
}

void UpstreamPool::keep(const std::string& client, std::string origin, Upstream upstream, net::Clock::time_point now) {
  if (most_per_client_ == 0 || kept_for_ <= net::Clock::duration::zero()) return;
  const auto own = by_client_.find(client);
  if (own != by_client_.end() && own->second.size() >= most_per_client_) drop(own->second.front());
  if (idle_.size() >= kMost) drop(idle_.begin());
  idle_.push_back({client, std::move(origin), std::move(upstream), now});
  by_client_[client].push_back(std::prev(idle_.end()));
}

void UpstreamPool::sweep(net::Clock::time_point now) {
  for (auto it = idle_.begin(); it != idle_.end();) {
    const auto current = it++;
    if (now - current->since >= kept_for_ || !is_quiet(current->upstream.socket)) drop(current);
  }
}

void UpstreamPool::clear() {
  by_client_.clear();
  idle_.clear();
}

}  // namespace sallyport::http_proxy
