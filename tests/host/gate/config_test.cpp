// gateway.yaml: what is accepted, what it becomes, and that everything else is refused with its place and a repair.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "host/gate/prepared.hpp"
#include "language/gateway/gateway_load.hpp"

namespace sallyport {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// "G003 4:14 an address without a port; write ...", in order.
std::vector<std::string> found(const Diagnostics& diagnostics) {
  std::vector<std::string> lines;
  for (const Diagnostic& d : diagnostics)
    lines.push_back(std::string(d.code) + " " + std::to_string(d.where.line) + ":" + std::to_string(d.where.column) +
                    " " + d.message + (d.repair.empty() ? "" : "; " + d.repair));
  return lines;
}

constexpr const char* kWhole = R"(version: 1
name: agents-1
policy: policy.yaml
plugin_dir: /usr/lib/sallyport/plugins
networks:
  agents: { addresses: [172.20.0.0/16, "fd00:20::/64"], interfaces: [br-agents],
            pins: { 172.20.0.5: { port: veth5 }, "fd00:20::5": { mac: "02:42:AC:14:00:05" } }, from_host: open }
listeners:
  dns:   { udp: "172.20.0.3:53", tcp: ["172.20.0.3:53", "[fd00:20::3]:53"] }
  catch: { tcp: "0.0.0.0:15001", transparent: redirect }
  other: { systemd: other }
plugins:
  - { name: nftables, config: {} }
  - { name: dns, config: { listen: [dns], upstreams: [9.9.9.9] } }
  - { name: my-filter, file: mine.so, process: own }
internal: [[agents, supervisor]]
credentials: { file: users }
audit: { sinks: [stdout, "file:audit.jsonl"] }
user: "65533"
drain: 90s
)";

TEST(GatewayFile, EveryKeyReachesTheModel) {
  const GatewayOutcome outcome = load_gateway(kWhole, "/etc/sallyport/gateway.yaml");
  ASSERT_TRUE(outcome.model) << render(outcome.diagnostics, false);
  EXPECT_THAT(outcome.diagnostics, IsEmpty());
  const GatewayModel& model = *outcome.model;
  EXPECT_EQ(model.name, "agents-1");
  EXPECT_EQ(outcome.name, "agents-1");
  EXPECT_EQ(model.policy.text, "/etc/sallyport/policy.yaml");
  EXPECT_EQ(model.policy_word, "policy.yaml");
  ASSERT_EQ(model.networks.size(), 1u);
  EXPECT_EQ(model.networks[0].addresses[1].text(), "fd00:20::/64");
  EXPECT_THAT(model.networks[0].interfaces, ElementsAre("br-agents"));
  ASSERT_EQ(model.networks[0].pins.size(), 2u);
  EXPECT_EQ(model.networks[0].pins[0].address.text() + " " + model.networks[0].pins[0].port, "172.20.0.5 veth5");
  EXPECT_EQ(model.networks[0].pins[1].address.text() + " " + model.networks[0].pins[1].mac,
            "fd00:20::5 02:42:ac:14:00:05");
  EXPECT_TRUE(model.networks[0].open_from_host);
  ASSERT_EQ(model.listeners.size(), 3u);
  ASSERT_EQ(model.listeners[0].endpoints.size(), 3u);
  EXPECT_EQ(model.listeners[0].endpoints[2].address.text(), "fd00:20::3");
  EXPECT_EQ(model.listeners[0].endpoints[2].path, "listeners.dns.tcp[1]");
  EXPECT_EQ(model.listeners[1].transparent, Transparent::kRedirect);
  EXPECT_EQ(model.listeners[2].systemd, "other");
  ASSERT_EQ(model.plugins.size(), 3u);
  EXPECT_EQ(model.plugins[1].file, "dns.so");
  EXPECT_TRUE(model.plugins[1].has_config);
  EXPECT_EQ(model.plugins[2].file, "mine.so");
  EXPECT_EQ(model.plugins[2].process, "own");
  ASSERT_EQ(model.internal.size(), 1u);
  EXPECT_EQ(model.internal[0].second.text, "supervisor");
  EXPECT_EQ(model.credentials.text, "/etc/sallyport/users");
  EXPECT_EQ(model.sinks[1].text, "file:/etc/sallyport/audit.jsonl");
  EXPECT_EQ(model.uid, 65533u);
  EXPECT_EQ(model.drain, std::chrono::seconds(90));
}

