// The whole of sallyport-monitor on captures that captures/make.py wrote.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "monitor/command.hpp"

namespace sallyport::monitor {
namespace {

using Json = nlohmann::json;
const std::string kCaptures = "tests/plugins/pcap-monitor/captures/";

struct Seen {
  int status = 0;
  std::vector<Json> lines;
  std::string err;

  std::vector<Json> of(const std::string& kind) const {
    std::vector<Json> out;
    for (const Json& line : lines) {
      if (line["kind"] == kind) out.push_back(line);
    }
    return out;
  }
  std::vector<std::string> alarms() const {
    std::vector<std::string> out;
    for (const Json& alarm : of("alarm"))
      out.push_back(alarm["dest"].get<std::string>() + ":" + std::to_string(alarm["port"].get<int>()) + " " +
                    alarm["reason"].get<std::string>());
    return out;
  }
  Json summary() const { return of("summary").empty() ? Json() : of("summary").back(); }
};

Seen see(const std::string& capture, std::vector<std::string> more = {}) {
  std::vector<std::string> arguments = {
      "-r", kCaptures + capture + ".pcap", "-p", kCaptures + "policy.yaml", "--gateway", "10.50.0.1"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  std::ostringstream out, err;
  Seen seen;
  seen.status = run_monitor(arguments, out, err);
  seen.err = err.str();
  std::istringstream lines(out.str());
  for (std::string line; std::getline(lines, line);) seen.lines.push_back(Json::parse(line));  // each line is JSON
  return seen;
}

TEST(Offline, OneAllowedAndFiveViolatingFlowsAreFiveReports) {  // MON-01
  const Seen seen = see("mon01");
  EXPECT_EQ(seen.status, 1);
  struct Expected {
    const char *proto, *dest, *reason;
    int client_port, port;
  };
  const Expected expected[] = {{"tcp", "45.33.32.156", "no_rule", 40003, 443},
                               {"tcp", "45.33.32.157", "dst_not_bound", 40004, 443},
                               {"tcp", "93.184.216.34", "port_denied", 40005, 8443},
                               {"tcp", "169.254.169.254", "ip_literal_denied", 40006, 80},
                               {"udp", "93.184.216.34", "quic_denied", 40007, 443}};
  const std::vector<Json> alarms = seen.of("alarm");
  ASSERT_EQ(alarms.size(), std::size(expected));
  for (std::size_t i = 0; i < alarms.size(); ++i) {
    EXPECT_EQ(alarms[i]["proto"], expected[i].proto);
    EXPECT_EQ(alarms[i]["client"], "10.50.0.7");
    EXPECT_EQ(alarms[i]["client_port"], expected[i].client_port);
    EXPECT_EQ(alarms[i]["dest"], expected[i].dest);
    EXPECT_EQ(alarms[i]["port"], expected[i].port);
    EXPECT_EQ(alarms[i]["reason"], expected[i].reason);
  }
  EXPECT_EQ(seen.summary()["alarms"], 5);
}

struct Row {
  const char* capture;
  std::vector<std::string> alarms;
  int status = 1;
  const char* lost = "";  // a counter of the summary that is not 0
};

class Captures : public testing::TestWithParam<Row> {};

TEST_P(Captures, AlarmsAndLossesAreTold) {
  const Row& row = GetParam();
  const Seen seen = see(row.capture, {"--upload", "20000"});
  EXPECT_EQ(seen.alarms(), row.alarms);
  EXPECT_EQ(seen.status, row.status) << seen.err;
  if (*row.lost != 0) {
    EXPECT_GT(seen.summary()[row.lost].get<int>(), 0);
    EXPECT_EQ(seen.summary()["complete"], false);  // MON-03: never silently clean
  } else {
    EXPECT_EQ(seen.summary()["complete"], true);
  }
}

const std::vector<std::string> kEvil = {"45.33.32.156:443 no_rule"}, kEvil6 = {"2606:4700::1:443 no_rule"};
INSTANTIATE_TEST_SUITE_P(Monitor, Captures,
                         testing::ValuesIn<Row>({
                             {"tunnel_vlan", kEvil},
                             {"tunnel_qinq", kEvil},
                             {"tunnel_gre", kEvil},
                             {"tunnel_gre_key", kEvil},  // MON-03
                             {"tunnel_4in6", kEvil},
                             {"tunnel_4in4", kEvil},
                             {"tunnel_6in4", kEvil6},
                             {"tunnel_6in6", kEvil6},
                             {"snaplen64", {"45.33.32.156:443 dst_not_bound"}, 1, "truncated"},
                             {"fragment_flood", {}, 4, "fragments_lost"},
                             {"fragments", {"45.33.32.156:443 quic_denied", "2606:4700::1:443 quic_denied"}},
                             {"tcp_backwards", kEvil},
                             {"dns_tunnel", {"10.50.0.1:53 tunnel_suspect"}},
                             {"dns_absent", {"10.50.0.1:53 tunnel_suspect"}},
                             {"dns_txt", {"10.50.0.1:53 tunnel_suspect"}},
                             {"icmp_tunnel", {"10.50.0.1:0 tunnel_suspect", "10.50.0.1:0 upload_volume"}},
                             {"ssh_on_443", {"93.184.216.34:443 tunnel_suspect"}},
                             {"dns_spoofed",
                              {"6.6.6.6:53 spoof_suspect",
                               "45.33.32.156:443 dst_not_bound"}},  // and the answer binds nothing
                             {"dns_gateway_answers_denied", {"10.50.0.1:53 no_rule"}},
                             {"dns_elsewhere", {"9.9.9.9:53 dst_not_bound"}},
                             {"refused_by_gateway", {}, 0},
                             {"upload", {"93.184.216.34:443 upload_volume"}},
                             {"gateway_own", {}, 0},
                         }),
                         [](const auto& row) { return std::string(row.param.capture); });

class Quic : public testing::TestWithParam<const char*> {};
TEST_P(Quic, TheServerNameIsReported) {  // QUI-03
  const Seen seen = see(std::string("quic_") + GetParam());
  const std::vector<Json> hellos = seen.of("quic");
  ASSERT_EQ(hellos.size(), 1u);
  EXPECT_EQ(hellos[0]["name"], "quic.example.test");
  EXPECT_EQ(hellos[0]["version"], std::string(GetParam()).starts_with("v2") ? 2 : 1);
  EXPECT_EQ(seen.summary()["unparsed"], 0);
}
INSTANTIATE_TEST_SUITE_P(Initials, Quic,
                         testing::Values("single", "multi", "out_of_order", "shuffled", "v2", "v2_multi", "retry",
                                         "server_id", "coalesced"),
                         [](const auto& row) { return std::string(row.param); });

class BadQuic : public testing::TestWithParam<const char*> {};
TEST_P(BadQuic, IsUnparsedAndNamesNothing) {  // QUI-03
  const Seen seen = see(std::string("quic_bad_") + GetParam());
  EXPECT_TRUE(seen.of("quic").empty());
  ASSERT_EQ(seen.of("unparsed").size(), 1u);
  EXPECT_EQ(seen.of("unparsed")[0]["what"], "quic");
  EXPECT_EQ(seen.of("alarm").size(), 1u);  // not known is not allowed
}
INSTANTIATE_TEST_SUITE_P(Initials, BadQuic,
                         testing::Values("tag", "cut", "length", "frame", "lies", "version", "no_hello"),
                         [](const auto& row) { return std::string(row.param); });

TEST(CommandLine, StatusSaysWhatIsAtFault) {
  std::ostringstream out, err;
  EXPECT_EQ(run_monitor({}, out, err), 2);
  EXPECT_EQ(run_monitor({"--nonsense"}, out, err), 2);
  EXPECT_EQ(run_monitor({"-r", kCaptures + "mon01.pcap", "-p", kCaptures + "make.py"}, out, err), 3);
  EXPECT_EQ(run_monitor({"-r", kCaptures + "make.py", "-p", kCaptures + "policy.yaml"}, out, err), 2);
  EXPECT_EQ(run_monitor({"-r", kCaptures + "mon01.pcap", "-p", kCaptures + "policy.yaml", "--client", "x"}, out, err),
            2);
}

}  // namespace
}  // namespace sallyport::monitor
