// The pcap-monitor plugin: rings in, the monitor on one thread, alarms into the audit.
#include <netinet/in.h>
#include <policy/ext/clients.h>
#include <policy/ext/draft/decisions.h>
#include <policy/ext/draft/topology.h>
#include <policy/ext/ledger.h>
#include <policy/ext/metrics.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <ctime>
#include <memory>
#include <mutex>
#include <policy/plugin.hpp>
#include <random>
#include <thread>

#include "pcap-monitor/config.hpp"
#include "pcap-monitor/json_lines.hpp"
#include "pcap-monitor/monitor.hpp"
#include "pcap-monitor/packet_ring.hpp"
#include "support/reason.hpp"

namespace sallyport::monitor {
namespace {

// Of the boot clock, for packets, answers and decisions alike: when each arrived here. Their own stamps are of the wall
// clock, and one that is set back would stop every window and every judgement until it has caught up (REL-06).
std::uint64_t now_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
}

Address from_abi(const policy_addr& address) {
  std::array<std::uint8_t, 16> octets{};
  std::memcpy(octets.data(), address.ip, 16);
  if (address.family == POLICY_IPV6) return Address::v6(octets);
  return Address::v4(static_cast<std::uint32_t>(octets[0]) << 24 | static_cast<std::uint32_t>(octets[1]) << 16 |
                     static_cast<std::uint32_t>(octets[2]) << 8 | octets[3]);
}

// What alarms are about (docs/monitor.md); the last one stands for every other word.
constexpr std::uint16_t kAlarms[] = {
    POLICY_REASON_NO_RULE,        POLICY_REASON_NAME_NOT_ALLOWED,    POLICY_REASON_ADDRESS_DENIED,
    POLICY_REASON_PORT_DENIED,    POLICY_REASON_IP_LITERAL_DENIED,   POLICY_REASON_ADDR_FORBIDDEN,
    POLICY_REASON_GUARD_METADATA, POLICY_REASON_CLIENT_UNKNOWN,      POLICY_REASON_NAME_MALFORMED,
    POLICY_REASON_SNI_MALFORMED,  POLICY_REASON_AUTHORITY_MALFORMED, POLICY_REASON_DST_NOT_BOUND,
    POLICY_REASON_NO_DECISION,    POLICY_REASON_QUIC_DENIED,         POLICY_REASON_TUNNEL_SUSPECT,
    POLICY_REASON_UPLOAD_VOLUME,  POLICY_REASON_SPOOF_SUSPECT,       POLICY_REASON_OK};

// The host's view of what the monitor saw: canonical objects, decisions, audit records. On the monitor's thread.
class HostJudge final : public Judge, public Sink {
 public:
  HostJudge(const policy::Host& host, policy::Reader& reader)
      : edge_(host.get<policy_edge_v1>(POLICY_EDGE_ID)),
        clients_(host.get<policy_clients_v1>(POLICY_CLIENTS_ID)),
        reader_(reader) {}

  Ruling decide(const Question& question) override {
    Sealed sealed;
    const policy_verdict verdict = reader_.decide(query_of(question, sealed));
    const bool by_request = verdict.verdict == POLICY_CONTINUE && !question.later;
    return {by_request ? std::uint16_t{POLICY_ALLOW} : verdict.verdict, verdict.reason, verdict.rule, verdict.flags,
            verdict.generation};
  }

  void alarm(const Alarm& alarm) override {
    Question question;
    question.layer = POLICY_LAYER_DIAL;
    question.proto = alarm.id.proto;
    question.port = alarm.id.port;
    question.client = &alarm.id.client;
    question.destination = &alarm.id.destination;
    question.name = alarm.name;
    Sealed sealed;
    policy_query query = query_of(question, sealed, alarm.id.client_port);
    policy_verdict verdict{};
    verdict.struct_size = sizeof verdict;
    verdict.verdict = POLICY_DENY;  // it should not have been
    verdict.reason = alarm.reason_number;
    verdict.rule = alarm.ruling.rule;
    // A shape is seen without the policy; its record has a generation all the same, which the client's group goes by.
    verdict.generation = alarm.ruling.generation != 0 ? alarm.ruling.generation : reader_.decide(query).generation;
    reader_.audit(query, verdict, alarm_detail(alarm));
    ++alarms_[std::find(std::begin(kAlarms), std::end(kAlarms) - 1, alarm.reason_number) - std::begin(kAlarms)];
  }

  using Alarms = std::array<std::uint64_t, std::size(kAlarms)>;
  const Alarms& alarms() const { return alarms_; }

 private:
  struct Sealed {
    policy_name name{};
    policy_addr client{}, destination{};
  };

