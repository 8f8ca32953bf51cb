// FakeHost: what a plugin sees of a gateway, without one: real names, scripted verdicts, listeners on loopback, an
// audit list.
//
//   FakeHost host;
//   host.decide = [](const policy_query& q) { return FakeHost::verdict(POLICY_ALLOW); };
//   const auto port = host.listen_tcp("proxy");
//   LoadedPlugin plugin(PLUGIN_FILE, host);
//   ASSERT_EQ(plugin.create(R"({"listen":["proxy"]})"), POLICY_OK) << plugin.error.text;
//
// Lifetime  The host outlives the plugin. Set `decide` and `fixed` before start().
// Threads   Extensions may be called from any thread; `decide` is called under a lock, so it may use plain variables.
#pragma once

#include <arpa/inet.h>
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <policy/abi.h>
#include <policy/ext/audit.h>
#include <policy/ext/decision.h>
#include <policy/ext/draft/synthetic.h>
#include <policy/ext/edge.h>
#include <policy/ext/limits.h>
#include <policy/ext/log.h>
#include <policy/ext/sockets.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "names/address.hpp"
#include "names/domain_name.hpp"
#include "names/guard.hpp"
#include "support/fake_gate.hpp"

struct policy_thread {
  policy_host* host = nullptr;
  std::thread::id owner;
};

namespace sallyport::testing_kit {

struct AuditRecord {
  std::uint16_t layer = 0, verdict = 0, reason = 0, qtype = 0, port = 0;
  std::uint64_t client_id = 0;
  std::string name, address, detail;  // empty: not known
  bool closed = false;                // the record at the end of a flow
  std::uint16_t proto = 0;
  std::string raw;     // of a query without a name
  std::string client;  // its address; empty for a cell's
  std::string credential;
};

class FakeHost {
 public:
  FakeHost() = default;
  ~FakeHost() {
    for (const Socket& socket : sockets_) ::close(socket.fd);
  }
  FakeHost(const FakeHost&) = delete;
  FakeHost& operator=(const FakeHost&) = delete;

  // The script. Unset, as ever, is deny.
  std::function<policy_verdict(const policy_query&)> decide;
  // host_addresses() of a name.
  std::map<std::string, std::vector<std::string>> fixed;
  // What each charge of policy.limits/1 is answered; unset: nothing is bound. Called under no lock, by any thread.
  std::function<policy_code(std::uint32_t kind, std::uint64_t amount, policy_charge& out)> limits;
  std::atomic<std::int64_t> meters{0};  // open now
  std::atomic<std::int64_t> most_meters{INT64_MAX};
  // Apexes of wildcards, with how many labels they have.
  std::map<std::string, std::uint32_t> wildcards;
  bool synthetic_full = false;
  bool audit_full = false;
  // What only a gate has. A plugin in a cell is given none of it: see cell.
  FakeGate gate;
  bool cell = false;  // no clients, flow, ledger, topology: as in `sallyport run`

  // A new policy: set `decide` in change() before.
  void publish() {
    gate.publish([this](const policy_query& query) {
      const std::lock_guard lock(mutex_);
      return decide ? decide(query) : verdict(POLICY_DENY, POLICY_REASON_NO_RULE);
    });
  }

  static policy_verdict verdict(std::uint16_t value, std::uint16_t reason = POLICY_REASON_OK, std::uint32_t flags = 0) {
    policy_verdict out{};
    out.struct_size = sizeof out;
    out.verdict = value;
    out.reason = reason;
    out.flags = flags;
    out.rule = value == POLICY_DENY ? POLICY_NO_RULE : 0;
    out.generation = 1;
    return out;
  }

  policy_host* raw() noexcept { return reinterpret_cast<policy_host*>(this); }
  static const policy_host_api* api() noexcept {
    static constexpr policy_host_api kApi = {sizeof(policy_host_api), POLICY_ABI_LEVEL, &FakeHost::get};
    return &kApi;
  }