TEST(GatewayFile, DefaultsAreThoseOfTheManual) {
  const GatewayOutcome outcome = load_gateway("version: 1\npolicy: /p.yaml\nplugins: [{ name: dns }]\n", "box-7.yaml");
  ASSERT_TRUE(outcome.model) << render(outcome.diagnostics, false);
  EXPECT_EQ(outcome.model->name, "box-7");
  EXPECT_EQ(outcome.model->sinks[0].text, "stdout");
  EXPECT_EQ(outcome.model->drain, std::chrono::seconds(10));
  EXPECT_NE(outcome.model->uid, 0u);
}

struct Case {
  const char* why;
  const char* text;  // after "version: 1\npolicy: p.yaml\n", which has 2 lines; with the plugin where none is written
  std::vector<std::string> expected;
};
void PrintTo(const Case& row, std::ostream* out) { *out << row.why; }

class Refused : public testing::TestWithParam<Case> {};
TEST_P(Refused, WithPlaceAndRepair) {
  std::string text = "version: 1\npolicy: p.yaml\n" + std::string(GetParam().text);
  if (text.find("plugins:") == std::string::npos) text += "plugins: [{ name: dns }]\n";
  const GatewayOutcome outcome = load_gateway(text, "gateway.yaml");
  EXPECT_FALSE(outcome.model);
  EXPECT_EQ(found(outcome.diagnostics), GetParam().expected) << render(outcome.diagnostics, false);
}
INSTANTIATE_TEST_SUITE_P(
    GatewayFile, Refused,
    testing::ValuesIn<Case>({
        {"UnknownKey", "listener: {}\n", {"P003 3:1 unknown key `listener`; did you mean `listeners`?"}},
        {"LaterKey",
         "control: {}\n",
         {"P004 3:1 key `control` is not supported by this version yet; remove it: what it asks for would not be "
          "enforced"}},
        {"TwoErrorsAtOnce",
         "listener: {}\ndrain: soon\n",
         {"P003 3:1 unknown key `listener`; did you mean `listeners`?",
          "G011 4:8 expected a time such as 10s, found `soon`; units are ms, s, m and h"}},
        {"AddressWithoutPort",
         "listeners:\n  dns: { udp: 172.20.0.3 }\n",
         {"G003 4:15 an address without a port; write `172.20.0.3:53`"}},
        {"V6WithoutBrackets",
         "listeners:\n  dns: { udp: \"fd00::3\" }\n",
         {"G003 4:16 an address without a port; write `[fd00::3]:53`"}},
        {"NameAsAddress",
         "listeners:\n  dns: { tcp: \"gateway:53\" }\n",
         {"G003 4:16 expected address:port, found `gateway:53`; a name can change its meaning: write the address"}},
        {"StarAsAddress",
         "listeners:\n  dns: { tcp: \"*:53\" }\n",
         {"G003 4:16 expected address:port, found `*:53`; write \"0.0.0.0:53\" for every address"}},
        {"PortZero",
         "listeners:\n  dns: { tcp: \"127.0.0.1:0\" }\n",
         {"G003 4:16 `0` is no port; a port is a number from 1 to 65535"}},
        {"PortTooLarge",
         "listeners:\n  dns: { tcp: \"127.0.0.1:65536\" }\n",
         {"G003 4:16 `65536` is no port; a port is a number from 1 to 65535"}},
        {"LegacyAddress",
         "listeners:\n  dns: { tcp: \"127.1:53\" }\n",
         {"G003 4:16 expected address:port, found `127.1:53`; write \"172.20.0.3:53\" or \"[fd00::3]:53\""}},
        {"SameAddressTwice",
         "listeners:\n  a: { tcp: \"127.0.0.1:53\" }\n  b: { tcp: [\"127.0.0.1:53\"] }\n",
         {"G004 5:15 `127.0.0.1:53` is listened on already; keep one of the two"}},
        {"SystemdAndAddress",
         "listeners:\n  a: { tcp: \"127.0.0.1:53\", systemd: a }\n",
         {"G005 4:29 a listener is systemd's or has addresses, not both; remove `systemd`, or the addresses"}},
        {"NoAddress",
         "listeners:\n  a: { transparent: tproxy }\n",
         {"P006 4:3 listener `a` has no address; write tcp: \"172.20.0.2:3128\", udp, or systemd"}},
        {"TransparentUdp",
         "listeners:\n  a: { udp: \"127.0.0.1:53\", transparent: tproxy }\n",
         {"G006 4:42 what is sent here transparently is TCP alone; give the UDP address a listener of its own"}},
        {"UnknownTransparent",
         "listeners:\n  a: { tcp: \"127.0.0.1:53\", transparent: redirekt }\n",
         {"P017 4:42 unknown transparent `redirekt`; did you mean `redirect`?"}},
        {"InterfaceName",
         "networks:\n  a: { addresses: [10.0.0.0/8], interfaces: [\"br agents\"] }\n",
         {"G002 4:47 `br agents` is no interface's name; `ip link` lists them"}},
        {"InterfaceTwice",
         "networks:\n  a: { addresses: [10.0.0.0/8], interfaces: [br0] }\n  b: { addresses: [11.0.0.0/8], interfaces: "
         "[br0] }\n",
         {"P012 5:46 interface `br0` belongs to a network already; keep one of the two"}},
        {"AddressesPerPort",
         "networks:\n  a: { addresses: [10.0.0.0/8], interfaces: [br0], addresses_per_port: 0 }\n"
         "  b: { addresses: [11.0.0.0/8], interfaces: [br1], addresses_per_port: 1025 }\n",
         {"G023 4:72 a port has 1 to 1024 addresses, not 0; write the number of addresses that one port needs",
          "G023 5:72 a port has 1 to 1024 addresses, not 1025; write the number of addresses that one port needs"}},
        {"PinOfABlock",
         "networks:\n  a: { addresses: [10.0.0.0/8], interfaces: [br0], pins: { 10.1.0.0/16: { port: v1 } } }\n",
         {"G025 4:60 `10.1.0.0/16` is no address; a pin is for one address: 172.20.0.7, \"fd00:20::7\""}},
        {"PinElsewhere",
         "networks:\n  a: { addresses: [10.0.0.0/8], interfaces: [br0], pins: { 11.0.0.1: { port: v1 } } }\n",
         {"G025 4:60 `11.0.0.1` is not among the addresses of network `a`; remove the pin, or add the block to "
          "`addresses`"}},
        {"PinWithoutABridge",
         "networks:\n  a: { addresses: [10.0.0.0/8], pins: { 10.0.0.1: { port: v1 } } }\n",
         {"G025 4:41 network `a` has no interface to pin at; write interfaces: [br-agents], the bridge that the "
          "workloads are behind"}},
        {"PinToNothing",
         "networks:\n  a: { addresses: [10.0.0.0/8], interfaces: [br0], pins: { 10.0.0.1: {} } }\n",
         {"G025 4:60 `10.0.0.1` is pinned to nothing; write { port: veth7 }, { mac: \"02:42:ac:14:00:07\" }, or both"}},
        {"PinTwice",
         "networks:\n  a: { addresses: [\"fd00::/64\"], interfaces: [br0], pins: { \"fd00::7\": { port: v1 } } }\n"
         "  b: { addresses: [\"fd00::/64\"], interfaces: [br1], pins: { \"fd00:0::7\": { port: v2 } } }\n",
         {"G025 5:62 `fd00:0::7` is pinned already; keep one of the two"}},
        {"PinPort",
         "networks:\n  a: { addresses: [10.0.0.0/8], interfaces: [br0], pins: { 10.0.0.1: { port: \"v1 }; accept\" } } "
         "}\n",
         {"G025 4:79 `v1 }; accept` is no port's name; `bridge link` lists them"}},
        {"PinMac",
         "networks:\n  a: { addresses: [10.0.0.0/8], interfaces: [br0], pins: { 10.0.0.1: { mac: \"03:00:00:00:00:01\" "
         "} } }\n"
         "  b: { addresses: [11.0.0.0/8], interfaces: [br1], pins: { 11.0.0.1: { mac: \"02-42-ac-14-00-07\" } } }\n",
         {"G025 4:78 `03:00:00:00:00:01` is no interface's MAC address; write six pairs of hexadecimal digits in "
          "quotes, such "
          "as \"02:42:ac:14:00:07\"",
          "G025 5:78 `02-42-ac-14-00-07` is no interface's MAC address; write six pairs of hexadecimal digits in "
          "quotes, such "
          "as \"02:42:ac:14:00:07\""}},
        {"FromHost",
         "networks:\n  a: { addresses: [10.0.0.0/8], from_host: opened }\n",
         {"P017 4:44 unknown from_host `opened`; did you mean `open`?"}},
        {"NetworkWithoutAddresses",
         "networks:\n  a: { interfaces: [br0] }\n",
         {"P006 4:3 network `a` has no addresses; write addresses: [172.20.0.0/16]: a source that is not in them is "
          "refused"}},
        {"HostBits",
         "networks:\n  a: { addresses: [172.20.0.5/16] }\n",
         {"P009 4:20 `172.20.0.5/16` has host bits set; did you mean 172.20.0.0/16 (the network) or 172.20.0.5/32 (one "
          "host)?"}},
        {"NoPlugins",
         "plugins: []\n",
         {"P006 3:1 a gateway without plugins does nothing; write plugins: and below it `- { name: dns, config: {...} "
          "}`"}},
        {"PluginTwice",
         "plugins:\n  - { name: dns }\n  - { name: dns }\n",
         {"P013 5:13 two plugins are called `dns`; give one another name, and `file: dns.so`"}},
        {"PluginName",
         "plugins:\n  - { name: ../dns }\n",
         {"G007 4:13 `../dns` is no plugin's name; 1 to 31 of a-z, 0-9 and -"}},
        {"PluginWithoutName",
         "plugins:\n  - { file: dns.so }\n",
         {"P006 4:5 a plugin without a name; write name: dns"}},
        {"ConfigAsList",
         "plugins:\n  - { name: dns, config: [a] }\n",
         {"P005 4:26 expected a mapping of options; write config: {...}, or remove the key"}},
        {"ConfigAsWord",
         "plugins:\n  - { name: dns, config: all }\n",
         {"P005 4:26 expected a mapping of options; write config: {...}, or remove the key"}},
        {"PairOfThree",
         "internal: [[a, b, c]]\n",
         {"G008 3:12 expected a pair of the policy's clients; write [agents, supervisor]"}},
        {"SinkPath",
         "audit: { sinks: [/var/log/a.jsonl] }\n",
         {"G009 3:18 unknown sink `/var/log/a.jsonl`; write `file:/var/log/a.jsonl`"}},
        {"Root",
         "user: root\n",
         {"G010 3:7 workers never run as root; they parse what the workloads send: name a user that owns nothing, or "
          "remove the key"}},
        {"RootByNumber",
         "user: \"0\"\n",
         {"G010 3:8 workers never run as root; they parse what the workloads send: name a user that owns nothing, or "
          "remove the key"}},
        {"NoSuchUser",
         "user: nobody-there\n",
         {"G010 3:7 there is no user `nobody-there`; adduser --system nobody-there, or remove the key, which means "
          "nobody"}},
        {"DrainWithoutUnit", "drain: 10\n", {"G011 3:8 expected a time such as 10s, found `10`; write `10s`"}},
        {"RelativePluginDir",
         "plugin_dir: plugins\n",
         {"G001 3:13 the plugin directory must be an absolute path; a search path is what a wrong plugin gets in by"}},
        {"CredentialsWithoutFile",
         "credentials: {}\n",
         {"P006 3:1 `credentials` names no file; write credentials: { file: users }"}},
    }),
    [](const auto& row) { return row.param.why; });

