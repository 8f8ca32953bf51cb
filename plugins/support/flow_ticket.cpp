#include "support/flow_ticket.hpp"

namespace sallyport::net {

FlowTicket& FlowTicket::operator=(FlowTicket&& other) noexcept {
  if (this != &other) {
    close(POLICY_REASON_REVOKED);
    state_ = std::move(other.state_);
  }
  return *this;
}

policy_code FlowTicket::open(const policy_flow_v1* flow, policy::Reader& reader, asio::io_context& loop,
                             const policy_query& query, const policy_verdict& verdict,
                             std::function<void(std::uint16_t reason)> on_revoked) {
  close(POLICY_REASON_REVOKED);
  if (!flow) return POLICY_OK;
  auto state = std::make_shared<State>(loop);
  state->api = flow;
  state->on_revoked = std::move(on_revoked);
  const policy_code code = flow->open(reader.raw(), &query, &verdict, &FlowTicket::revoked, state.get(), &state->flow);
  if (code == POLICY_OK) state_ = std::move(state);
  return code;
}

// [any][leaf]: close() waits until no call is running, so the state is there.
void FlowTicket::revoked(void* user, std::uint64_t, std::uint16_t reason) noexcept {
  auto* state = static_cast<State*>(user);
  asio::post(state->loop, [weak = state->weak_from_this(), reason] {
    const auto live = weak.lock();
    if (live && live->on_revoked) live->on_revoked(reason);
  });
}

void FlowTicket::attach(Stream& stream) {
  if (!state_ || !stream.is_open()) return;
  const int fd = stream.native_handle();
  if (!POLICY_HAS(state_->api, take_back)) {
    if (state_->api->attach(state_->flow, fd) == POLICY_OK) stream.was_copied();
  } else if (state_->api->lend(state_->flow, fd) == POLICY_OK) {
    stream.lent_to(state_);
  }
}

void FlowTicket::close(std::uint16_t reason) {
  if (!state_) return;
  const std::shared_ptr<State> state = std::move(state_);
  state_.reset();
  state->on_revoked = nullptr;
  state->api->close(std::exchange(state->flow, nullptr), state->up, state->down, reason);
}

}  // namespace sallyport::net
