// policyctl as its user sees it: what is printed, where, and the exit status.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "policyctl/command.hpp"

namespace sallyport::policyctl {
namespace {

using testing::HasSubstr;

constexpr std::string_view kPolicy = R"(version: 1
default: deny
clients:
  agents: { cells: ["agent-*"] }
rules:
  - name: ai-providers
    action: allow
    clients: [agents]
    domains: [api.anthropic.com, api.openai.com, .example.org]
    ports: [443]
  - name: supervisor
    action: allow
    domains: [supervisor]
    resolves_to: [172.20.0.5]
    ports: [8080]
  - name: by-address
    action: allow
    addresses: [192.88.100.0/24]
    ports: [5432]
  - name: no-uploads
    action: deny
    domains: [uploads.example.net]
  - name: lab
    action: allow
    domains: [.example.net]
    resolves_to: [10.1.0.0/16]
)";

struct Ran {
  int status;
  std::string out, err;
};

class Policyctl : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern =
        std::filesystem::canonical(std::filesystem::temp_directory_path()).string() + "/policyctl_test.XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    policy_ = write("policy.yaml", kPolicy);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string write(const std::string& name, std::string_view content) {
    const std::string path = directory_ + "/" + name;
    std::ofstream(path) << content;
    std::filesystem::permissions(path, std::filesystem::perms(0644));
    return path;
  }

  static Ran run(const std::vector<std::string>& arguments) {
    std::ostringstream out, err;
    const int status = policyctl::run(arguments, {out, err});
    return {status, out.str(), err.str()};
  }

  // What explain prints of TARGET, the directory left out.
  std::string explained(std::vector<std::string> arguments, int status) {
    arguments.insert(arguments.begin(), {"explain", "-p", policy_});
    const Ran ran = run(arguments);
    EXPECT_EQ(ran.status, status) << ran.out << ran.err;
    std::string text = ran.out + ran.err;
    for (std::size_t at = text.find(directory_ + "/"); at != std::string::npos; at = text.find(directory_ + "/")) {
      text.erase(at, directory_.size() + 1);
    }
    return text;
  }

  std::string directory_, policy_;
};

TEST_F(Policyctl, CheckOfAValidPolicy) {
  const Ran ran = run({"check", policy_});
  EXPECT_EQ(ran.status, 0);
  EXPECT_EQ(ran.out, policy_ + ": valid, 5 rules; everything else is denied\n");
  EXPECT_EQ(ran.err, "");
}

TEST_F(Policyctl, CheckReportsEveryFile) {
  const std::string bad = write("bad.yaml", "version: 1\nrulse: []\n");
  const Ran ran = run({"check", bad, policy_, directory_ + "/none.yaml"});
  EXPECT_EQ(ran.status, 3);
  EXPECT_THAT(ran.err, HasSubstr("error[P003]: unknown key `rulse`"));
  EXPECT_THAT(ran.err, HasSubstr("did you mean `rules`?"));
  EXPECT_THAT(ran.err, HasSubstr(bad + ": 1 error\n"));
  EXPECT_THAT(ran.err, HasSubstr("none.yaml` does not exist"));
  EXPECT_THAT(ran.out, HasSubstr(policy_ + ": valid"));
}

TEST_F(Policyctl, CheckForPrograms) {
  const std::string bad =
      write("bad.yaml", "version: 1\nrules:\n  - { name: r, action: allow, domains: [\"*.com\"] }\n");
  const Ran json = run({"check", "-o", "json", bad, policy_});
  EXPECT_EQ(json.status, 3);
  const auto report = nlohmann::json::parse(json.out);
  EXPECT_EQ(report["schema"], "sallyport.check/1");
  EXPECT_EQ(report["files"][0]["valid"], false);
  EXPECT_EQ(report["files"][0]["diagnostics"][0]["reason"], "pattern_too_broad");
  EXPECT_EQ(report["files"][1]["valid"], true);
  EXPECT_EQ(run({"check", "-o", "line", bad}).out,
            bad +
                ":3:42: domains[0] \"*.com\" covers every registrant below a top-level name; name the organisation "
                "(*.example.com), or set allow_public_suffix: true [P014]\n");
  EXPECT_THAT(run({"check", "--output=github", bad}).out,
              HasSubstr("::error file=" + bad + ",line=3,col=42,title=P014::"));
}

