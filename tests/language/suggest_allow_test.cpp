// What would let a denied destination pass: every suggestion is tried again here, the way a user would.
#include "language/suggest_allow.hpp"

#include <gtest/gtest.h>

#include "engine/decide.hpp"
#include "language/explain_flow.hpp"
#include "language/load.hpp"

namespace sallyport {
namespace {

constexpr std::string_view kPolicy = R"(version: 1
clients:
  agents: { cells: ["agent-*"] }
rules:
  - name: db
    action: allow
    domains: [db.internal]
    ports: [5432]
  - name: cache
    action: allow
    clients: [agents]
    domains: [cache, cache.internal]
    resolves_to: [172.20.0.5]
    ports: [6379]
)";

struct Row {
  const char* why;
  const char* destination;
  std::uint16_t port;
  const char* resolved;
  const char* argument;
  const char* rule;
};
class SuggestAllow : public testing::TestWithParam<Row> {};

TEST_P(SuggestAllow, HelpsOrIsNotMade) {
  const Row& row = GetParam();
  const LoadOutcome loaded = load_policy(kPolicy, "p");
  ASSERT_TRUE(loaded.ok());
  std::optional<Address> resolved;
  if (*row.resolved != 0) resolved = *Address::parse(row.resolved);
  const AllowSuggestion suggested = suggest_allow(*loaded.model, row.destination, row.port, resolved);
  EXPECT_EQ(suggested.argument, row.argument);
  EXPECT_EQ(suggested.rule, row.rule);
  if (!resolved) EXPECT_EQ(allow_argument_that_helps(*loaded.model, row.destination, row.port), row.argument);
  if (suggested.argument.empty()) return;

  const std::string argument = suggested.argument.substr(std::string_view("--allow ").size());
  const LoadOutcome with = model_from_allow({&argument, 1}, &*loaded.model);
  ASSERT_TRUE(with.ok());
  const std::vector<std::byte> bytes = *compile(*with.model, 1);
  Reader reader(*Snapshot::open(bytes));
  std::string usage;
  const bool v6 = std::string_view(row.destination).find(':') != std::string_view::npos;
  const Destination destination = read_destination(v6 ? "[" + std::string(row.destination) + "]" : row.destination,
                                                   row.port == 0 ? 443 : row.port, usage);
  EXPECT_TRUE(explain_flow(reader, destination, 0, resolved).allowed);
}
INSTANTIATE_TEST_SUITE_P(
    Destinations, SuggestAllow,
    testing::ValuesIn<Row>({
        {"Name", "api.example.com", 443, "", "--allow api.example.com:443", ""},
        {"NameOfALookUp", "api.example.com", 0, "", "--allow api.example.com", ""},
        {"NameAtAPublicAddress", "api.example.com", 443, "8.8.8.8", "--allow api.example.com:443", ""},
        {"AnotherPort", "db.internal", 22, "", "--allow db.internal:22", ""},
        {"NameAtAPrivateAddress", "db.internal", 5432, "10.0.0.6", "",
         "domains: [db.internal], ports: [5432], resolves_to: [10.0.0.6]"},
        {"NameAtAPrivateAddressV6", "db.internal", 5432, "fd00::6", "",
         "domains: [db.internal], ports: [5432], resolves_to: [\"fd00::6\"]"},
        {"NameWithAFixedPrivateAddress", "cache.internal", 22, "", "",
         "domains: [cache.internal], ports: [22], resolves_to: [172.20.0.5]"},
        {"SingleLabel", "redis", 6379, "", "", "domains: [redis], ports: [6379], resolves_to: [ITS-ADDRESS]"},
        {"SingleLabelOfALookUp", "redis", 0, "", "", "domains: [redis], ports: [443], resolves_to: [ITS-ADDRESS]"},
        {"SingleLabelThatThePolicyKnows", "cache", 22, "", "",
         "domains: [cache], ports: [22], resolves_to: [172.20.0.5]"},
        {"MetadataByName", "md.example.com", 80, "169.254.169.254", "",
         "domains: [md.example.com], ports: [80], resolves_to: [169.254.169.254], allow_metadata: true"},
        {"Metadata", "169.254.169.254", 80, "", "", "addresses: [169.254.169.254], ports: [80], allow_metadata: true"},
        {"Address", "203.0.113.9", 5432, "", "--allow 203.0.113.9:5432", ""},
        {"PrivateAddress", "10.0.0.1", 22, "", "--allow 10.0.0.1:22", ""},
        {"AddressV6", "2600::1", 22, "", "--allow [2600::1]:22", ""},
        {"AddressV6WithoutPort", "2600::1", 0, "", "--allow 2600::1", ""},
        {"PublicSuffix", "co.uk", 443, "", "", "domains: [co.uk], ports: [443], allow_public_suffix: true"},
        {"ManyTenants", "github.io", 443, "", "", "domains: [github.io], ports: [443], multi_tenant: true"},
        {"Reverse", "4.3.2.1.in-addr.arpa", 0, "", "", ""},
        {"ReverseV6", "1.0.0.2.ip6.arpa", 0, "", "", ""},
        {"OwnLoopback", "127.0.0.1", 80, "", "", ""},
        {"SyntheticAddress", "198.18.3.4", 443, "", "", ""},
        {"OwnDns", "8.8.8.8", 53, "", "", ""},
        {"OwnDnsByName", "dns.example.com", 53, "", "", ""},
        {"NoName", "a b", 443, "", "", ""},

        {"Nothing", "", 0, "", "", ""},
    }),
    [](const auto& row) { return row.param.why; });

TEST(SuggestAllowOf, ADenyRuleOfTheFileIsNoHindrance) {
  // The command line comes before the file.
  const LoadOutcome loaded =
      load_policy("version: 1\nrules:\n  - { name: r, action: deny, domains: [.example.com] }\n", "p");
  ASSERT_TRUE(loaded.ok());
  EXPECT_EQ(allow_argument_that_helps(*loaded.model, "api.example.com", 443), "--allow api.example.com:443");
}

}  // namespace
}  // namespace sallyport