  // Each returns the port. The listener is given to plugins that ask for its name, now or later.
  std::uint16_t listen_tcp(const std::string& name, std::uint64_t client_id = 1, bool v6 = false) {
    return listen(name, client_id, SOCK_STREAM, v6);
  }
  std::uint16_t listen_udp(const std::string& name, std::uint64_t client_id = 1, bool v6 = false) {
    return listen(name, client_id, SOCK_DGRAM, v6);
  }
  // Several sockets of one address (SO_REUSEPORT), as a gate gives UDP listeners.
  std::uint16_t listen_udp_shared(const std::string& name, std::size_t sockets, std::uint64_t client_id = 0) {
    std::uint16_t port = 0;
    for (std::size_t i = 0; i < sockets; ++i) port = listen(name, client_id, SOCK_DGRAM, false, true, port);
    return port;
  }
  // Tells the plugin that the listener has gone.
  void remove_listener(const std::string& name, std::uint64_t client_id) {
    for (const Subscriber& s : subscribers_) {
      if (s.name == name) s.fn(s.user, 0, {name.data(), name.size()}, -1, client_id);
    }
  }

  // The synthetic address of a name, assigned now if need be; as a workload's resolver would have it.
  policy_addr synthetic_v4(std::string_view name, std::uint64_t client_id = 1) {
    policy_addr out{};
    assign_address(client_id, std::string(name), &out, nullptr);
    return out;
  }

  std::vector<AuditRecord> audit() const {
    const std::lock_guard lock(mutex_);
    return audit_;
  }
  // Waits until there are that many; fails the test after 10 s.
  std::vector<AuditRecord> wait_for_audit(std::size_t count) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(audited_.wait_for(lock, std::chrono::seconds(10), [&] { return audit_.size() >= count; }))
        << "audit has " << audit_.size() << " records, expected " << count;
    return audit_;
  }
  // Changes the script of a running plugin.
  void change(const std::function<void()>& edit) {
    const std::lock_guard lock(mutex_);
    edit();
  }
  void clear_audit() {
    const std::lock_guard lock(mutex_);
    audit_.clear();
  }
  std::vector<std::string> logged() const {
    const std::lock_guard lock(mutex_);
    return log_;
  }
  // Threads that a plugin has opened and not yet closed.
  std::size_t open_threads() const {
    const std::lock_guard lock(mutex_);
    return threads_;
  }

  // The ref of every record.
  static constexpr char kRef[] = "k3f9a";

  static std::string text(const policy_addr& address) {
    char out[INET6_ADDRSTRLEN] = "";
    ::inet_ntop(address.family == POLICY_IPV4 ? AF_INET : AF_INET6, address.ip, out, sizeof out);
    return out;
  }
  static policy_addr address(std::string_view text_form) {
    const Result<Address> parsed = Address::parse(text_form);
    EXPECT_TRUE(parsed.ok()) << text_form;
    policy_addr out{};
    std::memcpy(out.ip, parsed->octets().data(), 16);
    out.family = parsed->is_v4() ? POLICY_IPV4 : POLICY_IPV6;
    return out;
  }
  static std::string text(const policy_name* name) { return name ? std::string(name->text, name->len) : std::string(); }

  static const policy_edge_v1* edge() noexcept {
    static constexpr policy_edge_v1 kEdge = {sizeof(policy_edge_v1), &FakeHost::edge_name, &FakeHost::edge_addr};
    return &kEdge;
  }

 private:
  friend struct GateExtensions<FakeHost>;
  struct Socket {
    std::string name;
    std::uint64_t client_id;
    int fd;
  };
  struct Subscriber {
    std::string name;
    policy_listener_fn fn;
    void* user;
  };

  static FakeHost& of(policy_host* host) { return *reinterpret_cast<FakeHost*>(host); }
  static FakeHost& of(policy_thread* thread) {
    EXPECT_EQ(thread->owner, std::this_thread::get_id()) << "a policy_thread was used on another thread";
    return of(thread->host);
  }