  policy_addr sealed(const Address& address, std::uint16_t port) const {
    policy_addr out{};
    policy_error error{};
    error.struct_size = sizeof error;
    if (address.is_v4()) {
      sockaddr_in text{};
      text.sin_family = AF_INET;
      text.sin_port = htons(port);
      std::memcpy(&text.sin_addr, address.octets().data(), 4);
      edge_->addr(&text, sizeof text, &out, &error);
    } else {
      sockaddr_in6 text{};
      text.sin6_family = AF_INET6;
      text.sin6_port = htons(port);
      std::memcpy(&text.sin6_addr, address.octets().data(), 16);
      edge_->addr(&text, sizeof text, &out, &error);
    }
    return out;
  }

  policy_query query_of(const Question& question, Sealed& out, std::uint16_t client_port = 0) const {
    policy_query query{};
    query.struct_size = sizeof query;
    query.layer = question.layer;
    query.proto = question.proto;
    query.port = question.port;
    if (question.port_known) query.known |= POLICY_KNOW_PORT;
    if (question.client != nullptr) {
      out.client = sealed(*question.client, client_port);
      query.client = &out.client;
      // One that is denied has an id all the same; decide() then finds no rule for it.
      if (clients_ != nullptr) clients_->identify(reader_.raw(), 0, &out.client, &query.client_id);
    }
    if (question.destination != nullptr) {
      out.destination = sealed(*question.destination, question.port);
      query.dest = &out.destination;
      query.known |= POLICY_KNOW_ADDRESS;
    }
    policy_error error{};
    error.struct_size = sizeof error;
    if (question.name != nullptr &&
        edge_->name(policy::str(question.name->text()), POLICY_FORM_HOST, &out.name, &error) == POLICY_OK) {
      query.name = &out.name;
      query.known |= POLICY_KNOW_NAME;
    }
    if (question.later) query.deferred = (POLICY_KNOW_ADDRESS | POLICY_KNOW_PORT) & ~query.known;
    if (question.name != nullptr)
      query.deferred |= POLICY_KNOW_METHOD | POLICY_KNOW_PATH;  // the enforcers see requests
    return query;
  }

  const policy_edge_v1* edge_;
  const policy_clients_v1* clients_;
  policy::Reader& reader_;
  Alarms alarms_{};
};

class PcapMonitor final : public policy::Plugin {
 public:
  using Plugin::Plugin;
  ~PcapMonitor() override { stop(); }

  policy::Status configure(std::string_view json) override { return parse_config(json, config_); }

  policy::Status start() override {
    if (const policy::Status status = take_topology(); !status.ok()) return status;
    if (config_.interfaces.empty())
      return {POLICY_INVALID, "no interface: give `interfaces`, or networks with interfaces in gateway.yaml",
              "/interfaces"};
    std::string error;
    for (const std::string& interface : config_.interfaces) {
      auto ring = PacketRing::open(interface, std::max<std::size_t>(4, config_.ring_octets / PacketRing::kBlock),
                                   config_.snaplen, error);
      if (!ring) return {POLICY_UNAVAILABLE, error};
      rings_.push_back(std::move(ring));
    }
    wake_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (wake_ < 0) return {POLICY_UNAVAILABLE, "eventfd"};
    define_metrics();
    config_.options.live = config_.decisions && host.get<policy_decisions_draft1>(POLICY_DECISIONS_ID) != nullptr;
    config_.options.seed = std::random_device{}();
    stopping_ = false;
    thread_ = std::thread([this] { watch(); });
    return {};
  }

  policy::Status reload(std::string_view json, bool dry_run) override {
    Config next;
    const policy::Status status = parse_config(json, next);
    if (!status.ok() || dry_run) return status;
    return {POLICY_UNSUPPORTED, "pcap-monitor takes a new config at a restart only"};
  }

  policy::Status drain(std::uint64_t, std::uint64_t& flows_left) override {
    flows_left = 0;  // it holds nobody's flow; it watches until it is stopped
    return {};
  }

  policy::Status stop() override {
    if (thread_.joinable()) {
      stopping_ = true;
      const std::uint64_t one = 1;
      [[maybe_unused]] const ssize_t written = ::write(wake_, &one, sizeof one);
      thread_.join();
    }
    rings_.clear();
    if (wake_ >= 0) ::close(wake_);
    wake_ = -1;
    return {};
  }

  std::string health() override {
    const std::lock_guard lock(shown_mutex_);
    return R"({"ok":)" + std::string(blind_ ? "false" : "true") + R"(,"complete":)" +
           (shown_.complete() ? "true" : "false") + "," + counters_json(shown_).substr(1);
  }