TEST(GatewayFile, EveryOwnCodeIsExplained) {
  for (const CodeText& code : gateway_codes()) EXPECT_FALSE(explain_gateway_code(code.code).empty()) << code.code;
  EXPECT_TRUE(explain_gateway_code("P003").empty());
}

TEST(GatewayFile, NotOnlyTheFileButItsOwnerIsChecked) {
  char pattern[] = "/tmp/gate-config-XXXXXX";
  const std::string directory = ::mkdtemp(pattern);
  const std::string file = directory + "/gateway.yaml";
  std::ofstream(file) << kWhole;
  std::filesystem::permissions(file, std::filesystem::perms::others_write, std::filesystem::perm_options::add);
  const GatewayOutcome outcome = load_gateway_file(file);
  EXPECT_FALSE(outcome.model);
  ASSERT_EQ(outcome.diagnostics.size(), 1u);
  EXPECT_EQ(outcome.diagnostics[0].code, "P001");
  EXPECT_THAT(outcome.diagnostics[0].message, HasSubstr("writable by everyone"));
  std::filesystem::remove_all(directory);
}

// With the plugins' schemas, the policy and the credentials.
class Prepare : public testing::Test {
 protected:
  Prepare() {
    char pattern[] = "/tmp/gate-prepare-XXXXXX";
    directory_ = ::mkdtemp(pattern);
    write("policy.yaml",
          "version: 1\nclients:\n  agents: { addresses: [172.20.0.0/16] }\nrules:\n  - { name: a, action: allow, "
          "clients: [agents], domains: [a.test] }\n");
  }
  ~Prepare() override { std::filesystem::remove_all(directory_); }
  void write(const std::string& name, const std::string& text) { std::ofstream(directory_ + "/" + name) << text; }
  PreparedOutcome prepare(const std::string& rest) {
    write("gateway.yaml", "version: 1\npolicy: policy.yaml\nplugin_dir: " PLUGINS
                          "\nlisteners: { dns: { udp: \"127.0.0.1:53\" } }\n" +
                              rest);
    return prepare_gateway(directory_ + "/gateway.yaml");
  }
  std::string directory_;
};