TEST_F(Policyctl, ExplainNamesEveryRuleAndTheNearestEntry) {
  EXPECT_EQ(explained({"--client", "agents", "https://cdn.example.com/x"}, 1),
            "DENY no_rule  dns A cdn.example.com  agents\n"
            "  policy.yaml:6   ai-providers  no    name differs\n"
            "  policy.yaml:11  supervisor    no    name differs\n"
            "  policy.yaml:16  by-address    no    lists addresses only\n"
            "  policy.yaml:20  no-uploads    no    name differs\n"
            "  policy.yaml:23  lab           no    name differs\n"
            "  policy.yaml:2   default       deny\n"
            "allow:  sallyport run -p policy.yaml --allow cdn.example.com:443 -- ...\n");
  EXPECT_THAT(explained({"--client", "agents", "api.opneai.com:443"}, 1),
              HasSubstr("name differs (nearest: api.openai.com)"));
}

TEST_F(Policyctl, ExplainOfWhatIsAllowed) {
  EXPECT_EQ(
      explained({"--cell", "agent-7", "https://api.openai.com/v1"}, 0),
      "ALLOW ok  tls api.openai.com:443  cell agent-7 (agents)\n"
      "  policy.yaml:6  ai-providers  yes  allows\n"
      "  4 later rules are not reached\n"
      "note:   the address is checked when it is dialled: private, loopback and other guarded ones are refused\n");
}

TEST_F(Policyctl, ExplainShowsLimits) {
  const std::string path = write(
      "limited.yaml",
      "version: 1\nrules:\n  - name: site\n    action: allow\n    domains: [a.example]\n"
      "    limits: { requests: 600/m, connections: 32, bandwidth: 10MB/s, upload: 100MB/day, download: 5GB/day }\n");
  EXPECT_THAT(
      run({"explain", "-p", path, "a.example:443"}).out,
      HasSubstr("yes  allows; each client: 600/m requests, 32 connections, 10MB/s, 100MB/day up, 5GB/day down\n"));
  EXPECT_THAT(run({"explain", "-o", "json", "-p", path, "a.example:443"}).out,
              HasSubstr("600/m requests, 32 connections, 10MB/s, 100MB/day up, 5GB/day down"));
}

TEST_F(Policyctl, ExplainOfAnotherClient) {
  EXPECT_THAT(explained({"api.openai.com:443"}, 1), HasSubstr("policy.yaml:6   ai-providers  no    for agents only"));
  EXPECT_THAT(explained({"--cell", "other", "api.openai.com:443"}, 1), HasSubstr("  cell other\n"));
}

TEST_F(Policyctl, ExplainOfAPort) {
  EXPECT_THAT(explained({"--client", "agents", "api.openai.com:22"}, 1),
              HasSubstr("DENY port_denied  tcp api.openai.com:22  agents\n"));
  EXPECT_THAT(explained({"--client", "agents", "--port", "22", "api.openai.com"}, 1),
              HasSubstr("port 22 is not 443/tcp"));
  EXPECT_THAT(explained({"--client", "agents", "api.openai.com"}, 0),
              HasSubstr("note:   no port was given: 443 is supposed\n"));
}

TEST_F(Policyctl, ExplainOfAFixedAddress) {
  EXPECT_EQ(explained({"supervisor:8080"}, 0),
            "ALLOW ok  dial supervisor:8080 at 172.20.0.5  cell run\n"
            "  policy.yaml:6   ai-providers  no   for agents only\n"
            "  policy.yaml:11  supervisor    yes  allows\n"
            "  3 later rules are not reached\n");
}

