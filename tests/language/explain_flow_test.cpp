// explain_flow() against the engine's own last word: for random policies, what is explained as allowed or denied is
// what the dialler is told once every attribute is known (design rule 6).
#include "language/explain_flow.hpp"

#include <gtest/gtest.h>

#include <random>

#include "language/load.hpp"

namespace sallyport {
namespace {

constexpr const char* kPatterns[] = {"a.example.com", "*.example.com", ".example.net", "b.example.net",
                                     "c.example.org"};
constexpr const char* kBlocks[] = {"8.8.8.0/24", "10.0.0.0/8", "10.0.0.1", "192.88.100.1"};
constexpr const char* kPorts[] = {"443", "80", "22", "1-1000"};
constexpr const char* kNames[] = {"a.example.com", "b.example.com", "example.com",  "example.net",
                                  "b.example.net", "c.example.org", "d.example.org"};
constexpr const char* kAddresses[] = {"8.8.8.8", "9.9.9.9", "10.0.0.1", "10.0.0.2", "169.254.169.254"};

std::string random_policy(std::mt19937& random) {
  const auto pick = [&](auto& from) { return std::string(from[random() % std::size(from)]); };
  std::string text = "version: 1\nclients: { c: { cells: [c] } }\nrules:\n";
  const unsigned rules = 1 + random() % 4;
  for (unsigned i = 0; i < rules; ++i) {
    const bool allow = random() % 3 != 0;
    text += "  - { name: r" + std::to_string(i) + ", action: " + (allow ? "allow" : "deny");
    if (random() % 3 == 0) text += ", clients: [c]";
    if (random() % 4 == 0) {
      text += ", addresses: [\"" + pick(kBlocks) + "\"], ports: [" + pick(kPorts) + "] }\n";
      continue;
    }
    text += ", domains: [\"" + pick(kPatterns) + "\"]";
    if (random() % 3 == 0) text += ", resolves_to: [\"" + pick(kBlocks) + "\"]";
    if (random() % 2 == 0) text += ", ports: [" + pick(kPorts) + "]";
    text += " }\n";
  }
  return text;
}

TEST(ExplainFlow, AgreesWithTheLastDecision) {
  unsigned pairs = 0, allowed = 0;
  for (unsigned seed = 0; pairs < 2000; ++seed) {
    ASSERT_LT(seed, 1000u);
    std::mt19937 random(seed);
    const LoadOutcome loaded = load_policy(random_policy(random), "p");
    if (!loaded.ok()) continue;  // a rule without effect
    const std::vector<std::byte> bytes = *compile(*loaded.model, 1);
    Reader reader(*Snapshot::open(bytes));
    for (const char* text : kNames) {
      for (const char* at : kAddresses) {
        for (const std::uint16_t port : {443, 22}) {
          const std::uint64_t groups = random() % 2;
          std::string usage;
          const Destination destination = read_destination(std::string(text) + ":" + std::to_string(port), {}, usage);
          ASSERT_EQ(usage, "");
          const Address address = *Address::parse(at);
          const FlowExplanation said = explain_flow(reader, destination, groups, address);
          Query query;
          query.layer = Layer::kDial;
          query.known = kKnowName | kKnowPort | kKnowAddress;
          query.name = &*destination.name;
          query.address = &address;
          query.port = port;
          query.groups = groups;
          const Verdict last = reader.decide(query);
          EXPECT_EQ(said.allowed, last.allowed()) << "seed " << seed << " " << text << " at " << at << " port " << port;
          // Without the address: a denial must be final.
          const FlowExplanation open = explain_flow(reader, destination, groups, {});
          if (!open.allowed)
            EXPECT_FALSE(last.allowed()) << "seed " << seed << " " << text << " at " << at << " port " << port;
          ++pairs;
          allowed += said.allowed ? 1 : 0;
        }
      }
    }
  }
  EXPECT_GT(allowed, 50u);
}

TEST(ReadDestination, TakesUrlsHostsAndAddresses) {
  struct Case {
    const char* text;
    const char* name;
    const char* address;
    int port;
  };
  for (const Case& c : std::vector<Case>{{"https://api.example.com/x?y#z", "api.example.com", "", 443},
                                         {"http://api.example.com", "api.example.com", "", 80},
                                         {"ssh://git@example.com/x", "example.com", "", 22},
                                         {"https://user:p@example.com:8443/", "example.com", "", 8443},
                                         {"Example.COM.", "example.com", "", 443},
                                         {"b\xc3\xbc"
                                          "cher.example",
                                          "xn--bcher-kva.example", "", 443},
                                         {"192.88.100.1:22", "", "192.88.100.1", 22},
                                         {"2001:db8::1", "", "2001:db8::1", 443},
                                         {"[2001:db8::1]:22", "", "2001:db8::1", 22},
                                         {"https://[2001:db8::1]/", "", "2001:db8::1", 443}}) {
    std::string usage;
    const Destination d = read_destination(c.text, {}, usage);
    EXPECT_EQ(usage, "") << c.text;
    EXPECT_EQ(d.name ? std::string(d.name->text()) : "", c.name) << c.text;
    EXPECT_EQ(d.address ? d.address->text() : "", c.address) << c.text;
    EXPECT_EQ(d.port, c.port) << c.text;
  }
}

}  // namespace
}  // namespace sallyport
