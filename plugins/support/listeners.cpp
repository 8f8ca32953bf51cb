#include "support/listeners.hpp"

#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>

namespace sallyport::net {

bool describe(Listener& listener) {
  const auto option = [fd = listener.fd.get()](int level, int name) {
    int value = 0;
    socklen_t length = sizeof value;
    return ::getsockopt(fd, level, name, &value, &length) == 0 ? value : -1;
  };
  const int type = option(SOL_SOCKET, SO_TYPE), domain = option(SOL_SOCKET, SO_DOMAIN);
  listener.is_stream = type == SOCK_STREAM;
  listener.is_v6 = domain == AF_INET6;
  listener.is_transparent =
      listener.is_v6 ? option(SOL_IPV6, IPV6_TRANSPARENT) > 0 : option(SOL_IP, IP_TRANSPARENT) > 0;
  return type >= 0 && domain >= 0;
}

policy::Status Listeners::open(const policy::Host& host, const std::vector<std::string>& names, Added added,
                               Removed removed) {
  const auto* sockets = host.get<policy_sockets_v1>(POLICY_SOCKETS_ID);
  if (!sockets) return {POLICY_UNSUPPORTED, "the host offers no policy.sockets/1"};
  added_ = std::move(added);
  removed_ = std::move(removed);
  for (const std::string& name : names) {
    const policy_code code = sockets->on_listener(host.raw(), policy::str(name), &Listeners::on_listener, this);
    if (code != POLICY_OK) return {code, "listener `" + name + "` is not known to the host", "/listen"};
  }
  return {};
}

void Listeners::on_listener(void* self, std::uint32_t added, policy_str name, int fd,
                            std::uint64_t client_id) noexcept {
  auto& listeners = *static_cast<Listeners*>(self);
  Listener listener{std::string(policy::view(name)), client_id, UniqueFd(fd)};
  if (!added) {
    listeners.loop_.post(
        [&listeners, name = std::move(listener.name), client_id] { listeners.removed_(name, client_id); });
    return;
  }
  if (!describe(listener)) return;
  listeners.loop_.post([&listeners, moved = std::move(listener)]() mutable { listeners.added_(std::move(moved)); });
}

bool is_of_one_connection(int error) noexcept {
  switch (error) {
    case ECONNABORTED:
    case EINTR:
    case EPROTO:
    case EPERM:
    case ENETDOWN:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case ENONET:
    case ENOPROTOOPT:
      return true;
    default:
      return false;
  }
}

void close_empty(tcp::acceptor& acceptor, const std::function<void(tcp::socket)>& on_connection) {
  error_code gone;
  const tcp protocol = acceptor.local_endpoint(gone).protocol();
  close_empty_descriptors(acceptor, [&](UniqueFd fd) {
    tcp::socket socket(acceptor.get_executor());
    error_code error;
    if (gone || socket.assign(protocol, fd.get(), error)) return;
    fd.release();
    socket.native_non_blocking(true, error);
    on_connection(std::move(socket));
  });
}

void close_empty_descriptors(tcp::acceptor& acceptor, const std::function<void(UniqueFd)>& on_connection) {
  for (unsigned i = 0; i < kMostQueued; ++i) {
    UniqueFd fd(::accept4(acceptor.native_handle(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (fd.valid()) {
      on_connection(std::move(fd));
    } else if (!is_of_one_connection(errno)) {
      break;
    }
  }
  error_code ignored;
  acceptor.close(ignored);
}

awaitable<void> accept_loop(std::shared_ptr<tcp::acceptor> acceptor, std::function<void(tcp::socket)> on_connection) {
  error_code gone;
  const tcp protocol = acceptor->local_endpoint(gone).protocol();
  if (gone) co_return;
  co_await accept_descriptors(acceptor, [acceptor = acceptor.get(), protocol, &on_connection](UniqueFd fd) {
    tcp::socket socket(acceptor->get_executor());
    error_code error;
    if (socket.assign(protocol, fd.get(), error)) return;
    fd.release();
    socket.native_non_blocking(true, error);
    on_connection(std::move(socket));
  });
}

awaitable<void> accept_descriptors(std::shared_ptr<tcp::acceptor> acceptor,
                                   std::function<void(UniqueFd)> on_connection) {
  asio::steady_timer pause(acceptor->get_executor());
  unsigned burst = 0;
  while (acceptor->is_open()) {
    const int fd = ::accept4(acceptor->native_handle(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      on_connection(UniqueFd(fd));
      if (++burst == kAcceptBurst) {  // who is served already gets a turn too
        burst = 0;
        co_await asio::post(acceptor->get_executor(), asio::use_awaitable);
      }
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      burst = 0;
      const auto [error] = co_await acceptor->async_wait(tcp::acceptor::wait_read, kAsResult);
      if (error) co_return;
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
      pause.expires_after(kAcceptPause);
      const auto [error] = co_await pause.async_wait(kAsResult);
      if (error) co_return;
    } else if (!is_of_one_connection(errno)) {
      co_return;  // EBADF, EINVAL: the listener is gone
    }
  }
}

}  // namespace sallyport::net