TEST_F(Policyctl, ExplainOfWhatDependsOnTheAddress) {
  EXPECT_THAT(explained({"www.example.net:443"}, 0),
              HasSubstr("note:   only if the name resolves to 10.1.0.0/16; try --resolved ADDRESS\n"));
  EXPECT_THAT(explained({"--resolved", "10.1.2.3", "www.example.net:443"}, 0),
              HasSubstr("ALLOW ok  dial www.example.net:443 at 10.1.2.3  cell run\n"));
  EXPECT_THAT(explained({"--resolved", "8.8.8.8", "www.example.net:443"}, 1),
              HasSubstr("8.8.8.8 is not among 10.1.0.0/16"));
}

TEST_F(Policyctl, ExplainOfTheGuard) {
  EXPECT_THAT(explained({"--client", "agents", "--resolved", "169.254.169.254", "api.openai.com:443"}, 1),
              HasSubstr("DENY guard_metadata"));
  EXPECT_THAT(explained({"--client", "agents", "--resolved", "10.0.0.1", "api.openai.com:443"}, 1),
              HasSubstr("10.0.0.1 is private, which a rule must name by resolves_to"));
}

TEST_F(Policyctl, ExplainOfADenyRule) {
  EXPECT_THAT(explained({"uploads.example.net:443"}, 1), HasSubstr("no-uploads    yes  denies\n"));
}

TEST_F(Policyctl, ExplainOfLiteralAddresses) {  // ADR-04
  EXPECT_THAT(explained({"192.88.100.9:5432"}, 0), HasSubstr("ALLOW ok  tcp 192.88.100.9:5432  cell run\n"));
  EXPECT_THAT(explained({"192.88.100.9:443"}, 1), HasSubstr("port 443 is not 5432/tcp"));
  EXPECT_THAT(explained({"[2001:db8::1]:443"}, 1), HasSubstr("tcp [2001:db8::1]:443  cell run\n"));
  EXPECT_THAT(explained({"8.8.8.8:443"}, 1), HasSubstr("no-uploads    yes  denies: an address might be any name\n"));
  const Ran ran = run({"explain", "--allow", "api.example.com", "8.8.8.8:443"});
  EXPECT_THAT(ran.out, HasSubstr("DENY ip_literal_denied  tcp 8.8.8.8:443\n"));
}

TEST_F(Policyctl, ExplainOfWhatIsNoName) {  // ADR-01, NAM-02
  EXPECT_THAT(explained({"2130706433"}, 1), HasSubstr("DENY name_malformed  `2130706433`: "));
  EXPECT_THAT(explained({"http://0x7f.1/"}, 1), HasSubstr("DENY name_malformed"));
  EXPECT_THAT(explained({"a..b:443"}, 1), HasSubstr("DENY name_malformed  `a..b`: a label is empty"));
  EXPECT_THAT(explained({"[fe80::1%25eth0]:443"}, 1), HasSubstr("DENY name_malformed"));
  EXPECT_THAT(explained({"[v1.x]:443"}, 1), HasSubstr("DENY name_malformed"));
  EXPECT_THAT(explained({".api.example.test:443"}, 1), HasSubstr("DENY name_malformed"));
}

TEST_F(Policyctl, CheckCountsWarningsAndShowsThem) {
  const std::string path = write("shadow.yaml",
                                 "version: 1\nclients:\n  nobody: { cells: [x] }\nrules:\n"
                                 "  - { name: site, action: allow, domains: [.example.test] }\n"
                                 "  - { name: www, action: deny, domains: [www.example.test] }\n");
  const Ran ran = run({"check", path});
  EXPECT_EQ(ran.status, 0);
  EXPECT_THAT(ran.out, HasSubstr("warning[P040]: no rule names the client `nobody`"));
  EXPECT_THAT(ran.out, HasSubstr("warning[P042]: `www.example.test` is denied only in part: `site` (" + path +
                                 ":5) lets it pass on 80 and 443"));
  EXPECT_THAT(ran.out, HasSubstr(path + ": valid, 2 rules, 2 warnings; everything else is denied\n"));
}

