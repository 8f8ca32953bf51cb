// A small world: every name, address, port and client that a test policy can tell apart, all queries over them, and
// random policies about them.
#pragma once

#include <random>
#include <string>
#include <vector>

#include "engine/decide.hpp"

namespace sallyport::small_world {

inline DomainName name(std::string_view text) { return *DomainName::parse(text); }
inline Address address(std::string_view text) { return *Address::parse(text); }
inline Prefix prefix(std::string_view text) { return *Prefix::parse(text); }
inline Pattern pattern(std::string_view text) { return *Pattern::parse(text); }

inline constexpr const char* kNames[] = {"a.test",  "b.a.test",      "c.b.a.test", "b.test",
                                         "xa.test", "other.example", "host"};
inline constexpr const char* kAddresses[] = {"9.9.9.9",         "9.9.8.8", "93.184.216.34", "10.1.2.3", "127.0.0.1",
                                             "169.254.169.254", "8.8.4.4", "2620:fe::fe",   "fd00::1"};
inline constexpr const char* kOwnAddress = "8.8.4.4";

struct Ported {
  std::uint16_t proto, port;
};
inline constexpr Ported kPorts[] = {{kProtoTcp, 443}, {kProtoTcp, 22}, {kProtoUdp, 443}};

inline constexpr const char* kMethods[] = {"GET", "POST"};
inline constexpr const char* kPaths[] = {"/a/x", "/b"};
inline constexpr std::int64_t kNow[] = {0, 50, 150};  // not known, and before and after the end of a trial
inline constexpr std::int64_t kUntil = 100;

// What a layer can know of one attribute: a value by index, or nothing yet, or nothing ever.
inline constexpr int kDeferred = -1, kInvisible = -2;

struct Flow {  // indices into the arrays above
  int name = kInvisible, address = kInvisible, port = kInvisible;
  std::uint64_t groups = 0;
  int method = kInvisible, path = kInvisible;
  int now = 0;

  std::string text() const {
    const auto value = [](int i, const char* const* names) {
      return i == kDeferred ? std::string("deferred") : i == kInvisible ? "invisible" : names[i];
    };
    static constexpr const char* kPortNames[] = {"443/tcp", "22/tcp", "443/udp"};
    return "name " + value(name, kNames) + ", address " + value(address, kAddresses) + ", port " +
           value(port, kPortNames) + ", groups " + std::to_string(groups) + ", method " + value(method, kMethods) +
           ", path " + value(path, kPaths) + ", now " + std::to_string(kNow[now]);
  }
};

class World {
 public:
  World() {
    for (const char* text : kNames) names_.push_back(name(text));
    for (const char* text : kAddresses) addresses_.push_back(address(text));
  }

  Query query(const Flow& flow) const {
    Query q;
    q.groups = flow.groups;
    const auto see = [&q](int value, std::uint32_t bit) {
      if (value >= 0) q.known |= bit;
      if (value == kDeferred) q.deferred |= bit;
    };
    see(flow.name, kKnowName);
    see(flow.address, kKnowAddress);
    see(flow.port, kKnowPort);
    see(flow.method, kKnowMethod);
    see(flow.path, kKnowPath);
    if (flow.method >= 0) q.method = kMethods[flow.method];
    if (flow.path >= 0) q.path = kPaths[flow.path];
    q.now = kNow[flow.now];
    if (flow.name >= 0) q.name = &names_[static_cast<std::size_t>(flow.name)];
    if (flow.address >= 0) q.address = &addresses_[static_cast<std::size_t>(flow.address)];
    if (flow.port >= 0) {
      q.proto = kPorts[flow.port].proto;
      q.port = kPorts[flow.port].port;
    }
    return q;
  }

  // Fewer destinations, each with every request and at every time.
  template <typename F>
  static void each_request(F f) {
    for (const int n : {0, 1, kDeferred, kInvisible}) {
      for (const int a : {0, 3, 5, kDeferred, kInvisible}) {
        for (const int p : {0, kDeferred, kInvisible}) {
          for (const std::uint64_t groups : {0, 1, 2}) {
            for (int m = kInvisible; m < static_cast<int>(std::size(kMethods)); ++m) {
              for (int path = kInvisible; path < static_cast<int>(std::size(kPaths)); ++path) {
                for (int now = 0; now < static_cast<int>(std::size(kNow)); ++now)
                  f(Flow{n, a, p, groups, m, path, now});
              }
            }
          }
        }
      }
    }
  }

  const std::vector<DomainName>& names() const { return names_; }
  const std::vector<Address>& addresses() const { return addresses_; }

  template <typename F>
  static void each_flow(F f) {
    for (int n = kInvisible; n < static_cast<int>(std::size(kNames)); ++n) {
      for (int a = kInvisible; a < static_cast<int>(std::size(kAddresses)); ++a) {
        for (int p = kInvisible; p < static_cast<int>(std::size(kPorts)); ++p) {
          for (std::uint64_t groups = 0; groups < 4; ++groups) f(Flow{n, a, p, groups});
        }
      }
    }
  }