TEST_F(Prepare, ConfigHasTheManifestsDefaults) {
  const PreparedOutcome outcome = prepare("plugins:\n  - { name: dns, config: { upstreams: [9.9.9.9] } }\n");
  ASSERT_TRUE(outcome.prepared) << render(outcome.diagnostics, false);
  const nlohmann::json config = nlohmann::json::parse(outcome.prepared->plugins[0].config);
  EXPECT_EQ(config["upstreams"], nlohmann::json({"9.9.9.9"}));
  EXPECT_EQ(config["listen"], nlohmann::json({"dns"}));
  EXPECT_THAT(outcome.prepared->sources, ElementsAre("172.20.0.0/16"));
  EXPECT_TRUE(outcome.prepared->flow_layer);  // names alone: nobody here decides ports, and that is said
  EXPECT_THAT(found(outcome.diagnostics), ElementsAre(HasSubstr("G022 6:13 no plugin here decides connections")));
}

constexpr const char* kLimits =
    "version: 1\nclients:\n  agents: { addresses: [172.20.0.0/16] }\nrules:\n"
    "  - { name: asks, action: allow, domains: [a.test], limits: { requests: 60/m } }\n"
    "  - { name: moves, action: allow, domains: [b.test], limits: { requests: 60/m, upload: 1MB/day } }\n";