TEST_F(Policyctl, CheckCountsErrorsThatItDoesNotShow) {
  std::string text = "version: 1\n";
  for (int i = 0; i < 1200; ++i) text += "unknown" + std::to_string(i) + ": 1\n";
  const std::string path = write("many.yaml", text);
  EXPECT_THAT(run({"check", path}).err, HasSubstr(path + ": 1200 errors\n"));
}

TEST_F(Policyctl, ExplainAsksAsTheCellThatRunMakesByDefault) {
  const std::string path = write("run.yaml",
                                 "version: 1\nclients: { default: { cells: [run] }, other: { cells: [x] } }\nrules:\n"
                                 "  - { name: mine, action: allow, clients: [default], domains: [a.example] }\n"
                                 "  - { name: theirs, action: allow, clients: [other], domains: [b.example] }\n");
  EXPECT_THAT(run({"explain", "-p", path, "a.example:443"}).out,
              HasSubstr("ALLOW ok  tls a.example:443  cell run (default)\n"));
  EXPECT_EQ(run({"explain", "-p", path, "b.example:443"}).status, 1);
  EXPECT_EQ(run({"explain", "-p", path, "--cell", "x", "a.example:443"}).status, 1);
  EXPECT_EQ(run({"explain", "-p", path, "--client", "other", "a.example:443"}).status, 1);
}

TEST_F(Policyctl, ExplainSuggestsOnlyWhatHelps) {
  const std::string path = write("db.yaml",
                                 "version: 1\nrules:\n  - { name: db, action: allow, domains: [db.internal], ports: "
                                 "[5432] }\n");
  const auto said = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"explain", "-p", path});
    const std::string text = run(arguments).out;
    const std::size_t at = text.find("allow:  ");
    return at == std::string::npos ? "" : text.substr(at + 8);
  };
  EXPECT_EQ(said({"api.example.com"}), "sallyport run -p " + path + " --allow api.example.com:443 -- ...\n");
  EXPECT_EQ(said({"10.0.0.6:22"}), "sallyport run -p " + path + " --allow 10.0.0.6:22 -- ...\n");
  EXPECT_EQ(said({"--resolved", "10.0.0.6", "db.internal:5432"}),
            "by a rule of a policy file: domains: [db.internal], ports: [5432], resolves_to: [10.0.0.6]\n");
  EXPECT_EQ(said({"redis:6379"}),
            "by a rule of a policy file: domains: [redis], ports: [6379], resolves_to: [ITS-ADDRESS]\n");
  EXPECT_EQ(said({"169.254.169.254:80"}),
            "by a rule of a policy file: addresses: [169.254.169.254], ports: [80], allow_metadata: true\n");
  EXPECT_EQ(said({"4.3.2.1.in-addr.arpa"}), "");
  EXPECT_EQ(said({"127.0.0.1:80"}), "");
}

TEST_F(Policyctl, ExplainWithoutAPortNamesThoseThatAreAllowed) {
  const std::string path = write("db.yaml",
                                 "version: 1\nrules:\n  - { name: db, action: allow, domains: [db.internal], ports: "
                                 "[5432, 6000-6010] }\n");
  const Ran ran = run({"explain", "-p", path, "db.internal"});
  EXPECT_EQ(ran.status, 1);
  EXPECT_THAT(ran.out, HasSubstr("DENY port_denied  tls db.internal:443\n"));
  EXPECT_THAT(ran.out,
              HasSubstr("note:   no port was given: 443 is supposed; it may pass on 5432/tcp, 6000-6010/tcp, so "
                        "try db.internal:5432\n"));
  EXPECT_THAT(ran.out, testing::Not(HasSubstr("allow:")));
}

