// FlowTicket: one ticket of policy.flow/1 with one owner. Its revocation arrives on the loop.
//
// Sockets   Lent to the host where it can borrow, else copied by it: either way it can end the flow by itself.
// Lifetime  close() once, when the flow ends; without it the ticket is closed with what counted() said last. The
//           callback does not run after close(), nor after the owner has gone.
// Threads   The loop's. The host may revoke from any thread: that is posted.
// Errors    open(): POLICY_DENIED if a newer policy denies the flow, and then there is no ticket.
#pragma once

#include <policy/ext/flow.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <policy/plugin.hpp>

#include "support/async.hpp"
#include "support/stream.hpp"

namespace sallyport::net {

class FlowTicket {
 public:
  FlowTicket() = default;  // none: live(), and closing it does nothing
  FlowTicket(FlowTicket&&) noexcept = default;
  FlowTicket& operator=(FlowTicket&& other) noexcept;
  ~FlowTicket() { close(POLICY_REASON_REVOKED); }

  // flow may be nullptr, where the host has no policy.flow/1: POLICY_OK, and no ticket.
  policy_code open(const policy_flow_v1* flow, policy::Reader& reader, asio::io_context& loop,
                   const policy_query& query, const policy_verdict& verdict,
                   std::function<void(std::uint16_t reason)> on_revoked);
  bool valid() const noexcept { return state_ != nullptr; }
  std::uint64_t id() const { return state_ ? state_->api->id(state_->flow) : 0; }
  bool live() const { return !state_ || state_->api->live(state_->flow) != 0; }

  // The stream takes itself back before it is closed.
  void attach(Stream& stream);
  void counted(std::uint64_t up, std::uint64_t down) noexcept {
    if (state_) state_->up = up, state_->down = down;
  }
  // Writes the audit's closing record too.
  void close(std::uint16_t reason);

 private:
  struct State final : std::enable_shared_from_this<State>, Stream::Borrower {
    explicit State(asio::io_context& context) noexcept : loop(context) {}
    void take_back(int fd) noexcept override {
      if (flow) api->take_back(flow, fd);
    }
    asio::io_context& loop;
    const policy_flow_v1* api = nullptr;
    policy_flow* flow = nullptr;                    // nullptr: closed
    std::function<void(std::uint16_t)> on_revoked;  // the loop's thread alone
    std::uint64_t up = 0, down = 0;
  };
  static void revoked(void* user, std::uint64_t flow, std::uint16_t reason) noexcept;

  std::shared_ptr<State> state_;
};

}  // namespace sallyport::net