TEST_F(Prepare, LimitsThatNobodyKeepsAreRefused) {
  write("policy.yaml", kLimits);
  const auto of_limits = [](const PreparedOutcome& outcome) {
    EXPECT_FALSE(outcome.prepared);
    std::vector<std::string> lines = found(outcome.diagnostics);
    std::erase_if(lines, [](const std::string& line) { return !line.starts_with("P059"); });
    return lines;
  };
  EXPECT_THAT(
      of_limits(prepare("plugins:\n  - { name: dns, config: { upstreams: [9.9.9.9] } }\n")),
      ElementsAre("P059 2:9 rule `moves` (line 6) has limits, and no plugin here sees the bytes of its flows; add "
                  "http-proxy or sni-filter; a gateway of names alone can keep `requests`, of questions"));
  EXPECT_THAT(
      of_limits(
          prepare("networks:\n  agents: { addresses: [172.20.0.0/16] }\nplugins:\n  - { name: nftables, config: {} }\n"
                  "  - { name: dns, config: { upstreams: [9.9.9.9] } }\n")),
      ElementsAre(HasSubstr("rule `asks` (line 5) has limits, and the kernel forwards its flows past them; add a "
                            "listener with `transparent: redirect` for sni-filter, or remove the limits"),
                  HasSubstr("rule `moves` (line 6) has limits")));
}