TEST_F(Policyctl, ExplainOfUdp) {
  for (const char* target :
       {"udp://api.openai.com:443", "UDP://api.openai.com:443", "quic://api.openai.com", "api.openai.com:443/udp"}) {
    const Ran ran = run({"explain", "--allow", "api.openai.com:443", target});
    EXPECT_EQ(ran.status, 1) << target;
    EXPECT_THAT(ran.out, HasSubstr("DENY no_rule  udp api.openai.com:443\nnote:   UDP never leaves a cell"));
  }
  const Ran json = run({"explain", "-o", "json", "--allow", "api.openai.com:443", "udp://api.openai.com:443"});
  EXPECT_EQ(nlohmann::json::parse(json.out)["proto"], "udp");
  EXPECT_THAT(run({"explain", "--allow", "8.8.8.8:53", "udp://8.8.8.8:53"}).out, HasSubstr("the cell's own dns"));
}

// A gate's kernel forwards UDP: by name once it has been asked for, by address at once.
TEST_F(Policyctl, ExplainOfUdpAtAGate) {
  const std::string path = write(
      "p.yaml",
      "version: 1\nclients: { agents: { addresses: [172.20.0.0/16] }, cells: { cells: [\"*\"] } }\nrules:\n  - { "
      "name: time, action: allow, clients: [agents], domains: [ntp.example], ports: [123/udp] }\n  - { name: echo, "
      "action: allow, clients: [agents], addresses: [52.1.2.0/24], ports: [5353/udp] }\n");
  const auto asked = [&](const char* client, const char* target) {
    return run({"explain", "-p", path, "--client", client, target});
  };
  EXPECT_THAT(asked("agents", "udp://52.1.2.3:5353").out, HasSubstr("ALLOW ok  udp 52.1.2.3:5353"));
  EXPECT_EQ(asked("agents", "udp://52.1.2.3:5353").status, 0);
  EXPECT_EQ(asked("agents", "udp://ntp.example:123").status, 0);
  for (const char* target : {"52.1.2.3:5353", "udp://52.1.2.3:5354", "udp://52.1.3.3:5353", "udp://ntp.example:124",
                             "udp://other.example:123", "udp://52.1.2.3:53"})
    EXPECT_EQ(asked("agents", target).status, 1) << target;
  EXPECT_THAT(asked("cells", "udp://52.1.2.3:5353").out, HasSubstr("UDP never leaves a cell"));
}

TEST_F(Policyctl, ExplainOfPort53) {  // whatever the rules say, the cell's own dns has it
  const Ran ran = run({"explain", "--allow", "8.8.8.8:53", "8.8.8.8:53"});
  EXPECT_EQ(ran.status, 1);
  EXPECT_THAT(ran.out, HasSubstr("DENY dst_not_bound  tcp 8.8.8.8:53\n"));
  EXPECT_THAT(ran.out, HasSubstr("port 53 of every address is the cell's own dns"));
}

TEST_F(Policyctl, ExplainShowsWhatIsWrongWithItsArguments) {
  const Ran ran = run({"explain", "--allow", "0.0.0.0/0:22", "10.0.0.1:22"});
  EXPECT_EQ(ran.status, 0);
  EXPECT_THAT(ran.err, HasSubstr("warning[P041]: `0.0.0.0/0` lifts the address guard"));
}

TEST_F(Policyctl, APolicyMayComeFromStandardInput) {
  const int saved = ::dup(STDIN_FILENO);
  for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{
           {"check", "-"}, {"explain", "-p", "-", "--client", "agents", "api.openai.com"}}) {
    const int file = ::open(policy_.c_str(), O_RDONLY | O_CLOEXEC);
    ASSERT_EQ(::dup2(file, STDIN_FILENO), STDIN_FILENO);
    ::close(file);
    const Ran ran = run(arguments);
    EXPECT_EQ(ran.status, 0) << ran.out << ran.err;
    EXPECT_THAT(ran.out, HasSubstr(arguments[0] == "check" ? "<stdin>: valid, 5 rules" : "<stdin>:6"));
  }
  ::dup2(saved, STDIN_FILENO);
  ::close(saved);
}