 private:
  policy::Status take_topology() {
    const auto* topology = host.get<policy_topology_draft1>(POLICY_TOPOLOGY_ID);
    if (topology == nullptr) return {};
    std::string json(topology->json(host.raw(), nullptr, 0) + 1, '\0');  // with the NUL, as snprintf()
    json.resize(std::min(topology->json(host.raw(), json.data(), json.size()), json.size() - 1));
    return apply_topology(json, config_);
  }

  void define_metrics() {
    metrics_ = host.get<policy_metrics_v1>(POLICY_METRICS_ID);
    if (metrics_ == nullptr) return;
    const auto define = [&](std::string_view name, std::string_view labels, std::uint32_t& id) {
      metrics_->define(host.raw(), policy::str(name), policy::str(labels), &id);
    };
    define("sallyport_monitor_packets_total", "", packets_id_);
    for (std::size_t i = 0; i < alarm_ids_.size(); ++i) {
      const bool last = i + 1 == alarm_ids_.size();
      const std::string word(last ? "other" : net::reason_word(kAlarms[i]));
      define("sallyport_monitor_alarms_total", "reason=\"" + word + "\"", alarm_ids_[i]);
    }
    define("sallyport_monitor_unparsed_total", "", unparsed_id_);
    define("sallyport_monitor_lost_total", R"(cause="kernel")", kernel_id_);
    define("sallyport_monitor_lost_total", R"(cause="snaplen")", snaplen_id_);
    define("sallyport_monitor_lost_total", R"(cause="fragments")", fragments_id_);
    define("sallyport_monitor_lost_total", R"(cause="tables")", tables_id_);
  }

  void watch() {
    policy::Reader reader(host);
    HostJudge judge(host, reader);
    Monitor monitor(config_.options, judge, judge);
    Cursors cursors;
    std::vector<pollfd> polled = {{wake_, POLLIN, 0}};
    for (const auto& ring : rings_) polled.push_back({ring->fd(), POLLIN, 0});
    std::uint64_t shown_at = 0;
    while (!stopping_) {
      ::poll(polled.data(), polled.size(), 200);
      // What the enforcers did first: then a flow and its decision meet whatever came first into here.
      follow(reader, monitor, cursors);
      for (std::size_t i = 0; i < rings_.size(); ++i) {
        const std::uint64_t arrived = now_ns();
        rings_[i]->read([&](std::uint64_t, std::span<const std::uint8_t> frame, std::size_t wire) {
          monitor.packet(arrived, wire::LinkType::kEthernet, frame, wire);
        });
        if (rings_[i]->failed() || (polled[i + 1].revents & (POLLERR | POLLHUP)) != 0) {
          if (!blind_.exchange(true))
            host.log(POLICY_LOG_ERROR, "pcap-monitor: an interface went away; it is not watched");
          polled[i + 1].fd = -1;
        }
      }
      const std::uint64_t now = now_ns();
      monitor.advance(now);
      if (now >= shown_at + 500'000'000) {
        shown_at = now;
        show(monitor, judge.alarms());
      }
    }
    monitor.finish();
    show(monitor, judge.alarms());
  }

  struct Cursors {
    std::uint64_t ledger = 0, decisions = 0, decisions_lost = 0;
  };

  void follow(policy::Reader& reader, Monitor& monitor, Cursors& cursors) {
    if (const auto* ledger = host.get<policy_ledger_v1>(POLICY_LEDGER_ID)) {
      policy_binding bindings[64];
      for (int round = 0; round < 64; ++round) {
        std::size_t count = std::size(bindings);
        const policy_code code = ledger->next(reader.raw(), &cursors.ledger, bindings, sizeof bindings[0], &count);
        if (code == POLICY_EXHAUSTED) {
          cursors.ledger = 0;  // read all that live again
          continue;
        }
        if (code != POLICY_OK || count == 0) break;
        for (std::size_t i = 0; i < count; ++i) {
          const policy_binding& b = bindings[i];
          const Result<DomainName> name = DomainName::parse(policy::view(b.name));
          if (!name.ok() || b.client.family == 0) continue;
          monitor.bound(from_abi(b.client), from_abi(b.addr), *name,
                        now_ns() + static_cast<std::uint64_t>(b.ttl_ms) * 1'000'000 + config_.options.grace_ns);
        }
      }
    }
    if (const auto* decisions = host.get<policy_decisions_draft1>(POLICY_DECISIONS_ID)) {
      auto records = std::make_unique<policy_decision_record[]>(64);
      for (int round = 0; round < 1024; ++round) {
        std::size_t count = 64;
        const policy_code code =
            decisions->next(reader.raw(), &cursors.decisions, records.get(), sizeof records[0], &count);
        if (code == POLICY_EXHAUSTED) {
          ++lost_records_;
          continue;
        }
        if (code != POLICY_OK || count == 0) break;
        for (std::size_t i = 0; i < count; ++i) monitor.decided(decision_of(records[i]));
      }
    }
  }

