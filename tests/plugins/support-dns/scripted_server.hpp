// An upstream on loopback that does as a test says, good or bad, over UDP and TCP on one port; and what drives the
// loop.
#pragma once

#include <gtest/gtest.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "../../wire-dns/message_builder.hpp"
#include "support/resolver.hpp"
#include "wire/dns_response.hpp"

namespace sallyport::net {

using wire::MessageBuilder;
using wire::Octets;
using Replies = std::vector<Octets>;

struct Asked {
  Octets octets;
  wire::DnsQuery query;
  bool over_tcp = false;
  std::uint16_t source_port = 0;

  std::string name() const { return query.question->name.lower().text(); }
  // The start of a reply: id and question as asked; its name stands at octet 12.
  MessageBuilder reply(unsigned answers = 0, unsigned authorities = 0, unsigned flags = 0x8180) const {
    MessageBuilder message;
    message.header(query.header.id, flags, 1, answers, authorities, 0).raw(question());
    return message;
  }
  Octets question() const {
    const std::size_t octets_of_name = query.question->name.octets().size();
    return {octets.begin() + 12, octets.begin() + 12 + static_cast<std::ptrdiff_t>(octets_of_name) + 4};
  }
  Octets address(std::uint8_t last, std::uint32_t ttl = 60) const {
    return reply(1).pointer(12).record(wire::kTypeA, ttl, {192, 0, 2, last}).octets;
  }
};

// Zone "test", negative TTL 40.
inline Octets soa_rdata() {
  return MessageBuilder().name("ns.test").name("root.test").u32(1).u32(1).u32(1).u32(1).u32(40).octets;
}

class ScriptedServer {
 public:
  // Messages to send back, in order; none is silence. Over TCP each gets its length in front, and then the connection
  // closes.
  using Script = std::function<Replies(const Asked&)>;

  ScriptedServer(asio::io_context& context, Script script)
      : script_(std::move(script)), udp_(context), tcp_(context), other_(context) {
    const auto loopback = asio::ip::address_v4::loopback();
    for (int tries = 0;; ++tries) {  // a port that is free in both
      udp_ = udp::socket(context, udp::endpoint(loopback, 0));
      error_code error;
      tcp_.open(tcp::v4());
      tcp_.bind({loopback, udp_.local_endpoint().port()}, error);
      if (!error) break;
      tcp_.close();
      if (tries == 20) throw std::runtime_error("no port that is free in UDP and TCP");
    }
    tcp_.listen();
    other_ = udp::socket(context, udp::endpoint(asio::ip::make_address("127.0.0.2"), 0));
    receive();
    accept();
  }

  Upstream upstream() { return {Address::v4(0x7f000001), udp_.local_endpoint().port()}; }
  void set(Script script) { script_ = std::move(script); }
  void close_tcp() { tcp_.close(); }
  void close() {
    udp_.close();
    tcp_.close();
  }

  std::vector<Asked> asked;
  // Sent from another address to whoever asks, before the script's own.
  std::function<std::optional<Octets>(const Asked&)> from_elsewhere;
  // Written as they are on TCP, instead of the script's messages.
  std::function<std::optional<Octets>(const Asked&)> raw_tcp;
  bool keep_tcp_open = false;
  // Sent over UDP after the delay.
  std::function<Octets(const Asked&)> late;
  std::chrono::milliseconds delay{0};

 private:
  Replies answer(std::span<const std::uint8_t> octets, bool over_tcp, std::uint16_t port) {
    asked.push_back({{octets.begin(), octets.end()}, wire::read_query(octets), over_tcp, port});
    EXPECT_EQ(asked.back().query.outcome, wire::QueryOutcome::kQuery);
    return script_(asked.back());
  }

  void receive() {
    udp_.async_receive_from(asio::buffer(buffer_), peer_, [this](error_code error, std::size_t size) {
      if (error == asio::error::operation_aborted) return;
      if (!error) {
        const Replies messages = answer(std::span(buffer_).first(size), false, peer_.port());
        error_code ignored;
        if (from_elsewhere)
          if (const std::optional<Octets> spoof = from_elsewhere(asked.back()))
            other_.send_to(asio::buffer(*spoof), peer_, 0, ignored);
        for (const Octets& message : messages) udp_.send_to(asio::buffer(message), peer_, 0, ignored);
        if (late) send_late(late(asked.back()), peer_);
      }
      receive();
    });
  }