 private:
  std::vector<DomainName> names_;
  std::vector<Address> addresses_;
};

// Up to five rules; each part is present or absent by chance, so that every combination comes up.
inline PolicyModel random_policy(unsigned seed) {
  std::mt19937 random(seed);
  const auto below = [&random](unsigned n) { return static_cast<unsigned>(random() % n); };
  const auto chance = [&below](unsigned percent) { return below(100) < percent; };
  static constexpr const char* kPatterns[] = {"a.test",     "*.a.test",    ".a.test",   "b.a.test",
                                              "*.b.a.test", ".b.test",     "**.b.test", "xa.test",
                                              "c.b.a.test", ".c.b.a.test", "*.example", "host"};
  static constexpr const char* kPrefixes[] = {"9.9.9.9/32",         "9.9.0.0/16",       "10.0.0.0/8", "127.0.0.0/8",
                                              "169.254.169.254/32", "169.254.0.0/16",   "8.8.4.4/32", "2620:fe::/32",
                                              "fd00::/8",           "93.184.216.34/32", "0.0.0.0/0",  "::/0"};
  static constexpr PortRange kRanges[] = {
      {443, 443, kProtoTcp}, {22, 443, kProtoTcp}, {1, 100, kProtoTcp}, {443, 443, kProtoUdp}};

  PolicyModel policy;
  policy.source = "seed " + std::to_string(seed);
  policy.default_action = chance(25) ? Action::kAllow : Action::kDeny;
  policy.clients = {{"first", {}, {}}, {"second", {}, {}}};
  if (chance(50)) policy.own_addresses = {address(kOwnAddress)};
  const auto prefixes = [&] {
    std::vector<Prefix> some;
    for (unsigned n = 1 + below(2); n > 0; --n) some.push_back(prefix(kPrefixes[below(std::size(kPrefixes))]));
    return some;
  };
  for (unsigned rules = below(6); rules > 0; --rules) {
    RuleModel rule;
    rule.name = "rule " + std::to_string(policy.rules.size());
    rule.action = chance(60) ? Action::kAllow : Action::kDeny;
    if (chance(30)) rule.clients.push_back(chance(50) ? "first" : "second");
    if (chance(70)) {
      for (unsigned n = 1 + below(3); n > 0; --n)
        rule.domains.push_back(pattern(kPatterns[below(std::size(kPatterns))]));
      if (chance(30)) {  // the same as lists: each pattern in one of two, some in both, and what an earlier rule has
        auto first = std::make_shared<PatternSet>(), second = std::make_shared<PatternSet>();
        for (const Pattern& domain : rule.domains) {
          if (chance(60)) first->add(domain);
          if (chance(60)) second->add(domain);
        }
        rule.lists = {first, second};
        if (chance(50)) rule.domains.clear();
        if (chance(50) && !policy.rules.empty()) {
          for (const auto& list : policy.rules.back().lists) rule.lists.push_back(list);
        }
      }
      if (chance(30)) rule.resolves_to = prefixes();
    }
    if (chance(35)) rule.addresses = prefixes();
    if (chance(50)) rule.ports.push_back(kRanges[below(std::size(kRanges))]);
    if (chance(20)) rule.ports.push_back(kRanges[below(std::size(kRanges))]);
    rule.tunnel_any = chance(20);
    rule.allow_metadata = chance(30);
    policy.rules.push_back(rule);
  }
  return policy;
}

// The same, with methods, paths and trials.
inline PolicyModel random_policy_of_requests(unsigned seed) {
  PolicyModel policy = random_policy(seed);
  std::mt19937 random(seed + 1'000'000);
  const auto chance = [&random](unsigned percent) { return random() % 100 < percent; };
  if (chance(20)) policy.observe = ObserveModel{kUntil};
  if (chance(30)) policy.clients[0].observe = ObserveModel{kUntil};
  for (RuleModel& rule : policy.rules) {
    if (chance(40)) rule.methods.push_back(kMethods[random() % 2]);
    if (chance(10)) rule.methods.push_back(kMethods[random() % 2]);
    static constexpr const char* kGlobs[] = {"/a/*", "/b", "*", "/*x", "/c/*"};
    if (chance(40)) rule.paths.push_back(kGlobs[random() % std::size(kGlobs)]);
    if (chance(10)) rule.paths.push_back(kGlobs[random() % std::size(kGlobs)]);
    rule.observe = chance(25);
  }
  return policy;
}

// Every part of a policy, for the message of a failing test.
inline std::string text(const PolicyModel& policy) {
  std::string out = policy.source + ", default " + (policy.default_action == Action::kAllow ? "allow" : "deny");
  for (const Address& own : policy.own_addresses) out += ", own " + own.text();
  if (policy.observe) out += ", on trial";
  for (const ClientModel& client : policy.clients) {
    if (client.observe) out += ", " + client.name + " on trial";
  }
  for (const RuleModel& rule : policy.rules) {
    out += "\n  " + rule.name + (rule.action == Action::kAllow ? ": allow" : ": deny");
    for (const auto& client : rule.clients) out += " client " + client;
    for (const auto& domain : rule.domains) out += " domain " + domain.text();
    for (const auto& list : rule.lists) {
      out += " list";
      for (std::size_t i = 0; i < list->size(); ++i) out += " " + list->pattern(i).text();
    }
    for (const auto& to : rule.resolves_to) out += " resolves_to " + to.text();
    for (const auto& block : rule.addresses) out += " address " + block.text();
    for (const auto& port : rule.ports) {
      out += " port " + std::to_string(port.first) + "-" + std::to_string(port.last) +
             (port.proto == kProtoTcp ? "/tcp" : "/udp");
    }
    if (rule.allow_metadata) out += " allow_metadata";
    if (rule.observe) out += " observe";
    for (const auto& method : rule.methods) out += " " + method;
    for (const auto& path : rule.paths) out += " " + path;
  }
  return out;
}

// A snapshot with the memory it borrows.
struct Compiled {
  explicit Compiled(const PolicyModel& policy, std::uint64_t generation = 7) {
    auto made = compile(policy, generation);
    if (!made.ok()) return;
    bytes = *std::move(made);
    auto opened = Snapshot::open(bytes);
    if (opened.ok()) snapshot = *opened;
  }
  std::vector<std::byte> bytes;
  std::shared_ptr<const Snapshot> snapshot;  // null: it did not compile or verify
};

}  // namespace sallyport::small_world
