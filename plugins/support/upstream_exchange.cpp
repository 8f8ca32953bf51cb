#include "support/upstream_exchange.hpp"

#include <algorithm>
#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <span>

#include "wire/dns_response.hpp"
#include "wire/dns_writer.hpp"

namespace sallyport::net {
namespace {

using namespace asio::experimental::awaitable_operators;

// More than the kDnsMaxUdp we ask for; a datagram that is longer still is cut, and then malformed.
constexpr std::size_t kDatagramOctets = 4096;

asio::ip::address address_of(const Address& address) {
  if (address.is_v4()) return asio::ip::address_v4(address.v4_host_order());
  return asio::ip::address_v6(address.octets());
}

enum class Match : std::uint8_t { kForeign, kUnreadable, kOtherCase, kOurs };

Match match(std::span<const std::uint8_t> message, const UpstreamQuestion& question) {
  const std::optional<wire::DnsHeader> header = wire::DnsHeader::read(message);
  if (!header || header->id != question.id || !header->is_response()) return Match::kForeign;
  const Result<wire::DnsResponseReader> reader = wire::DnsResponseReader::open(message);
  if (!reader.ok()) return Match::kUnreadable;
  const wire::DnsQuestion& echoed = reader->question();
  if (!(echoed.name == question.name) || echoed.type != question.type || echoed.klass != wire::kClassIn)
    return Match::kForeign;
  return echoed.name.has_same_case(question.name) ? Match::kOurs : Match::kOtherCase;
}

// What is missing is ours, and says nothing about the upstream.
bool is_shortage(const error_code& error) {
  return error == asio::error::no_descriptors || error == asio::error::no_memory ||
         error == asio::error::no_buffer_space || error == boost::system::errc::too_many_files_open_in_system;
}

// Connected: the kernel drops what comes from anywhere else, and tells us of ICMP errors. It draws the port too; the
// one used just before is not taken again, so that two queries in a row never share one (DNS-28).
error_code connect_fresh(const udp::endpoint& peer, std::uint16_t* last_port, udp::socket& socket) {
  error_code error;
  socket.open(peer.protocol(), error);
  if (!error) socket.connect(peer, error);
  if (error) return error;
  if (socket.local_endpoint(error).port() == *last_port && !error) {
    udp::socket other(socket.get_executor());  // while the first one still holds its port
    other.open(peer.protocol(), error);
    if (!error) other.connect(peer, error);
    if (error) return error;
    socket = std::move(other);
  }
  *last_port = socket.local_endpoint(error).port();
  return error;
}

// Without deadline: the caller races it against one.
awaitable<Exchange> converse_tcp(Upstream upstream, UpstreamQuestion question, ResolverCounters* counters) {
  Exchange exchange;
  exchange.outcome = ExchangeOutcome::kUnreachable;
  const auto executor = co_await asio::this_coro::executor;
  tcp::socket socket(executor);
  const auto [connect_error] = co_await socket.async_connect({address_of(upstream.address), upstream.port}, kAsResult);
  if (connect_error && is_shortage(connect_error)) {
    exchange.outcome = ExchangeOutcome::kNoSocket;
    ++counters->no_sockets;
  }
  if (connect_error) co_return exchange;

  // Length and message in one write, so in one segment (RFC 7766 §8).
  std::array<std::uint8_t, 2 + wire::kDnsQueryMax> query;
  const std::size_t octets =
      wire::write_query(std::span(query).subspan<2>(), question.id, question.name, question.type);
  query[0] = static_cast<std::uint8_t>(octets >> 8);
  query[1] = static_cast<std::uint8_t>(octets);
  const auto [write_error, written] = co_await asio::async_write(socket, asio::buffer(query, 2 + octets), kAsResult);
  if (write_error) co_return exchange;

  std::array<std::uint8_t, 2> length;
  const auto [length_error, length_read] = co_await asio::async_read(socket, asio::buffer(length), kAsResult);
  if (length_error) co_return exchange;
  std::vector<std::uint8_t> message(static_cast<std::size_t>(length[0] << 8 | length[1]));
  const auto [read_error, read] = co_await asio::async_read(socket, asio::buffer(message), kAsResult);
  if (read_error) co_return exchange;

  // An upstream that changes letters is why we may be here.
  const Match what = match(message, question);
  if (what == Match::kForeign || what == Match::kUnreadable) {
    ++(what == Match::kForeign ? counters->spoof_suspects : counters->malformed);
    co_return exchange;
  }
  exchange.outcome = ExchangeOutcome::kReply;
  exchange.message = std::move(message);
  co_return exchange;
}

}  // namespace

awaitable<Exchange> exchange_udp(Upstream upstream, UpstreamQuestion question, Clock::time_point deadline,
                                 UdpManners manners, ResolverCounters* counters) {
  Exchange exchange;
  const auto executor = co_await asio::this_coro::executor;
  udp::socket socket(executor);
  const error_code error = connect_fresh({address_of(upstream.address), upstream.port}, manners.last_port, socket);
  if (error) {
    exchange.outcome = is_shortage(error) ? ExchangeOutcome::kNoSocket : ExchangeOutcome::kUnreachable;
    if (is_shortage(error)) ++counters->no_sockets;
    co_return exchange;
  }
  std::array<std::uint8_t, wire::kDnsQueryMax> query;
  const std::size_t octets = wire::write_query(query, question.id, question.name, question.type);
  std::vector<std::uint8_t> datagram(kDatagramOctets);
  asio::steady_timer timer(executor);
  Clock::duration pause = manners.resend;
  Clock::time_point next_send = Clock::now();
  exchange.outcome = ExchangeOutcome::kTimeout;
  for (;;) {
    const Clock::time_point now = Clock::now();
    if (now >= deadline) {
      if (exchange.outcome == ExchangeOutcome::kTimeout) ++counters->timeouts;
      co_return exchange;
    }
    if (now >= next_send && exchange.outcome == ExchangeOutcome::kTimeout && *manners.queries > 0) {
      --*manners.queries;
      ++counters->udp_queries;
      error_code send_error;
      socket.send(asio::buffer(query, octets), 0, send_error);
      if (send_error) {
        exchange.outcome = ExchangeOutcome::kUnreachable;
        co_return exchange;
      }
      ++exchange.sent;
      next_send = now + pause;
      pause = manners.again;
    }
    const bool sends_again = exchange.outcome == ExchangeOutcome::kTimeout && *manners.queries > 0;
    timer.expires_at(sends_again ? std::min(deadline, next_send) : deadline);
    const auto first =
        co_await (socket.async_receive(asio::buffer(datagram), kAsResult) || timer.async_wait(kAsResult));
    if (first.index() == 1) continue;
    const auto [receive_error, size] = std::get<0>(first);
    if (receive_error) {
      exchange.outcome = ExchangeOutcome::kUnreachable;
      co_return exchange;
    }
    const std::span<const std::uint8_t> message = std::span(datagram).first(size);
    const Match what = match(message, question);
    if (what == Match::kOurs) {
      exchange.outcome =
          wire::DnsHeader::read(message)->is_truncated() ? ExchangeOutcome::kTruncated : ExchangeOutcome::kReply;
      if (exchange.outcome == ExchangeOutcome::kReply) exchange.message.assign(message.begin(), message.end());
      co_return exchange;
    }
    ++(what == Match::kUnreadable ? counters->malformed : counters->spoof_suspects);
    if (what == Match::kForeign || exchange.outcome == ExchangeOutcome::kSuspect) continue;
    exchange.outcome = ExchangeOutcome::kSuspect;
    deadline = std::min(deadline, Clock::now() + manners.grace);
  }
}

awaitable<Exchange> exchange_tcp(Upstream upstream, UpstreamQuestion question, Clock::time_point deadline,
                                 ResolverCounters* counters) {
  const auto executor = co_await asio::this_coro::executor;
  asio::steady_timer timer(executor, deadline);
  ++counters->tcp_queries;
  auto first = co_await (converse_tcp(upstream, question, counters) || timer.async_wait(kAsResult));
  if (first.index() == 0) co_return std::move(std::get<0>(first));
  ++counters->timeouts;
  co_return Exchange{};
}

}  // namespace sallyport::net