  std::uint16_t listen(const std::string& name, std::uint64_t client_id, int type, bool v6, bool shared = false,
                       std::uint16_t port = 0) {
    const int fd = ::socket(v6 ? AF_INET6 : AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    sockaddr_storage storage{};
    socklen_t length = v6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
    auto* v4_address = reinterpret_cast<sockaddr_in*>(&storage);
    auto* v6_address = reinterpret_cast<sockaddr_in6*>(&storage);
    storage.ss_family = v6 ? AF_INET6 : AF_INET;
    if (v6) {
      v6_address->sin6_addr = in6addr_loopback;
    } else {
      v4_address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      v4_address->sin_port = htons(port);
    }
    const int on = shared ? 1 : 0;
    ::setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    EXPECT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&storage), length), 0) << std::strerror(errno);
    if (type == SOCK_STREAM) EXPECT_EQ(::listen(fd, 128), 0);
    ::getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &length);
    sockets_.push_back({name, client_id, fd});
    for (const Subscriber& s : subscribers_) {
      if (s.name == name) give(s, sockets_.back());
    }
    return ntohs(v6 ? v6_address->sin6_port : v4_address->sin_port);
  }

  static void give(const Subscriber& s, const Socket& socket) {
    s.fn(s.user, 1, {s.name.data(), s.name.size()}, ::dup(socket.fd), socket.client_id);
  }

  // policy.limits/1. A meter is its host.
  static policy_code ask_limits(FakeHost& host, std::uint32_t kind, std::uint64_t amount, policy_charge* out) {
    policy_charge own{};
    policy_charge& answer = out ? *out : own;
    answer.exceeded = POLICY_LIMIT_NONE;
    answer.wait_ns = 0;
    return host.limits ? host.limits(kind, amount, answer) : policy_code{POLICY_OK};
  }
  static policy_code limits_charge(policy_thread* thread, const policy_query*, const policy_verdict*,
                                   std::uint32_t kind, std::uint64_t amount, policy_charge* out) {
    return ask_limits(of(thread), kind, amount, out);
  }
  static policy_code limits_open(policy_thread* thread, const policy_query*, const policy_verdict*, policy_meter** out,
                                 policy_charge* charged) {
    FakeHost& host = of(thread);
    *out = nullptr;
    if (host.meters.fetch_add(1) >= host.most_meters) {
      --host.meters;
      charged->exceeded = POLICY_LIMIT_CONNECTIONS;
      charged->wait_ns = 1'000'000'000;
      return POLICY_EXHAUSTED;
    }
    *out = reinterpret_cast<policy_meter*>(&host);
    return POLICY_OK;
  }
  static policy_code limits_draw(policy_meter* meter, std::uint32_t kind, std::uint64_t amount, policy_charge* out) {
    return ask_limits(*reinterpret_cast<FakeHost*>(meter), kind, amount, out);
  }
  static std::uint64_t limits_room(policy_meter* meter, std::uint32_t) {
    return reinterpret_cast<FakeHost*>(meter)->limits ? 16 * 1024 : UINT64_MAX;
  }
  static void limits_close(policy_meter* meter) { --reinterpret_cast<FakeHost*>(meter)->meters; }

  static const void* get(policy_host* host, const char* id) {
    static constexpr policy_limits_v1 kLimits = {
        sizeof(policy_limits_v1), &limits_charge, &limits_open, &limits_draw, &limits_room, &limits_close};
    static constexpr policy_decision_v1 kDecision = {sizeof(policy_decision_v1),
                                                     &open_thread,
                                                     &close_thread,
                                                     &decide_one,
                                                     &decide_many,
                                                     &rule_name,
                                                     &host_addresses,
                                                     &allowed_ports,
                                                     &listed_labels};
    static constexpr policy_audit_v1 kAudit = {sizeof(policy_audit_v1), &write_decision, &write_closed};
    static constexpr std::int32_t kThreshold = POLICY_LOG_DEBUG;
    static constexpr policy_log_v1 kLog = {sizeof(policy_log_v1), &kThreshold, &write_log};
    static constexpr policy_sockets_v1 kSockets = {sizeof(policy_sockets_v1), &on_listener};
    static constexpr policy_synthetic_draft1 kSynthetic = {sizeof(policy_synthetic_draft1), &assign, &find};
    const std::string_view wanted = id;
    if (wanted == POLICY_EDGE_ID) return edge();
    if (wanted == POLICY_DECISION_ID) return &kDecision;
    if (wanted == POLICY_AUDIT_ID) return &kAudit;
    if (wanted == POLICY_LOG_ID) return &kLog;
    if (wanted == POLICY_LIMITS_ID) return &kLimits;
    if (wanted == POLICY_SOCKETS_ID) return &kSockets;
    if (wanted == POLICY_SYNTHETIC_ID) return &kSynthetic;
    return of(host).cell ? nullptr : GateExtensions<FakeHost>::get(wanted);
  }

  // policy.edge/1, on the real parsers
  static policy_code edge_name(policy_str raw, std::uint32_t form, policy_name* out, policy_error* error) {
    static_assert(sizeof(DomainName) == sizeof(policy_name));
    const std::string_view text_form(raw.ptr, raw.len);
    const auto refuse = [&](const char* why) -> policy_code {
      std::snprintf(error->text, sizeof error->text, "%s", why);
      return POLICY_INVALID;
    };
    if (form != POLICY_FORM_WIRE && Address::parse(text_form).ok()) return refuse("an address is no name");
    if (form == POLICY_FORM_SNI && text_form.ends_with('.')) return refuse("a trailing dot");
    const Result<DomainName> name =
        form == POLICY_FORM_WIRE ? DomainName::from_wire({reinterpret_cast<const std::uint8_t*>(raw.ptr), raw.len})
                                 : DomainName::parse(text_form);
    if (!name.ok()) return refuse(name.error().message);
    std::memcpy(static_cast<void*>(out), &*name, sizeof *out);
    return POLICY_OK;
  }
  static policy_code edge_addr(const void* address, std::uint32_t length, policy_addr* out, policy_error*) {
    const Result<Address> parsed = Address::from_sockaddr(static_cast<const sockaddr*>(address), length);
    if (!parsed.ok()) return POLICY_INVALID;
    *out = {};
    std::memcpy(out->ip, parsed->octets().data(), 16);
    out->family = parsed->is_v4() ? POLICY_IPV4 : POLICY_IPV6;
    out->port = ntohs(parsed->is_v4() ? static_cast<const sockaddr_in*>(address)->sin_port
                                      : static_cast<const sockaddr_in6*>(address)->sin6_port);
    return POLICY_OK;
  }

  // policy.decision/1
  static policy_code open_thread(policy_host* host, policy_thread** out) {
    const std::lock_guard lock(of(host).mutex_);
    ++of(host).threads_;
    *out = new policy_thread{host, std::this_thread::get_id()};
    return POLICY_OK;
  }
  static void close_thread(policy_thread* thread) {
    FakeHost& host = of(thread);
    const std::lock_guard lock(host.mutex_);
    --host.threads_;
    delete thread;
  }
  static policy_code decide_one(policy_thread* thread, const policy_query* query, policy_verdict* out) {
    FakeHost& host = of(thread);
    const std::lock_guard lock(host.mutex_);
    *out = host.decide ? host.decide(*query) : verdict(POLICY_DENY, POLICY_REASON_NO_RULE);
    return POLICY_OK;
  }
  static policy_code decide_many(policy_thread* thread, const policy_query* query, std::size_t query_stride,
                                 policy_verdict* out, std::size_t out_stride, std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) {
      decide_one(thread, reinterpret_cast<const policy_query*>(reinterpret_cast<const char*>(query) + i * query_stride),
                 reinterpret_cast<policy_verdict*>(reinterpret_cast<char*>(out) + i * out_stride));
    }
    return POLICY_OK;
  }
  static std::size_t rule_name(policy_thread*, const policy_verdict*, char* out, std::size_t cap) {
    return static_cast<std::size_t>(std::snprintf(out, cap, "fake"));
  }
  static std::size_t host_addresses(policy_thread* thread, std::uint64_t, const policy_name* name, policy_addr* out,
                                    std::size_t cap) {
    FakeHost& host = of(thread);
    const auto entry = host.fixed.find(text(name));
    if (entry == host.fixed.end()) return 0;
    for (std::size_t i = 0; i < std::min(cap, entry->second.size()); ++i) out[i] = address(entry->second[i]);
    return entry->second.size();
  }

  // Without a script every name is one that the policy lists.
  static std::uint32_t listed_labels(policy_thread* thread, const policy_name* name, const policy_verdict*) {
    FakeHost& host = of(thread);
    const std::lock_guard lock(host.mutex_);
    for (const auto& [apex, labels] : host.wildcards) {
      if (text(name).ends_with("." + apex)) return labels;
    }
    return name->labels;
  }
  static std::size_t allowed_ports(policy_thread* thread, const policy_query* query, std::uint16_t (*ranges)[2],
                                   std::size_t cap) {
    FakeHost& host = of(thread);
    const std::lock_guard lock(host.mutex_);
    std::size_t count = 0;
    bool open = false;
    policy_query at = *query;
    at.known |= POLICY_KNOW_PORT;
    for (std::uint32_t port = 0; port <= 65535 && host.decide; ++port) {
      at.port = static_cast<std::uint16_t>(port);
      const bool allowed = host.decide(at).verdict == POLICY_ALLOW;
      if (allowed && !open && count++ < cap) ranges[count - 1][0] = at.port;
      if (allowed && count <= cap) ranges[count - 1][1] = at.port;
      open = allowed;
    }
    return count;
  }

  static policy_code write_decision(policy_thread* thread, const policy_query* q, const policy_verdict* v,
                                    policy_str detail, policy_str raw, policy_ref* ref) {
    if (ref) *ref = {};
    if (ref) std::copy_n(kRef, sizeof kRef, ref->text);
    return write_audit(thread, q, v, detail, raw, false);
  }
  static policy_code write_closed(policy_thread* thread, const policy_query* q, const policy_verdict* v,
                                  policy_str detail) {
    return write_audit(thread, q, v, detail, {}, true);
  }
  static policy_code write_audit(policy_thread* thread, const policy_query* query, const policy_verdict* v,
                                 policy_str detail, policy_str raw, bool closed) {
    FakeHost& host = of(thread);
    const std::lock_guard lock(host.mutex_);
    EXPECT_LE(detail.len, 1024u) << "a longer detail is dropped by the real host";
    AuditRecord record{query->layer,
                       v->verdict,
                       v->reason,
                       query->qtype,
                       query->port,
                       query->client_id,
                       (query->known & POLICY_KNOW_NAME) ? text(query->name) : std::string(),
                       (query->known & POLICY_KNOW_ADDRESS) && query->dest ? text(*query->dest) : std::string(),
                       std::string(detail.ptr, detail.len),
                       closed,
                       query->proto,
                       query->name ? std::string() : std::string(raw.ptr, raw.len),
                       query->client ? text(*query->client) : std::string(),
                       std::string(query->credential.ptr ? query->credential.ptr : "", query->credential.len)};
    host.audit_.push_back(std::move(record));
    host.audited_.notify_all();
    return host.audit_full ? POLICY_EXHAUSTED : POLICY_OK;
  }

  static void write_log(policy_host* raw_host, std::int32_t, policy_str line, policy_str) {
    const std::lock_guard lock(of(raw_host).mutex_);
    of(raw_host).log_.emplace_back(line.ptr, line.len);
  }

  static policy_code on_listener(policy_host* raw_host, policy_str name, policy_listener_fn fn, void* user) {
    FakeHost& host = of(raw_host);
    Subscriber subscriber{std::string(name.ptr, name.len), fn, user};
    bool known = false;
    for (const Socket& socket : host.sockets_) {
      if (socket.name != subscriber.name) continue;
      known = true;
      give(subscriber, socket);
    }
    if (!known) return POLICY_NOT_FOUND;
    host.subscribers_.push_back(std::move(subscriber));
    return POLICY_OK;
  }

  // policy.synthetic/draft1: 198.18.n.n and fd73:616c:6c79::n, never reused
  policy_code assign_address(std::uint64_t client_id, const std::string& name, policy_addr* v4, policy_addr* v6) {
    const std::lock_guard lock(mutex_);
    if (synthetic_full) return POLICY_EXHAUSTED;
    const auto [entry, fresh] =
        numbers_.try_emplace({client_id, name}, static_cast<std::uint32_t>(numbers_.size() + 2));
    if (fresh) names_[{client_id, entry->second}] = name;
    if (v4) {
      *v4 = {};
      v4->family = POLICY_IPV4;
      const std::uint32_t bits = htonl(0xc6120000u + entry->second);
      std::memcpy(v4->ip, &bits, 4);
    }
    if (v6) {
      *v6 = address("fd73:616c:6c79::");
      const std::uint32_t bits = htonl(entry->second);
      std::memcpy(v6->ip + 12, &bits, 4);
    }
    return POLICY_OK;
  }
  static policy_code assign(policy_thread* thread, std::uint64_t client_id, const policy_name* name,
                            std::uint32_t ttl_ms, policy_addr* v4, policy_addr* v6) {
    EXPECT_GT(ttl_ms, 0u);
    return of(thread).assign_address(client_id, text(name), v4, v6);
  }
  static policy_code find(policy_thread* thread, std::uint64_t client_id, const policy_addr* asked, policy_name* out) {
    FakeHost& host = of(thread);
    const std::lock_guard lock(host.mutex_);
    std::uint32_t bits = 0;
    if (asked->family == POLICY_IPV4) {
      std::memcpy(&bits, asked->ip, 4);
      if (ntohl(bits) >> 17 != 0xc6120000u >> 17) return POLICY_INVALID;
      bits = ntohl(bits) & 0x1ffff;
    } else {
      if (std::memcmp(asked->ip, address("fd73:616c:6c79::").ip, 8) != 0) return POLICY_INVALID;
      std::memcpy(&bits, asked->ip + 12, 4);
      bits = ntohl(bits);
    }
    const auto entry = host.names_.find({client_id, bits});
    if (entry == host.names_.end()) return POLICY_NOT_FOUND;
    policy_error error{};
    return edge_name({entry->second.data(), entry->second.size()}, POLICY_FORM_HOST, out, &error);
  }

  mutable std::mutex mutex_;
  std::condition_variable audited_;
  std::vector<AuditRecord> audit_;
  std::vector<std::string> log_;
  std::vector<Socket> sockets_;
  std::vector<Subscriber> subscribers_;
  std::map<std::pair<std::uint64_t, std::string>, std::uint32_t> numbers_;
  std::map<std::pair<std::uint64_t, std::uint32_t>, std::string> names_;
  std::size_t threads_ = 0;
};

