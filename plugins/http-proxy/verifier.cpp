#include "http-proxy/verifier.hpp"

#include <string.h>

#include <optional>

namespace sallyport::http_proxy {

policy::Status Verifier::start(const policy::Host& host, const policy_clients_v1* clients) {
  clients_ = clients;
  return loop_.start(host, [this](policy::Reader& reader) { reader_ = &reader; }, {});
}

void Verifier::stop() {
  stopping_ = true;
  loop_.stop();
}

net::awaitable<policy_code> Verifier::verify(Login login, net::EventLoop* home, net::Mailbox<policy_code>* mailbox) {
  std::optional<net::ClientCounts::Place> place = waiting_.enter(login.client);
  if (!place) co_return POLICY_EXHAUSTED;
  const std::optional<policy_code> code = co_await mailbox->ask(
      [&](std::uint64_t ticket) {
        loop_.post([this, home, mailbox, ticket, login = std::move(login), place = *std::move(place)]() mutable {
          if (stopping_) return;
          const policy_code said =
              clients_->verify(reader_->raw(), &login.peer, policy::str(login.user), policy::str(login.password));
          ::explicit_bzero(login.password.data(), login.password.size());
          home->post([mailbox, ticket, said] { mailbox->deliver(ticket, said); });
        });
      },
      net::Clock::now() + kPatience);
  co_return code.value_or(POLICY_EXHAUSTED);
}

}  // namespace sallyport::http_proxy
