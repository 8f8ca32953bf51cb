// Relay: octets between two connected sockets, both ways, until both have ended or one has failed.
//
// Half-close  The end of one direction is passed on as shutdown(SHUT_WR); the other direction goes on.
// Failure     A reset of one side resets the other, so that a cut-off transfer never looks complete.
// Memory      No buffer per flow: octets are read into the thread's Scratch and written at once; only what the receiver
// does not
//             take is kept. After kSpliceAfter octets a direction moves to splice(2) with a pooled pipe.
// Threads     The loop's. The sockets are non-blocking (native_non_blocking).
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>

#include "support/async.hpp"
#include "support/flow_ticket.hpp"
#include "support/pipe_pool.hpp"

namespace sallyport::net {

// What the flows of one thread share. Scratch is only valid between two suspensions.
struct RelayResources {
  static constexpr std::size_t kScratchOctets = 64 * 1024;
  PipePool pipes;
  std::unique_ptr<std::array<std::uint8_t, kScratchOctets>> scratch =
      std::make_unique<std::array<std::uint8_t, kScratchOctets>>();
};

struct RelayCounts {
  std::uint64_t up = 0, down = 0;  // octets that the server, the client has been given
};

// One flow's two sockets and what both directions know of each other.
class Relay {
 public:
  static constexpr std::uint64_t kSpliceAfter = 64 * 1024;  // PERF 5: below, a copy is cheaper than a pipe
  static constexpr std::uint64_t kTurn = 1024 * 1024;       // octets before another flow gets the thread

  Relay(tcp::socket& client, tcp::socket& server, RelayResources& resources) noexcept
      : client_(client), server_(server), resources_(resources), last_(Clock::now()) {}

  // Everything until the end of both directions, an error, or `idle` without an octet either way; then both are closed.
  awaitable<void> run(std::chrono::milliseconds idle);

  // The pieces, for a caller that reads one direction itself. Each returns false after fail().
  awaitable<bool> pump_up() { return pump(client_, server_, counts_.up); }
  awaitable<bool> pump_down() { return pump(server_, client_, counts_.down); }
  awaitable<bool> write_up(std::span<const std::uint8_t> octets) { return write(server_, octets, counts_.up); }
  awaitable<bool> write_down(std::span<const std::uint8_t> octets) { return write(client_, octets, counts_.down); }
  // Reads what there is, waiting for the first octet. 0: the end, or fail().
  awaitable<std::size_t> read_up(std::span<std::uint8_t> buffer) { return read(client_, buffer); }
  awaitable<std::size_t> read_down(std::span<std::uint8_t> buffer) { return read(server_, buffer); }
  // Ends after `idle` without progress.
  awaitable<void> watch(std::chrono::milliseconds idle);

  // Revoked, the flow ends before its next octets, whenever the revocation itself arrives. The ticket outlives the
  // relay.
  void watch_ticket(const FlowTicket* ticket) noexcept { ticket_ = ticket; }

  // Closes the server's side alone: what the client still gets comes from here. Operations on it end without fail().
  void end_server();
  // Closes both sides as they are: what they have been given is still delivered. Operations end without fail().
  void close();
  // Resets both sides, which drops what is on its way; every operation on them ends.
  void fail();
  bool failed() const noexcept { return failed_; }
  const RelayCounts& counts() const noexcept { return counts_; }
  Clock::time_point last_progress() const noexcept { return last_; }

 private:
  awaitable<bool> pump(tcp::socket& from, tcp::socket& to, std::uint64_t& count);
  awaitable<bool> splice(tcp::socket& from, tcp::socket& to, std::uint64_t& count, PipePool::Lease pipe);
  awaitable<bool> write(tcp::socket& to, std::span<const std::uint8_t> octets, std::uint64_t& count);
  awaitable<std::size_t> read(tcp::socket& from, std::span<std::uint8_t> buffer);
  awaitable<bool> wait(tcp::socket& socket, tcp::socket::wait_type what);
  bool usable(const tcp::socket& socket) const noexcept { return !failed_ && socket.is_open(); }
  bool revoked();  // fail()s if so
  void progress() noexcept { last_ = Clock::now(); }
  bool end_of(tcp::socket& to);

  tcp::socket& client_;
  tcp::socket& server_;
  RelayResources& resources_;
  const FlowTicket* ticket_ = nullptr;
  RelayCounts counts_;
  Clock::time_point last_;
  bool failed_ = false;
};

}  // namespace sallyport::net