// A small policy for FakeHost::decide: these names at these ports, with the address guard but for the exceptions.
struct SmallPolicy {
  std::map<std::string, std::set<std::uint16_t>> allow;
  std::set<std::string> lifted;    // addresses that the guard lets pass
  std::set<std::string> literals;  // addresses allowed without a name
  std::uint32_t flags = 0;

  policy_verdict operator()(const policy_query& q) const {
    const auto deny = [](std::uint16_t reason) { return FakeHost::verdict(POLICY_DENY, reason); };
    if ((q.known & POLICY_KNOW_ADDRESS) && q.dest) {
      const std::string address = FakeHost::text(*q.dest);
      if (!lifted.contains(address) && is_guarded(classify(*Address::parse(address))))
        return deny(POLICY_REASON_ADDR_FORBIDDEN);
      if (!(q.known & POLICY_KNOW_NAME)) {
        return literals.contains(address) ? FakeHost::verdict(POLICY_ALLOW) : deny(POLICY_REASON_IP_LITERAL_DENIED);
      }
    }
    if (!(q.known & POLICY_KNOW_NAME)) return deny(POLICY_REASON_NO_RULE);
    const auto rule = allow.find(FakeHost::text(q.name));
    if (rule == allow.end()) return deny(POLICY_REASON_NO_RULE);
    if ((q.known & POLICY_KNOW_PORT) && !rule->second.contains(q.port)) return deny(POLICY_REASON_PORT_DENIED);
    // No rule asks for requests.
    const bool later = (q.deferred & ~std::uint32_t{POLICY_KNOW_METHOD | POLICY_KNOW_PATH}) != 0;
    return FakeHost::verdict(later ? POLICY_CONTINUE : POLICY_ALLOW, POLICY_REASON_OK, flags);
  }
};

