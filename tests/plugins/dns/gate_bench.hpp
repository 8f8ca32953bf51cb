// The bench as a gate's: clients are known by their source address in 127.0.0.0/8.
#pragma once

#include "dns_bench.hpp"

namespace sallyport::dns {

class GateBench : public DnsBench {
 protected:
  GateBench() { listener_client = 0; }

  void run_real(Witness::Zone with = zone(), const std::string& extra = "") {
    run(std::move(with), R"(,"answers":"real","ipv6":"on")" + extra);
  }
  void run_gateway(Witness::Zone with = zone(), const std::string& extra = "") {
    run(std::move(with), R"(,"answers":"gateway","gateway_addresses":["172.20.0.3"])" + extra);
  }
  Reply ask_from(std::uint8_t from, std::string_view name, std::uint16_t type = wire::kTypeA) {
    return ask_octets(query_octets(name, type), from);
  }
  // Sends without waiting for the answer.
  int send_query(const Octets& query, std::uint8_t from = 0) {
    const int fd = loopback_socket(SOCK_DGRAM, udp_port, from);
    EXPECT_EQ(::send(fd, query.data(), query.size(), 0), static_cast<ssize_t>(query.size()));
    return fd;
  }
  static std::optional<Reply> receive(int fd) {
    Octets buffer(4096);
    const ssize_t n = ::recv(fd, buffer.data(), buffer.size(), 0);
    ::close(fd);
    if (n <= 0) return std::nullopt;
    buffer.resize(static_cast<std::size_t>(n));
    return Reply::parse(std::move(buffer));
  }
  static void wait_until(const std::function<bool()>& condition) {
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (!condition()) {
      ASSERT_LT(std::chrono::steady_clock::now(), limit);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));  // another thread's doing, with nothing to wait on
    }
  }
  // A member of health(), which is up to a second old.
  std::uint64_t health(const std::string& member) {
    return nlohmann::json::parse(plugin->health()).at(member).get<std::uint64_t>();
  }
};

}  // namespace sallyport::dns
