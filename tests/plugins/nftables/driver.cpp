// nft_driver TOPOLOGY.json: the nftables plugin on a fake gateway, in the network namespace that it is started in. One
// command a line on stdin, one line of JSON back:
//
//   policy NAME PROTO FIRST LAST [; …]      what is allowed from now on (published); {"us": how long publishing took}
//   bind CLIENT ADDRESS NAME TTL_MS         a binding as dns records it; {"us": until it was told as applied}
//   many COUNT CLIENT ADDRESS NAME TTL_MS   COUNT of them with the addresses that follow, at once
//   health | audit | log                    the plugin's own words; the records and lines so far
//   counter NAME                            of policy.metrics/1, with its labels
//   stop                                    stops the plugin and ends; SIGKILL is the other way
#include <poll.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "support/fake_host.hpp"

namespace sallyport::testing_kit {
namespace {

using nlohmann::json;
using Clock = std::chrono::steady_clock;

struct Ports {
  int proto, first, last;
};
std::mutex script_lock;
std::map<std::string, std::vector<Ports>> script;

// The fake host asks its script about 65,536 ports one by one; the real one answers in microseconds.
std::size_t allowed_ports(policy_thread*, const policy_query* query, std::uint16_t (*ranges)[2], std::size_t cap) {
  const std::lock_guard lock(script_lock);
  if (query->dest == nullptr || query->client == nullptr) return 0;
  if (is_guarded(classify(*Address::parse(FakeHost::text(*query->dest))))) return 0;
  const auto found = script.find(FakeHost::text(query->name));
  if (found == script.end()) return 0;
  std::size_t count = 0;
  for (const Ports& ports : found->second) {
    if (ports.proto != query->proto) continue;
    if (count < cap) ranges[count][0] = static_cast<std::uint16_t>(ports.first);
    if (count < cap) ranges[count][1] = static_cast<std::uint16_t>(ports.last);
    ++count;
  }
  return count;
}

const void* get(policy_host* host, const char* id) {
  const void* found = FakeHost::api()->get(host, id);
  if (std::string_view(id) != POLICY_DECISION_ID) return found;
  static policy_decision_v1 decision = *static_cast<const policy_decision_v1*>(found);
  decision.allowed_ports = &allowed_ports;
  return &decision;
}

long long us_since(Clock::time_point began) {
  return std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - began).count();
}

bool wait_applied(FakeHost& host, std::uint64_t seq) {
  const auto end = Clock::now() + std::chrono::seconds(20);
  while (host.gate.applied() < seq) {
    if (Clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::microseconds(20));
  }
  return true;
}

policy_binding binding_of(const std::string& client, const std::string& address, const std::string& name,
                          std::uint32_t ttl_ms) {
  policy_binding out{};
  out.struct_size = sizeof out;
  out.ttl_ms = ttl_ms;
  out.client = FakeHost::address(client);
  out.addr = FakeHost::address(address);
  out.client_id = FakeGate::client_id_of(out.client);
  policy_error error{};
  FakeHost::edge()->name({name.data(), name.size()}, POLICY_FORM_HOST, &out.name, &error);
  return out;
}

// The n-th address after it.
std::string after(const std::string& address, unsigned n) {
  const Result<Address> parsed = Address::parse(address);
  const auto octets = parsed->octets();
  const std::uint32_t number =
      (std::uint32_t{octets[0]} << 24 | std::uint32_t{octets[1]} << 16 | std::uint32_t{octets[2]} << 8 | octets[3]) + n;
  return Address::v4(number).text();
}

json answer(FakeHost& host, const policy_plugin& entry, void* self, const std::string& line) {
  std::istringstream words(line);
  std::string verb;
  words >> verb;
  const auto began = Clock::now();
  if (verb == "policy") {
    {
      const std::lock_guard lock(script_lock);
      script.clear();
      std::string name;
      Ports ports{};
      while (words >> name) {
        if (name == ";") continue;
        words >> ports.proto >> ports.first >> ports.last;
        script[name].push_back(ports);
      }
    }
    host.publish();
    return {{"us", us_since(began)}};
  }
  if (verb == "bind" || verb == "many") {
    unsigned count = 1;
    if (verb == "many") words >> count;
    std::string client, address, name;
    std::uint32_t ttl_ms = 0;
    words >> client >> address >> name >> ttl_ms;
    std::uint64_t seq = 0;
    for (unsigned i = 0; i < count; ++i)
      seq = host.gate.add_binding(binding_of(client, count == 1 ? address : after(address, i), name, ttl_ms));
    const bool applied = wait_applied(host, seq);
    return {{"us", us_since(began)}, {"applied", applied}};
  }
  if (verb == "health") {
    char text[4096];
    std::size_t length = 0;
    entry.instance->health(self, text, sizeof text, &length);
    return json::parse(std::string(text, length));
  }
  if (verb == "audit") {
    json out = json::array();
    for (const AuditRecord& record : host.audit())
      out.push_back(
          {{"reason", record.reason}, {"port", record.port}, {"proto", record.proto}, {"detail", record.detail}});
    return out;
  }
  if (verb == "log") return host.logged();
  if (verb == "counter") {
    std::string series;
    std::getline(words >> std::ws, series);
    return host.gate.counter(series);
  }
  return {{"error", "unknown command"}};
}

int run(const char* topology) {
  FakeHost host;
  std::ifstream file(topology);
  host.gate.topology.assign(std::istreambuf_iterator<char>(file), {});
  host.gate.enforcer = true;
  static constexpr policy_host_api kApi = {sizeof(policy_host_api), POLICY_ABI_LEVEL, &get};
  void* const library = ::dlopen(NFTABLES_PLUGIN, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return std::fprintf(stderr, "%s\n", ::dlerror()), 1;
  const auto& entry = *static_cast<const policy_plugin*>(::dlsym(library, "policy_plugin_entry"));
  policy_error error{};
  error.struct_size = sizeof error;
  void* self = nullptr;
  if (entry.instance->create(host.raw(), &kApi, {"{}", 2}, &self, &error) != POLICY_OK ||
      entry.instance->start(self, &error) != POLICY_OK) {
    std::cout << json{{"failed", error.text}, {"log", host.logged()}} << std::endl;
    return 1;
  }
  std::cout << json{{"started", true}} << std::endl;
  std::string line;
  while (std::getline(std::cin, line) && line != "stop") std::cout << answer(host, entry, self, line) << std::endl;
  entry.instance->stop(self, &error);
  entry.instance->destroy(self);
  std::cout << json{{"stopped", true}} << std::endl;
  return 0;
}

}  // namespace
}  // namespace sallyport::testing_kit

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  ::testing::InitGoogleTest(&argc, argv);
  return sallyport::testing_kit::run(argv[1]);
}