constexpr const char* kUdpRules =
    "version: 1\nclients:\n  agents: { addresses: [172.20.0.0/16] }\n  ci: { credentials: [ci-bot] }\nrules:\n"
    "  - { name: tcp, action: allow, addresses: [9.9.9.9], ports: [443] }\n"
    "  - { name: clock, action: allow, addresses: [9.9.9.9], ports: [123/udp] }\n"
    "  - { name: none, action: deny, addresses: [9.9.9.10], ports: [123/udp] }\n"
    "  - { name: ads, action: deny, clients: [agents], domains: [\"*.ads.test\"], ports: [123/udp] }\n"
    "  - { name: late, action: allow, clients: [agents], addresses: [9.9.8.0/24], ports: [5432, 123/udp] }\n"
    "  - { name: users, action: allow, clients: [ci], addresses: [9.9.7.0/24], ports: [9000/udp] }\n"
    "  - { name: named, action: allow, domains: [ntp.test], ports: [123/udp] }\n";

TEST_F(Prepare, UdpToAnAddressIsSaidNotToPassWithoutNftables) {
  write("policy.yaml", kUdpRules);
  const PreparedOutcome outcome = prepare("plugins:\n  - { name: dns, config: { upstreams: [9.9.9.9] } }\n");
  ASSERT_TRUE(outcome.prepared) << render(outcome.diagnostics, false);
  EXPECT_THAT(found(outcome.diagnostics),
              testing::IsSupersetOf(
                  {HasSubstr("G024 2:9 rule `clock` (line 7) allows UDP to an address, which nothing here lets "
                             "through; nftables opens it, for the addresses of `networks`"),
                   HasSubstr("G024 2:9 rule `late` (line 10)"), HasSubstr("G024 2:9 rule `users` (line 11)")}));
  for (const char* other : {"`tcp`", "`none`", "`named`", "`ads`"})
    EXPECT_EQ(render(outcome.diagnostics, false).find(other), std::string::npos) << other;
}

TEST_F(Prepare, UdpToAnAddressIsSaidNotToPassWhereNftablesCannotOpenIt) {
  write("policy.yaml", kUdpRules);
  const PreparedOutcome outcome = prepare(
      "networks:\n  agents: { addresses: [172.20.0.0/16] }\nplugins:\n  - { name: nftables, config: {} }\n"
      "  - { name: dns, config: { upstreams: [9.9.9.9] } }\n");
  ASSERT_TRUE(outcome.prepared) << render(outcome.diagnostics, false);
  std::vector<std::string> of_udp = found(outcome.diagnostics);
  std::erase_if(of_udp, [](const std::string& line) { return !line.starts_with("G024"); });
  EXPECT_THAT(
      of_udp,
      ElementsAre(
          "G024 2:9 rule `late` (line 10) allows UDP to an address, which nothing here lets through: rule `ads` "
          "(line 9) denies what has no name; write `late` before `ads`, or name the destination in `domains`",
          "G024 2:9 rule `users` (line 11) allows UDP to an address, which nothing here lets through: none of its "
          "clients sends from an address of `networks`; users with credentials and cells have the proxy; write "
          "the clients' `addresses`"));
}

