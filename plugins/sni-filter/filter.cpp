#include "sni-filter/filter.hpp"

#include <sys/resource.h>

#include <algorithm>

namespace sallyport::sni {
namespace {

// A flow has two sockets and, when it turns out to be bulk, up to two pipes; kSpare covers listeners and lookups. Flows
// beyond what descriptors allow would fail in the middle instead of at the door.
std::size_t affordable_flows(std::size_t wanted) {
  constexpr rlim_t kSpare = 128, kPerFlow = 3;
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return wanted;
  const rlim_t left = limit.rlim_cur > kSpare ? limit.rlim_cur - kSpare : kPerFlow;
  return std::max<std::size_t>(1, std::min<std::size_t>(wanted, left / kPerFlow));
}

}  // namespace

Filter::Filter(net::EventLoop& loop, const Config& config, Services services)
    : loop_(loop), config_(config), services_(std::move(services)), max_flows_(affordable_flows(config.max_flows)) {
  if (!services_.relay) services_.relay = &relay_;
}

Filter::~Filter() { close_listeners(); }

void Filter::add(net::Listener listener) {
  if (!listener.is_stream) return;  // the name may have a UDP socket too; nothing here speaks it
  net::error_code error;
  auto acceptor = std::make_shared<net::tcp::acceptor>(loop_.context());
  if (acceptor->assign(listener.is_v6 ? net::tcp::v6() : net::tcp::v4(), listener.fd.get(), error)) return;
  listener.fd.release();
  open_.push_back({listener.name, listener.client_id, acceptor});
  loop_.tasks().spawn(net::accept_loop(acceptor, [this, client = listener.client_id](net::tcp::socket socket) {
    ++counters_.accepted;
    if (flows() >= max_flows_) {
      ++counters_.shed;
      net::reset_on_close(socket.native_handle());
      return;
    }
    loop_.tasks().spawn(serve(std::move(socket), client));
  }));
}

void Filter::remove(const std::string& name, std::uint64_t client_id) {
  std::erase_if(open_, [&](const Open& open) {
    if (open.name != name || open.client_id != client_id) return false;
    net::error_code ignored;
    open.acceptor->close(ignored);
    return true;
  });
}

void Filter::close_listeners() {
  net::error_code ignored;
  for (const Open& open : open_) open.acceptor->close(ignored);
  open_.clear();
}

net::awaitable<void> Filter::serve(net::tcp::socket socket, std::uint64_t client_id) {
  struct Count {
    std::atomic<std::size_t>& flows;
    explicit Count(std::atomic<std::size_t>& f) : flows(f) { ++flows; }
    ~Count() { --flows; }
  };
  const Count count(flows_);
  Flow flow(config_, services_, counters_, std::move(socket), client_id, next_flow_++);
  co_await flow.run();
}

}  // namespace sallyport::sni