TEST_F(Policyctl, ExplainInJson) {
  const auto json =
      nlohmann::json::parse(explained({"-o", "json", "--client", "agents", "https://api.openai.com/"}, 0));
  EXPECT_EQ(json["schema"], "sallyport.explain/1");
  EXPECT_EQ(json["verdict"], "allow");
  EXPECT_EQ(json["address_open"], true);
  EXPECT_EQ(json["steps"][0]["layer"], "dns");
  EXPECT_EQ(json["steps"][0]["effect"], "continue");
  EXPECT_EQ(json["steps"][1]["rule"], "ai-providers");
  EXPECT_EQ(json["steps"][1]["rules"][0]["outcome"], "yes");
}

TEST_F(Policyctl, ExplainWithAllowAlone) {
  const Ran yes = run({"explain", "--allow", "api.example.com:443,8443", "api.example.com:8443"});
  EXPECT_EQ(yes.status, 0);
  EXPECT_THAT(yes.out, HasSubstr("command line  --allow api.example.com:443,8443  yes  allows"));
  const Ran no = run({"explain", "--allow", "api.example.com", "other.example.com"});
  EXPECT_EQ(no.status, 1);
  EXPECT_THAT(no.out, HasSubstr("allow:  sallyport run --allow other.example.com:443 -- ...\n"));
  const Ran wrong = run({"explain", "--allow", "https://x.example", "x.example"});
  EXPECT_EQ(wrong.status, 3);
  EXPECT_THAT(wrong.err,
              HasSubstr("error[P007]: expected a domain, found a URL\n  --> --allow\n   | https://x.example\n"));
}

TEST_F(Policyctl, ExplainOfAnInvalidPolicy) {
  const Ran ran = run({"explain", "-p", write("bad.yaml", "version: 7\n"), "x.example"});
  EXPECT_EQ(ran.status, 3);
  EXPECT_THAT(ran.err, HasSubstr("error[P023]"));
  EXPECT_EQ(ran.out, "");
}

