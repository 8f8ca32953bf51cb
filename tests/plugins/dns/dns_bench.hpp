// The dns plugin between a client and an upstream on loopback; the upstream counts what reaches it (the witness).
#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "support/audit_check.hpp"
#include "support/fake_host.hpp"
#include "wire-dns/message_builder.hpp"
#include "wire/dns_response.hpp"
#include "wire/dns_writer.hpp"

namespace sallyport::dns {

using testing_kit::AuditRecord;
using testing_kit::FakeHost;
using testing_kit::LoadedPlugin;
using testing_kit::SmallPolicy;
using wire::MessageBuilder;
using wire::Octets;

// from: the last octet of the client's own address in 127.0.0.0/8.
inline int loopback_socket(int type, std::uint16_t connect_to = 0, std::uint8_t from = 0) {
  const int fd = ::socket(AF_INET, type | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  if (from != 0) {
    address.sin_addr.s_addr = htonl(0x7f000000u + from);
    EXPECT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0) << std::strerror(errno);
  }
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(connect_to);
  const auto* raw = reinterpret_cast<const sockaddr*>(&address);
  EXPECT_EQ(connect_to ? ::connect(fd, raw, sizeof address) : ::bind(fd, raw, sizeof address), 0)
      << std::strerror(errno);
  const timeval patience{10, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  return fd;
}

// An upstream that knows some names. Silent: counts and says nothing.
class Witness {
 public:
  struct Zone {
    std::map<std::pair<std::string, std::uint16_t>, std::vector<std::string>> records;  // (name, type) -> addresses
    std::map<std::string, std::string> aliases;                                         // CNAME
    std::map<std::pair<std::string, std::uint16_t>, std::vector<Octets>> data;          // of other types, as it stands
    bool silent = false;
    std::uint32_t ttl = 60;
    std::chrono::milliseconds delay{0};
    unsigned lose_one_in = 0;  // of queries and of answers
    bool flapping = false;     // a second up, a second down
  };

  explicit Witness(Zone zone) : zone_(std::move(zone)), fd_(loopback_socket(SOCK_DGRAM)) {
    sockaddr_in address{};
    socklen_t length = sizeof address;
    ::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &length);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  ~Witness() {
    stopping_ = true;
    thread_.join();
    ::close(fd_);
  }
  std::uint16_t port() const { return port_; }
  std::size_t queries() const { return queries_; }
  // Queries as they came.
  std::vector<Octets> seen() const {
    const std::lock_guard lock(mutex_);
    return seen_;
  }
  // Silent from the start: answers from here on, and what has been asked first.
  void speak() { speaking_ = true; }

 private:
  struct Late {
    std::chrono::steady_clock::time_point at;
    Octets query;
    sockaddr_storage peer;
    socklen_t length;
  };
  bool is_down() const {
    using std::chrono::seconds;
    return zone_.flapping && (std::chrono::steady_clock::now() - born_) / seconds(1) % 2 == 1;
  }
  bool is_lost() { return zone_.lose_one_in != 0 && ++chances_ % zone_.lose_one_in == 0; }
  void serve() {
    std::array<std::uint8_t, 4096> in, out;
    std::vector<Late> late;
    while (!stopping_) {
      pollfd ready{fd_, POLLIN, 0};
      const bool came = ::poll(&ready, 1, late.empty() ? 20 : 1) > 0;
      Late one{.length = sizeof one.peer};
      const ssize_t n =
          came ? ::recvfrom(fd_, in.data(), in.size(), 0, reinterpret_cast<sockaddr*>(&one.peer), &one.length) : 0;
      if (n > 0) {
        ++queries_;
        one.query.assign(in.begin(), in.begin() + n);
        one.at = std::chrono::steady_clock::now() + zone_.delay;
        const std::lock_guard lock(mutex_);
        seen_.push_back(one.query);
        if (!is_down() && !is_lost()) late.push_back(one);
      }
      if (zone_.silent && !speaking_) continue;
      std::erase_if(late, [&](const Late& due) {
        if (due.at > std::chrono::steady_clock::now()) return false;
        if (is_down() || is_lost()) return true;
        const auto reply = answer(wire::read_query(due.query), out);
        ::sendto(fd_, reply.data(), reply.size(), 0, reinterpret_cast<const sockaddr*>(&due.peer), due.length);
        return true;
      });
    }
  }
  std::span<const std::uint8_t> answer(const wire::DnsQuery& query, std::span<std::uint8_t> out) {
    std::string name = query.question->name.lower().text();
    const auto alias = zone_.aliases.find(name);
    const bool aliased = alias != zone_.aliases.end();
    if (aliased) name = alias->second;
    bool exists = false;
    for (const auto& [key, addresses] : zone_.records) exists = exists || key.first == name;
    for (const auto& [key, rdata] : zone_.data) exists = exists || key.first == name;
    wire::DnsReplyWriter writer(out, query, out.size(), exists ? wire::Rcode::kNoError : wire::Rcode::kNxDomain);
    if (aliased) writer.add_cname(zone_.ttl, *wire::WireName::from_text(name));
    const auto found = zone_.records.find({name, query.question->type});
    if (found != zone_.records.end()) {
      for (const std::string& text : found->second) {
        const Address address = *Address::parse(text);
        if (address.is_v4()) {
          writer.add_a(zone_.ttl, std::span(address.octets()).first<4>());
        } else {
          writer.add_aaaa(zone_.ttl, address.octets());
        }
      }
    }
    const auto other = zone_.data.find({name, query.question->type});
    if (other != zone_.data.end())
      for (const Octets& rdata : other->second) writer.add_answer(query.question->type, zone_.ttl, rdata);
    return writer.finish();
  }

  Zone zone_;
  int fd_;
  std::uint16_t port_ = 0;
  std::chrono::steady_clock::time_point born_ = std::chrono::steady_clock::now();
  unsigned chances_ = 0;
  std::atomic<std::size_t> queries_{0};
  std::atomic<bool> stopping_{false}, speaking_{false};
  mutable std::mutex mutex_;
  std::vector<Octets> seen_;
  std::thread thread_;
};

// What a client reads of a reply.
struct Reply {
  Octets octets;
  wire::DnsHeader header;
  std::string question;                // in the case it came in
  std::vector<std::string> addresses;  // of the answer section
  std::vector<std::string> aliases;    // targets of its CNAMEs
  std::vector<Octets> data;            // RDATA of the answer section
  std::vector<std::uint32_t> ttls;
  unsigned answers = 0;
  std::optional<std::uint32_t> soa_ttl;
  std::uint16_t rcode = 0;
  bool has_opt = false;
  int ede = -1;
  std::string ede_text;

  static Reply parse(Octets octets) {
    Reply out;
    out.octets = std::move(octets);
    const auto header = wire::DnsHeader::read(out.octets);
    if (!header) {
      ADD_FAILURE() << "reply of " << out.octets.size() << " octets";
      return out;
    }
    out.header = *header;
    out.rcode = header->rcode();
    auto reader = wire::DnsResponseReader::open(out.octets);
    if (!reader.ok()) return out;  // a FORMERR may have no question
    out.question = reader->question().name.text();
    wire::DnsRecord record;
    for (;;) {
      const Result<bool> more = reader->next(record);
      if (!more.ok()) ADD_FAILURE() << more.error().message;
      if (!more.ok() || !*more) break;
      if (record.section == wire::DnsSection::kAnswer) {
        ++out.answers;
        out.ttls.push_back(record.ttl);
        out.data.emplace_back(record.rdata.begin(), record.rdata.end());
        if (record.type == wire::kTypeCname) {
          out.aliases.push_back(reader->name_data(record)->text());
          continue;
        }
        char text[64] = "";
        if (record.type == wire::kTypeA) ::inet_ntop(AF_INET, record.rdata.data(), text, sizeof text);
        if (record.type == wire::kTypeAaaa) ::inet_ntop(AF_INET6, record.rdata.data(), text, sizeof text);
        out.addresses.emplace_back(text);
      } else if (record.type == wire::kTypeSoa) {
        const auto soa = reader->soa_data(record);
        if (soa.ok()) out.soa_ttl = soa->negative_ttl(record.ttl);
      } else if (record.type == wire::kTypeOpt) {
        out.has_opt = true;
        if (record.rdata.size() >= 6 && record.rdata[0] == 0 && record.rdata[1] == 15) {
          const std::size_t length = std::size_t{record.rdata[2]} << 8 | record.rdata[3];
          out.ede = record.rdata[4] << 8 | record.rdata[5];
          out.ede_text.assign(record.rdata.begin() + 6, record.rdata.begin() + static_cast<std::ptrdiff_t>(4 + length));
        }
      }
    }
    out.rcode = reader->rcode();
    return out;
  }
};

inline Octets query_octets(std::string_view name, std::uint16_t type = wire::kTypeA, bool edns = true,
                           std::uint16_t id = 0x1234) {
  MessageBuilder message;
  message.header(id, 0x0100, 1, 0, 0, edns ? 1 : 0).question(name, type);
  if (edns) message.opt();
  return message.octets;
}

class DnsBench : public testing::Test {
 protected:
  static Witness::Zone zone() {
    Witness::Zone out;
    out.records[{"api.example.test", wire::kTypeA}] = {"93.184.216.34", "93.184.216.35"};
    out.records[{"both.example.test", wire::kTypeA}] = {"93.184.216.34"};
    out.records[{"both.example.test", wire::kTypeAaaa}] = {"2606:2800:220:1::1"};
    out.records[{"mixed.example.test", wire::kTypeA}] = {"10.0.0.5", "93.184.216.34"};
    out.records[{"x.evil.test", wire::kTypeA}] = {"93.184.216.40"};
    out.aliases["alias.example.test"] = "x.evil.test";
    return out;
  }

  void run(Witness::Zone with = zone(), const std::string& extra = R"(,"ipv6":"on")") {
    witness = std::make_unique<Witness>(std::move(with));
    start("127.0.0.1:" + std::to_string(witness->port()), extra);
  }
  void start(const std::string& upstream, const std::string& extra) {
    for (const char* name :
         {"api.example.test", "both.example.test", "mixed.example.test", "alias.example.test", "gone.example.test",
          "single", "fixed.example.test", "_dns.example.test", "a_b.example.test"}) {
      policy.allow[name] = {443};
    }
    host.decide = [this](const policy_query& q) { return policy(q); };
    udp_port = udp_sockets == 1 ? host.listen_udp("dns", listener_client)
                                : host.listen_udp_shared("dns", udp_sockets, listener_client);
    tcp_port = host.listen_tcp("dns", listener_client);
    plugin = std::make_unique<LoadedPlugin>(DNS_PLUGIN, host);
    ASSERT_EQ(plugin->create(R"({"upstreams":[")" + upstream + "\"]" + extra + "}"), POLICY_OK) << plugin->error.text;
    ASSERT_EQ(plugin->start(), POLICY_OK) << plugin->error.text;
  }

  void TearDown() override { testing_kit::expect_whole_lines(host); }

  // nullopt: no reply within the time that a well-formed query to the same port is answered in.
  std::optional<Reply> ask_raw(const Octets& query) {
    const int fd = loopback_socket(SOCK_DGRAM, udp_port);
    ::send(fd, query.data(), query.size(), 0);
    const Octets after = query_octets("after.invalid", wire::kTypeA, false, 0x7e57);
    ::send(fd, after.data(), after.size(), 0);
    std::optional<Reply> out;
    for (;;) {
      Octets buffer(4096);
      const ssize_t n = ::recv(fd, buffer.data(), buffer.size(), 0);
      if (n <= 0) {
        ADD_FAILURE() << "no reply: " << std::strerror(errno);
        break;
      }
      buffer.resize(static_cast<std::size_t>(n));
      if (n >= 2 && buffer[0] == 0x7e && buffer[1] == 0x57)
        break;  // queries are answered in order unless they are resolved
      out = Reply::parse(std::move(buffer));
    }
    ::close(fd);
    return out;
  }

  Reply ask(std::string_view name, std::uint16_t type = wire::kTypeA, bool edns = true) {
    return ask_octets(query_octets(name, type, edns));
  }
  Reply ask_octets(const Octets& query, std::uint8_t from = 0) {
    const int fd = loopback_socket(SOCK_DGRAM, udp_port, from);
    ::send(fd, query.data(), query.size(), 0);
    Octets buffer(4096);
    const ssize_t n = ::recv(fd, buffer.data(), buffer.size(), 0);
    ::close(fd);
    if (n <= 0) {
      ADD_FAILURE() << "no reply: " << std::strerror(errno);
      return {};
    }
    buffer.resize(static_cast<std::size_t>(n));
    return Reply::parse(std::move(buffer));
  }

  std::string synthetic(std::string_view name) { return FakeHost::text(host.synthetic_v4(name)); }

  FakeHost host;
  SmallPolicy policy;
  std::unique_ptr<Witness> witness;
  std::unique_ptr<LoadedPlugin> plugin;
  std::uint16_t udp_port = 0, tcp_port = 0;
  std::uint64_t listener_client = 1;  // 0: a gate's, whose clients are known by address
  std::size_t udp_sockets = 1;
};

inline Octets framed(const Octets& message) {
  Octets out = MessageBuilder().u16(static_cast<unsigned>(message.size())).octets;
  out.insert(out.end(), message.begin(), message.end());
  return out;
}

// Empty: the connection ended.
inline Octets read_framed(int fd) {
  Octets length(2);
  if (::recv(fd, length.data(), 2, MSG_WAITALL) != 2) return {};
  Octets message(std::size_t{length[0]} << 8 | length[1]);
  if (::recv(fd, message.data(), message.size(), MSG_WAITALL) != static_cast<ssize_t>(message.size())) return {};
  return message;
}

}  // namespace sallyport::dns
