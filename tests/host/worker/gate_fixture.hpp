// A gate's host without a process: what plugins see, with every extension there, over tables of its own.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <optional>
#include <policy/plugin.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "host/worker/abi_host.hpp"

namespace sallyport {

class GateFixture : public testing::Test {
 protected:
  GateFixture() {
    shared_.gate = true;
    shared_.audit.emplace(*AuditRing::create(128, -1, 4711));
    shared_.credential_checks.emplace(std::array<std::uint64_t, 2>{1, 2});
    host_.shared = &shared_;
    host_.plugin = "tested";
  }

  // The policy of what follows; its generation is one more than the last.
  void publish(const PolicyModel& model, std::vector<Prefix> sources = {},
               std::shared_ptr<const CredentialSet> credentials = nullptr) {
    octets_.push_back(*compile(model, octets_.size() + 1));
    shared_.versions.publish({*Snapshot::open(octets_.back()), {{5, "cell"}}, std::move(sources), credentials});
  }

  policy::Reader& reader() {
    if (!reader_) reader_.emplace(policy::Host(&host_, &host_api()));
    return *reader_;
  }

  static PolicyModel allow(std::string_view domain, std::vector<PortRange> ports = {{443, 443}},
                           std::vector<std::string> clients = {}) {
    PolicyModel model;
    RuleModel rule;
    rule.name = "rule";
    rule.action = Action::kAllow;
    rule.domains = {*Pattern::parse(domain)};
    rule.ports = std::move(ports);
    rule.clients = std::move(clients);
    model.rules.push_back(rule);
    return model;
  }

  static policy_name name(std::string_view text) {
    policy_name out{};
    EXPECT_EQ(edge_extension().name(policy::str(text), POLICY_FORM_HOST, &out, nullptr), POLICY_OK);
    return out;
  }
  static policy_addr addr(std::string_view text, std::uint16_t port = 0) {
    policy_addr out{};
    address_out(*Address::parse(text), port, out);
    return out;
  }

  // For a client that the caller keeps.
  static policy_query query(const policy_name& name, const policy_addr& client, std::uint16_t port = 443) {
    policy_query out{};
    out.struct_size = sizeof out;
    out.layer = POLICY_LAYER_DIAL;
    out.proto = kProtoTcp;
    out.port = port;
    out.known = POLICY_KNOW_NAME | POLICY_KNOW_PORT;
    out.name = &name;
    out.client = &client;
    out.client_id = client.family == POLICY_IPV4 ? 1ull << 63 : 3ull << 62;
    return out;
  }

  std::vector<AuditRecord> audit() {
    std::vector<AuditRecord> out(64);
    out.resize(shared_.audit->read(out));
    return out;
  }

  std::vector<std::vector<std::byte>> octets_;
  WorkerShared shared_;
  policy_host host_;
  std::optional<policy::Reader> reader_;
};

}  // namespace sallyport