struct UsageCase {
  const char* why;
  std::vector<std::string> arguments;
  const char* says;
};
class Usage : public testing::TestWithParam<UsageCase> {};
TEST_P(Usage, IsTwoAndSaysWhatWasMeant) {
  std::ostringstream out, err;
  EXPECT_EQ(run(GetParam().arguments, {out, err}), 2);
  EXPECT_THAT(err.str(), HasSubstr(GetParam().says));
  EXPECT_EQ(out.str(), "");
}
INSTANTIATE_TEST_SUITE_P(
    CommandLines, Usage,
    testing::ValuesIn<UsageCase>({
        {"Nothing", {}, "policyctl explain TARGET"},
        {"Command", {"chekc", "x"}, "policyctl: unknown command `chekc`; did you mean `check`?"},
        {"CommandFarOff", {"frobnicate"}, "policyctl: unknown command `frobnicate`; policyctl help lists them"},
        {"Flag", {"explain", "--polcy", "x", "y"}, "policyctl: unknown option `--polcy`; did you mean `--policy`?"},
        {"FlagFarOff", {"check", "--zzzzzz", "x"}, "see policyctl help check"},
        {"Abbreviation", {"explain", "--pol", "x", "y"}, "unknown option `--pol`"},
        {"NoFile", {"check"}, "usage: policyctl check [options] FILE..."},
        {"TwoTargets", {"explain", "-p", "x", "a", "b"}, "usage: policyctl explain [options] TARGET"},
        {"NoPolicy", {"explain", "a.example"}, "which policy? add -p FILE or --allow NAME"},
        {"Format", {"check", "-o", "xml", "x"}, "unknown output format `xml`; write text, line, json, github or sarif"},
        {"Port", {"explain", "--allow", "a.example", "--port", "x", "a.example"}, "`x` is no port"},
        {"PortInTheTarget",
         {"explain", "--allow", "a.example", "a.example:99999"},
         "`99999` is no port; write a.example:443"},
        {"TwoPorts",
         {"explain", "--allow", "a.example", "--port", "22", "a.example:443"},
         "two ports: 443 in the target, 22 by --port"},
        {"Scheme",
         {"explain", "--allow", "a.example", "gopher://a.example"},
         "the port of `gopher` is not known here; add --port"},
        {"SchemeWithoutAPortOfItsOwn",
         {"explain", "--allow", "a.example", "udp://a.example"},
         "the port of `udp` is not"},
        {"Account",
         {"explain", "--allow", "a.example", "user@a.example:22"},
         "an account in `user@a.example:22`; write a.example:22"},
        {"ScpPath",
         {"explain", "--allow", "a.example", "git@github.com:foo/bar.git"},
         "an account in `git@github.com:foo/bar.git`; write github.com:22"},
        {"NoHost", {"explain", "--allow", "a.example", "https://"}, "no host in `https://`"},
        {"Pattern",
         {"explain", "--allow", "a.example", "*.x.example"},
         "`*.x.example` is a pattern; ask for one name, such as www.x.example"},
        {"Block", {"explain", "--allow", "a.example", "10.0.0.0/8"}, "`10.0.0.0/8` is a block"},
        {"Path", {"explain", "--allow", "a.example", "a.example/v1"}, "write https://a.example/v1"},
        {"Dash", {"explain", "--allow", "a.example", "-"}, "a policy on standard input is -p -"},
        {"ColonWithoutPort",
         {"explain", "--allow", "a.example", "a.example:"},
         "no port after `:`; write a.example:443"},
        {"Client", {"explain", "--allow", "a.example", "--client", "x", "a.example"}, "the policy has no client `x`"},
        {"Resolved", {"explain", "--allow", "a.example", "--resolved", "127.1", "a.example"}, "--resolved `127.1`: "},
        {"HelpOnNothing", {"help", "P999"}, "no help on `P999`"},
    }),
    [](const auto& row) { return row.param.why; });

TEST_F(Policyctl, ExplainSaysWhatARequestLacks) {
  policy_ =
      write("policy.yaml",
            "version: 1\nrules:\n  - name: read\n    action: allow\n    domains: [api.example.com]\n    ports: [80]\n"
            "    methods: [GET]\n    paths: [/repos/*]\n");
  EXPECT_THAT(explained({"http://api.example.com/repos/x"}, 0), HasSubstr("read  yes  allows"));
  EXPECT_THAT(explained({"--method", "POST", "http://api.example.com/repos/x"}, 1),
              HasSubstr("no    method POST is not GET"));
  EXPECT_THAT(explained({"http://api.example.com/users"}, 1), HasSubstr("no    `/users` is not /repos/*"));
  EXPECT_THAT(explained({"http://api.example.com/repos/../x"}, 1),
              HasSubstr("no    servers read this path in different ways"));
  EXPECT_THAT(explained({"api.example.com:80"}, 0),
              HasSubstr("note:   the request will tell; ask for http://NAME/PATH"));
}