// A plugin's .so, driven through its ABI.
class LoadedPlugin {
 public:
  LoadedPlugin(const char* file, FakeHost& host) : host_(host), handle_(::dlopen(file, RTLD_NOW | RTLD_LOCAL)) {
    EXPECT_NE(handle_, nullptr) << ::dlerror();
    if (handle_) entry_ = static_cast<const policy_plugin*>(::dlsym(handle_, "policy_plugin_entry"));
    EXPECT_NE(entry_, nullptr);
    error.struct_size = sizeof error;
  }
  ~LoadedPlugin() {
    if (running_) stop();
    if (self_) entry_->instance->destroy(self_);
  }  // the text stays mapped, as in the real host
  LoadedPlugin(const LoadedPlugin&) = delete;
  LoadedPlugin& operator=(const LoadedPlugin&) = delete;

  const policy_plugin& entry() const { return *entry_; }
  policy_code create(std::string_view config) {
    return entry_->instance->create(host_.raw(), FakeHost::api(), {config.data(), config.size()}, &self_, &error);
  }
  policy_code start() {
    const policy_code code = entry_->instance->start(self_, &error);
    running_ = code == POLICY_OK;
    return code;
  }
  policy_code drain(std::uint64_t& flows_left) { return entry_->instance->drain(self_, 0, &flows_left, &error); }
  policy_code stop() {
    running_ = false;
    return entry_->instance->stop(self_, &error);
  }
  std::string health() {
    char json[4096];
    std::size_t length = 0;
    EXPECT_EQ(entry_->instance->health(self_, json, sizeof json, &length), POLICY_OK);
    return {json, length};
  }

  policy_error error{};

 private:
  FakeHost& host_;
  void* handle_;
  const policy_plugin* entry_ = nullptr;
  void* self_ = nullptr;
  bool running_ = false;
};

}  // namespace sallyport::testing_kit