  static Decision decision_of(const policy_decision_record& record) {
    Decision out;
    out.client = from_abi(record.client);
    out.client_port = record.client.port;
    out.destination_known = record.dest.family != 0;
    out.destination = from_abi(record.dest);
    out.port = record.dest.port;
    out.proto = record.proto;
    out.verdict = record.verdict;
    out.layer = record.layer;
    out.name.assign(record.name, std::min<std::size_t>(record.name_len, sizeof record.name));
    out.time_ns = now_ns();
    return out;
  }

  void show(Monitor& monitor, const HostJudge::Alarms& alarms) {
    std::uint64_t dropped = 0;
    for (const auto& ring : rings_) dropped += ring->kernel_dropped();
    monitor.kernel_dropped(dropped);
    Counters now = monitor.counters();
    now.tables_lost += lost_records_;
    const std::lock_guard lock(shown_mutex_);
    if (now.complete() != shown_.complete())
      host.log(POLICY_LOG_WARNING, "pcap-monitor: not everything is seen any more", counters_json(now));
    if (metrics_ != nullptr) {
      const auto add = [&](std::uint32_t id, std::uint64_t value, std::uint64_t before) {
        if (value > before) metrics_->add(host.raw(), id, value - before);
      };
      add(packets_id_, now.packets, shown_.packets);
      for (std::size_t i = 0; i < alarm_ids_.size(); ++i) add(alarm_ids_[i], alarms[i], shown_alarms_[i]);
      shown_alarms_ = alarms;
      add(unparsed_id_, now.unparsed, shown_.unparsed);
      add(kernel_id_, now.kernel_dropped, shown_.kernel_dropped);
      add(snaplen_id_, now.truncated, shown_.truncated);
      add(fragments_id_, now.fragments_lost, shown_.fragments_lost);
      const auto tables = [](const Counters& c) { return c.tables_lost + c.flows_lost + c.streams_lost; };
      add(tables_id_, tables(now), tables(shown_));
    }
    shown_ = now;
  }

  Config config_;
  std::vector<std::unique_ptr<PacketRing>> rings_;
  int wake_ = -1;
  std::thread thread_;
  std::atomic<bool> stopping_{false}, blind_{false};
  std::uint64_t lost_records_ = 0;  // the monitor's thread alone
  std::mutex shown_mutex_;
  Counters shown_;
  const policy_metrics_v1* metrics_ = nullptr;
  std::array<std::uint32_t, std::size(kAlarms)> alarm_ids_{};
  HostJudge::Alarms shown_alarms_{};
  std::uint32_t packets_id_ = 0, unparsed_id_ = 0, kernel_id_ = 0, snaplen_id_ = 0, fragments_id_ = 0, tables_id_ = 0;
};

}  // namespace
}  // namespace sallyport::monitor

POLICY_PLUGIN(sallyport::monitor::PcapMonitor, R"({
 "name": "pcap-monitor", "version": "0.1.0", "license": "Apache-2.0",
 "needs": ["policy.edge/1", "policy.decision/1", "policy.audit/1", "policy.log/1", "policy.clients/1"],
 "offers": [], "layers": [], "privileges": {"capabilities": ["net_raw"], "sockets": ["packet"]}, "flags": ["singleton"],
 "config": {
  "type": "object", "additionalProperties": false,
  "properties": {
   "interfaces": {"type": "array", "items": {"type": "string"}, "default": []},
   "snaplen": {"type": "integer", "minimum": 64, "maximum": 262144, "default": 65535},
   "ring_octets": {"type": "integer", "minimum": 1048576, "maximum": 1073741824, "default": 8388608},
   "max_flows": {"type": "integer", "minimum": 16, "maximum": 10000000, "default": 65536},
   "upload_octets": {"type": "integer", "minimum": 0, "default": 100000000},
   "grace": {"type": "string", "format": "duration", "default": "2s"},
   "resolvers": {"type": "array", "items": {"type": "string"}, "default": []},
   "gateways": {"type": "array", "items": {"type": "string"}, "default": []},
   "bindings": {"type": "boolean", "default": true},
   "decisions": {"type": "boolean", "default": true}
  }
 }
})");
