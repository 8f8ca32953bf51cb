#include "sni-filter/filter.hpp"

#include <sys/resource.h>

#include <algorithm>

#include "support/sockets.hpp"

namespace sallyport::sni {

// A flow has two sockets and, when it turns out to be bulk, up to two pipes; kSpare covers listeners and lookups. Flows
// beyond what descriptors allow would fail in the middle instead of at the door.
std::size_t affordable_flows(std::size_t wanted, bool copies) {
  constexpr rlim_t kSpare = 128;
  const rlim_t per_flow = copies ? 5 : 3;  // of both sockets, which a host holds that cannot borrow them
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return wanted;
  const rlim_t left = limit.rlim_cur > kSpare ? limit.rlim_cur - kSpare : per_flow;
  return std::max<std::size_t>(1, std::min<std::size_t>(wanted, left / per_flow));
}

Filter::Filter(net::EventLoop& loop, const Config& config, Services services, net::ClientCounts& counts)
    : loop_(loop),
      config_(config),
      poller_(net::Poller::of(loop.context())),
      services_(std::move(services)),
      counts_(counts) {
  if (!services_.relay) services_.relay = &relay_;
  services_.loop = &loop.context();
}

Filter::~Filter() { close_listeners(); }

Destination Filter::destination_at(const net::Listener& listener) const {
  const auto own = config_.listeners.find(listener.name);
  const Destination said = own == config_.listeners.end() ? config_.destination : own->second;
  if (said != Destination::kAuto) return said;
  if (listener.client_id != 0) return Destination::kSynthetic;
  const bool original = listener.is_transparent || services_.redirected.contains(listener.name);
  return original ? Destination::kOriginal : Destination::kName;
}

void Filter::add(net::Listener listener) {
  if (!listener.is_stream) return;  // the name may have a UDP socket too; nothing here speaks it
  net::error_code error;
  auto acceptor = std::make_shared<net::tcp::acceptor>(loop_.context());
  if (acceptor->assign(listener.is_v6 ? net::tcp::v6() : net::tcp::v4(), listener.fd.get(), error)) return;
  listener.fd.release();
  const Arrival here{.client_id = listener.client_id,
                     .client = {},
                     .destination = destination_at(listener),
                     .transparent = listener.is_transparent};
  open_.push_back({listener.name, listener.client_id, acceptor, here});
  loop_.tasks().spawn(net::accept_descriptors(acceptor, [this, here](net::UniqueFd fd) { take(std::move(fd), here); }));
}

void Filter::take(net::UniqueFd fd, const Arrival& here) {
  net::Stream socket(poller_);
  if (!socket.assign(fd.get())) return;
  fd.release();
  accepted(std::move(socket), here);
}

void Filter::accepted(net::Stream socket, Arrival arrival) {
  ++counters_.accepted;
  const bool gate = arrival.client_id == 0;
  std::uint16_t refusal = POLICY_REASON_OK;
  if (gate) refusal = identify(socket, arrival);
  if (refusal == POLICY_REASON_OK) {
    auto place = counts_.enter(gate ? std::optional(arrival.client_id) : std::nullopt);
    if (place) {
      arrival.number = next_flow_++;
      loop_.tasks().spawn(serve(std::move(socket), arrival, std::move(*place)));
      return;
    }
    ++counters_.shed;
    refusal = POLICY_REASON_LIMIT_EXCEEDED;
  } else {
    ++counters_.denied;
  }
  policy_query query{};
  query.struct_size = sizeof query;
  query.layer = POLICY_LAYER_TCP;
  query.proto = 6;
  query.client_id = arrival.client_id;
  if (arrival.client) query.client = &*arrival.client;
  policy_verdict verdict{};
  verdict.struct_size = sizeof verdict;
  verdict.verdict = POLICY_DENY;
  verdict.reason = refusal;
  verdict.rule = POLICY_NO_RULE;
  services_.reader->audit(query, verdict);
  net::reset_on_close(socket.native_handle());
}

// At a gate a client is who has the address.
std::uint16_t Filter::identify(net::Stream& socket, Arrival& arrival) {
  const auto peer = net::peer_endpoint(socket.native_handle());
  if (peer) arrival.client = net::canonical(*services_.edge, net::unmapped(peer->address()), peer->port());
  if (!arrival.client || !services_.clients) return POLICY_REASON_CLIENT_UNKNOWN;
  const policy_code code =
      services_.clients->identify(services_.reader->raw(), 0, &*arrival.client, &arrival.client_id);
  return code == POLICY_OK ? POLICY_REASON_OK : POLICY_REASON_CLIENT_UNKNOWN;
}

void Filter::remove(const std::string& name, std::uint64_t client_id) {
  std::erase_if(open_, [&](const Open& open) {
    if (open.name != name || open.client_id != client_id) return false;
    close_empty(open);
    return true;
  });
}

void Filter::close_empty(const Open& open) {
  net::close_empty_descriptors(*open.acceptor, [&](net::UniqueFd fd) { take(std::move(fd), open.here); });
}

void Filter::drain() {
  services_.draining = true;
  for (Flow* flow : flows_) flow->drain();
  for (const Open& open : open_) close_empty(open);
  open_.clear();
}

void Filter::close_listeners() {
  net::error_code ignored;
  for (const Open& open : open_) open.acceptor->close(ignored);
  open_.clear();
}

net::awaitable<void> Filter::serve(net::Stream socket, Arrival arrival, net::ClientCounts::Place) {
  Flow flow(config_, services_, counters_, std::move(socket), arrival);
  struct Listed {
    std::unordered_set<Flow*>& all;
    Flow* one;
    ~Listed() { all.erase(one); }
  };
  flows_.insert(&flow);
  const Listed listed{flows_, &flow};
  co_await flow.run();
}

}  // namespace sallyport::sni
