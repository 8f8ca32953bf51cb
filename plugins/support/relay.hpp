// Relay: octets between two connected sockets, both ways, until both have ended or one has failed.
//
// Half-close  The end of one direction is passed on as shutdown(SHUT_WR), in one segment with the octets before it
// where
//             both are there; the other direction goes on. What ends second is left to the close that follows.
// Failure     A reset of one side resets the other, so that a cut-off transfer never looks complete.
// Memory      No buffer per flow: octets are read into the thread's Scratch and written at once; only what the receiver
//             does not take is kept. After kSpliceAfter octets a direction moves to splice(2) with a pooled pipe.
// Shape       A direction is a small state machine that the poller drives; the coroutine that awaits it sleeps until it
//             has ended.
// Limits      With a meter each octet is charged before it goes on: what is read at once is what the meter has room
// for,
//             what has to wait is held and its direction rests until a timer ends. Over a quota is a failure.
// Threads     The loop's.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <policy/plugin.hpp>
#include <span>
#include <vector>

#include "support/async.hpp"
#include "support/deadline.hpp"
#include "support/flow_ticket.hpp"
#include "support/handler_waiter.hpp"
#include "support/pipe_pool.hpp"
#include "support/stream.hpp"

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

  Relay(Stream& client, Stream& server, RelayResources& resources) noexcept;

  // Everything until the end of both directions, an error, or `idle` without an octet either way; then both are closed.
  awaitable<void> run(std::chrono::milliseconds idle);
  // The same without `idle`, for a caller that has a time limit of its own.
  awaitable<void> run();

  // The pieces, for a caller that reads one direction itself. Each returns false after fail().
  awaitable<bool> pump_up() { return pump(up_); }
  awaitable<bool> pump_down() { return pump(down_); }
  awaitable<bool> write_up(std::span<const std::uint8_t> octets) { return write(up_, octets); }
  awaitable<bool> write_down(std::span<const std::uint8_t> octets) { return write(down_, octets); }
  // Words of our own to the client: charged to nobody.
  awaitable<bool> say_down(std::span<const std::uint8_t> octets) { return send(client_, octets, counts_.down); }
  // Reads what there is, waiting for the first octet. 0: the end, or fail().
  awaitable<std::size_t> read_up(std::span<std::uint8_t> buffer) { return read(client_, buffer); }
  awaitable<std::size_t> read_down(std::span<std::uint8_t> buffer) { return read(server_, buffer); }
  // Ends after `idle` without progress.
  awaitable<void> watch(std::chrono::milliseconds idle);

  // Revoked, the flow ends before its next octets, whenever the revocation itself arrives. The ticket outlives the
  // relay.
  void watch_ticket(const FlowTicket* ticket) noexcept { ticket_ = ticket; }

  // What goes through here is charged to it. The meter outlives the relay, and is asked anew for every charge.
  void watch_meter(policy::Meter* meter) noexcept { meter_ = meter; }
  // By which limit it failed; POLICY_LIMIT_NONE: it did not, for that reason.
  std::uint32_t exceeded() const noexcept { return exceeded_; }

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
  // Invariant: while running_, it waits for one side of one socket, or step() is at work.
  class Direction final : public Poller::Waiter {
   public:
    Direction(Relay& relay, Stream& from, Stream& to, std::uint64_t& count, std::uint32_t charge) noexcept
        : ended(from.poller()), relay_(relay), from_(from), to_(to), count_(count), charge_(charge) {}
    ~Direction() { stop(); }
    Direction(const Direction&) = delete;
    Direction& operator=(const Direction&) = delete;

    // Goes as far as it can; then ready() goes on.
    void start();
    void stop();
    bool is_running() const noexcept { return running_; }
    bool has_ended_well() const noexcept { return !running_ && well_; }
    // Its end needs no shutdown of the socket that it writes to: once both have ended, that is closed.
    void end_with(const Direction* other) noexcept { other_ = other; }
    // A rest is over, for whatever reason but its own: the sockets have been closed.
    void interrupt();

    void ready() override;
    void aborted() override;
    void destroy() override;

    Signal ended;

   private:
    friend class Relay;
    enum class Step : std::uint8_t { kMore, kWaitToRead, kWaitToWrite, kRest, kEnd, kFailed };
    void step();
    Step copy();
    Step splice();
    Step flush();
    void wait(Stream& stream, Poller::Side side);
    void rest();
    void end();
    // What may be read at once. charge(): false, and none of it may go on; rest_ says if it has to wait.
    std::size_t room(std::size_t most) const;
    bool charge(std::uint64_t octets);

    Relay& relay_;
    Stream& from_;
    Stream& to_;
    std::uint64_t& count_;
    const std::uint32_t charge_;  // POLICY_CHARGE_...
    const Direction* other_ = nullptr;
    std::uint64_t began_ = 0;              // count_ at the start
    std::uint64_t turn_ = 0;               // octets since somebody else had the thread
    std::vector<std::uint8_t> left_;       // read, and not taken
    std::size_t left_sent_ = 0;            // of those
    std::optional<PipePool::Lease> pipe_;  // bulk
    std::chrono::nanoseconds rest_{0};
    std::unique_ptr<Deadline> rest_timer_;       // once one was needed
    asio::steady_timer* rests_until_ = nullptr;  // of a write() that waits
    bool resting_ = false;
    Stream* waits_on_ = nullptr;
    Poller::Side waits_for_ = Poller::kRead;
    bool running_ = false, well_ = false, read_all_ = false;
  };

  awaitable<bool> pump(Direction& direction);
  awaitable<bool> write(Direction& direction, std::span<const std::uint8_t> octets);
  awaitable<bool> send(Stream& to, std::span<const std::uint8_t> octets, std::uint64_t& count);
  awaitable<std::size_t> read(Stream& from, std::span<std::uint8_t> buffer);
  awaitable<bool> wait(Stream& stream, Poller::Side side);
  bool usable(const Stream& stream) const noexcept { return !failed_ && stream.is_open(); }
  bool revoked();  // fail()s if so
  void progress() noexcept { last_ = std::max(last_, Clock::now()); }
  void interrupt();

  Stream& client_;
  Stream& server_;
  RelayResources& resources_;
  const FlowTicket* ticket_ = nullptr;
  policy::Meter* meter_ = nullptr;
  std::uint32_t exceeded_ = POLICY_LIMIT_NONE;
  RelayCounts counts_;
  Clock::time_point last_;  // a rest counts as progress up to its end
  bool failed_ = false;
  Direction up_, down_;
};

}  // namespace sallyport::net