TEST_F(Prepare, FaultsOfAConfigHaveTheUsersLineAndColumn) {
  const PreparedOutcome outcome = prepare(
      "plugins:\n  - name: dns\n    config:\n      upstream: [9.9.9.9]\n      answers: reel\n      listen: [dns, "
      "dms]\n      ipv6: { on: true }\n");
  EXPECT_FALSE(outcome.prepared);
  EXPECT_THAT(found(outcome.diagnostics),
              testing::IsSupersetOf({
                  HasSubstr("G013 8:7 dns: unknown option `upstream`; did you mean `upstreams`?"),
                  HasSubstr("G013 9:16 dns: expected one of"),
                  HasSubstr("G013 11:7 dns: expected string, found object"),
              }));
}

TEST_F(Prepare, ListenNamesAListener) {
  const PreparedOutcome outcome = prepare("plugins:\n  - { name: dns, config: { listen: [dsn] } }\n");
  EXPECT_THAT(found(outcome.diagnostics), ElementsAre("G014 6:37 no listener is called `dsn`; did you mean `dns`?"));
}

TEST_F(Prepare, ListenerBelongsToOnePlugin) {
  const PreparedOutcome outcome =
      prepare("plugins:\n  - { name: dns }\n  - { name: dns-2, file: dns.so, config: { listen: [dns] } }\n");
  EXPECT_THAT(found(outcome.diagnostics),
              ElementsAre("G015 7:53 listener `dns` belongs to `dns` already; give each plugin a listener of its own"));
}

TEST_F(Prepare, PluginThatIsNotThere) {
  const PreparedOutcome outcome = prepare("plugins:\n  - { name: dsn }\n");
  EXPECT_THAT(found(outcome.diagnostics), ElementsAre(HasSubstr("G012 6:13 plugin " PLUGINS "/dsn.so: ")));
}

TEST_F(Prepare, ErrorsOfEveryFileComeTogether) {
  write("policy.yaml", "version: 1\nrulez: []\n");
  write("users", "bob:secret\n");
  const PreparedOutcome outcome =
      prepare("plugins:\n  - { name: dns, config: { listn: [dns] } }\ncredentials: { file: users }\n");
  EXPECT_THAT(found(outcome.diagnostics),
              ElementsAre(HasSubstr("unknown option `listn`"), HasSubstr("unknown key `rulez`"),
                          HasSubstr("user `bob` has no hash")));
  EXPECT_THAT(render(outcome.diagnostics, false), testing::Not(HasSubstr("secret")));
}

TEST_F(Prepare, InternalNamesClientsOfThePolicy) {
  const PreparedOutcome outcome = prepare("plugins:\n  - { name: dns }\ninternal: [[agents, agent]]\n");
  EXPECT_THAT(found(outcome.diagnostics),
              ElementsAre("G017 7:21 the policy has no client `agent`; did you mean `agents`?"));
}

TEST_F(Prepare, ClientThatInternalAloneNamesIsUsed) {
  write("policy.yaml",
        "version: 1\nclients:\n  agents: { addresses: [172.20.1.0/24] }\n  supervisor: { addresses: [172.20.0.5] }\n"
        "  nobody: { addresses: [172.20.0.6] }\nrules:\n  - { name: a, action: allow, clients: [agents], "
        "domains: [a.test] }\n");
  std::vector<std::string> unused;
  for (const std::string& line :
       found(prepare("plugins:\n  - { name: dns }\ninternal: [[agents, supervisor]]\n").diagnostics)) {
    if (line.starts_with("P040")) unused.push_back(line);
  }
  EXPECT_THAT(unused, ElementsAre(HasSubstr("`nobody`")));
  EXPECT_THAT(found(prepare("plugins:\n  - { name: dns }\n").diagnostics),
              testing::AllOf(testing::Contains(HasSubstr("P040 4:3")), testing::Contains(HasSubstr("P040 5:3"))));
}

}  // namespace
}  // namespace sallyport