  void send_late(Octets message, udp::endpoint peer) {
    auto timer = std::make_shared<asio::steady_timer>(udp_.get_executor(), delay);
    timer->async_wait([this, timer, peer, message = std::move(message)](error_code) {
      error_code ignored;
      udp_.send_to(asio::buffer(message), peer, 0, ignored);  // a socket that is closed by then says so
    });
  }

  void accept() {
    tcp_.async_accept([this](error_code error, tcp::socket socket) {
      if (error == asio::error::operation_aborted) return;
      if (!error) serve(std::make_shared<tcp::socket>(std::move(socket)));
      accept();
    });
  }

  void serve(std::shared_ptr<tcp::socket> socket) {
    auto length = std::make_shared<std::array<std::uint8_t, 2>>();
    asio::async_read(*socket, asio::buffer(*length), [this, socket, length](error_code error, std::size_t) {
      if (error) return;
      auto message = std::make_shared<Octets>((*length)[0] << 8 | (*length)[1]);
      asio::async_read(*socket, asio::buffer(*message), [this, socket, message](error_code read_error, std::size_t) {
        if (read_error) return;
        auto out = std::make_shared<Octets>();
        for (const Octets& reply : answer(*message, true, socket->remote_endpoint().port()))
          *out = MessageBuilder{std::move(*out)}.u16(static_cast<unsigned>(reply.size())).raw(reply).octets;
        if (raw_tcp) *out = raw_tcp(asked.back()).value_or(*out);
        if (keep_tcp_open) open_.push_back(socket);
        asio::async_write(*socket, asio::buffer(*out), [socket, out](error_code, std::size_t) {});
      });
    });
  }

  Script script_;
  udp::socket udp_;
  tcp::acceptor tcp_;
  udp::socket other_;
  udp::endpoint peer_;
  std::array<std::uint8_t, 4096> buffer_;
  std::vector<std::shared_ptr<tcp::socket>> open_;
};

class ResolverTest : public testing::Test {
 protected:
  using Script = ScriptedServer::Script;

  ScriptedServer& server(Script script) {
    servers_.push_back(std::make_unique<ScriptedServer>(context_, std::move(script)));
    config.upstreams.push_back(servers_.back()->upstream());
    return *servers_.back();
  }

  Resolver& resolver() {
    if (!resolver_) {
      ResolverEnvironment environment = ResolverEnvironment::system();
      environment.now = [this] { return now; };
      resolver_ = std::make_unique<Resolver>(context_, tasks_, config, std::move(environment));
    }
    return *resolver_;
  }

  struct Pending {
    std::optional<ResolveResult> result;
    Clock::time_point ended;
  };

  std::shared_ptr<Pending> start(std::string_view name, std::uint16_t type = wire::kTypeA,
                                 Clock::duration patience = std::chrono::seconds(5)) {
    auto pending = std::make_shared<Pending>();
    asio::co_spawn(context_, resolver().resolve(*DomainName::parse(name), type, Clock::now() + patience),
                   [pending](std::exception_ptr, ResolveResult result) {
                     pending->result = std::move(result);
                     pending->ended = Clock::now();
                   });
    return pending;
  }

  void run_until(const std::function<bool()>& condition) {
    const Clock::time_point limit = Clock::now() + std::chrono::seconds(20);
    while (!condition()) {
      ASSERT_LT(Clock::now(), limit) << "the loop goes on for ever";
      if (context_.run_one_for(std::chrono::milliseconds(100)) == 0) context_.restart();
    }
  }

  ResolveResult resolve(std::string_view name, std::uint16_t type = wire::kTypeA,
                        Clock::duration patience = std::chrono::seconds(5)) {
    const auto pending = start(name, type, patience);
    run_until([&] { return pending->result.has_value(); });
    return pending->result.value_or(ResolveResult{});
  }

  // Short, since silence is tested by waiting it out.
  ResolverConfig config{.try_timeout = std::chrono::milliseconds(60),
                        .lookup_timeout = std::chrono::milliseconds(700),
                        .case_grace = std::chrono::milliseconds(20),
                        .rounds = 2};
  Clock::time_point now{std::chrono::hours(100)};

  asio::io_context context_{1};
  TaskScope tasks_{context_};
  std::vector<std::unique_ptr<ScriptedServer>> servers_;
  std::unique_ptr<Resolver> resolver_;
};

inline std::string text(const ResolveResult& result) {
  std::string out;
  for (const Address& address : result.addresses) out += (out.empty() ? "" : " ") + address.text();
  return out;
}

}  // namespace sallyport::net