TEST_F(Policyctl, ImportWritesAPolicyAndTellsTheRest) {
  const std::string list = write("whitelist.txt", "api.anthropic.com  # the assistant\napi.openai.com\n");
  const std::string dns = write("dnsmasq.conf", "address=/#/0.0.0.0\nserver=/api.anthropic.com/9.9.9.9\nlog-queries\n");
  const std::string made = directory_ + "/made.yaml";
  const Ran ran = run({"import", "--squid", list, "--dnsmasq", dns, "-o", made});
  EXPECT_EQ(ran.status, 0) << ran.err;
  EXPECT_EQ(ran.out, made + ": 2 names. The two lists differ: api.openai.com is only in " + list + ":2 (kept)\n" +
                         "not carried over: " + dns + ":3 `log-queries` (audit does this)\n");
  EXPECT_EQ(run({"check", "--strict", made}).status, 0);
  EXPECT_EQ(run({"explain", "-p", made, "https://api.openai.com/"}).status, 0);
  EXPECT_EQ(run({"explain", "-p", made, "https://www.openai.com/"}).status, 1);

  // A file that is there is somebody's.
  const Ran again = run({"import", "--domains", list, "-o", made});
  EXPECT_EQ(again.status, 2);
  EXPECT_THAT(again.err, HasSubstr("is there already; --force replaces it"));
  EXPECT_EQ(run({"import", "--domains", list, "-o", made, "--force"}).status, 0);
  EXPECT_EQ(run({"explain", "-p", made, "https://api.openai.com/"}).status, 0);
}

TEST_F(Policyctl, ImportPrintsThePolicyAlone) {
  const std::string list = write("ads.txt", "||ads.example.org^\n||ads.example.net^$popup\n");
  const Ran ran = run({"import", "--adblock", list, "-o", "-"});
  EXPECT_EQ(ran.status, 0);
  EXPECT_EQ(ran.out,
            "version: 1\ndefault: deny\nrules:\n  - name: ads\n    action: deny\n    domains: [.ads.example.org]\n");
  EXPECT_THAT(ran.err,
              HasSubstr("not carried over: " + list + ":2 `||ads.example.net^$popup` (modifier has no meaning"));
}

TEST_F(Policyctl, ImportOfNothing) {
  EXPECT_EQ(run({"import", "-o", "-"}).status, 2);
  EXPECT_EQ(run({"import", "--squid", policy_}).status, 2);
  const Ran ran = run({"import", "--squid", directory_ + "/none", "-o", directory_ + "/made.yaml"});
  EXPECT_EQ(ran.status, 2);
  EXPECT_THAT(ran.err, HasSubstr("none: No such file"));
  EXPECT_FALSE(std::filesystem::exists(directory_ + "/made.yaml"));
}

TEST(Finish, SaysWhyNothingCouldBeWritten) {
  std::ofstream full("/dev/full");
  std::ostringstream err;
  const Terminal terminal{full, err};
  const int status = run({"--version"}, terminal);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(finish(status, terminal), 2);
  EXPECT_EQ(err.str(), "policyctl: standard output: No space left on device\n");
}

TEST(Finish, KeepsTheStatusOtherwise) {
  std::ostringstream out, err;
  EXPECT_EQ(finish(1, {out, err}), 1);
  EXPECT_EQ(err.str(), "");
}

TEST_F(Policyctl, HelpAndVersionAreNoErrors) {
  for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{{"help"},
                                                                                         {"--help"},
                                                                                         {"-h"},
                                                                                         {"help", "explain"},
                                                                                         {"explain", "--help"},
                                                                                         {"help", "P014"},
                                                                                         {"help", "codes"},
                                                                                         {"--version"}}) {
    const Ran ran = run(arguments);
    EXPECT_EQ(ran.status, 0) << arguments[0];
    EXPECT_NE(ran.out, "");
    EXPECT_EQ(ran.err, "");
  }
  EXPECT_THAT(run({"help", "p014"}).out, HasSubstr("P014: covers a public suffix\n"));
  EXPECT_THAT(run({"help", "explain"}).out, HasSubstr("  -p, --policy FILE"));
  EXPECT_THAT(run({"help"}).out, HasSubstr("\n`policyctl --version` says which this is\n"));
}

}  // namespace
}  // namespace sallyport::policyctl
