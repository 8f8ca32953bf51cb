// SVCB and HTTPS queries (DNS-07, DNS-08): NODATA without a word outside, or with `svcb: strip` what is left of the
// answer.
#include "gate_bench.hpp"

namespace sallyport::dns {
namespace {

constexpr std::uint16_t kNoError = 0, kServFail = 2, kNxDomain = 3;

Octets parameter(unsigned key, const Octets& value) {
  return MessageBuilder().u16(key).u16(static_cast<unsigned>(value.size())).raw(value).octets;
}
const Octets kAlpn = parameter(1, MessageBuilder().label("h2").octets);
const Octets kHints = MessageBuilder()
                          .raw(parameter(4, {93, 184, 216, 66}))
                          .raw(parameter(5, MessageBuilder().raw("ECHCONFIG").octets))
                          .raw(parameter(6, Octets(16, 0x26)))
                          .octets;
const Octets kOwn = parameter(65280, MessageBuilder().raw("of my own").octets);

Octets service(unsigned priority, std::string_view target, const Octets& parameters = {}) {
  return MessageBuilder().u16(priority).name(target).raw(parameters).octets;
}

class SvcbBench : public GateBench, public testing::WithParamInterface<std::uint16_t> {
 protected:
  static Witness::Zone with(std::vector<Octets> records) {
    Witness::Zone out = zone();
    for (const std::uint16_t type : {wire::kTypeSvcb, wire::kTypeHttps}) {
      out.data[{"api.example.test", type}] = records;
      out.data[{"x.evil.test", type}] = records;
    }
    return out;
  }
  void run_strip(std::vector<Octets> records) { run_gateway(with(std::move(records)), R"(,"svcb":"strip")"); }
};

TEST_P(SvcbBench, IsNoDataAndNotAskedFor) {
  run_gateway(with({service(1, "", kAlpn)}));
  const Reply reply = ask("api.example.test", GetParam());
  EXPECT_EQ(reply.rcode, kNoError);
  EXPECT_EQ(reply.answers, 0u);
  EXPECT_TRUE(reply.soa_ttl.has_value());
  EXPECT_EQ(witness->queries(), 0u);
  EXPECT_EQ(host.wait_for_audit(1)[0].reason, POLICY_REASON_QTYPE_DENIED);
}

TEST_P(SvcbBench, WhatLeadsAroundTheGatewayIsLeftOut) {
  run_strip({service(1, "", MessageBuilder().raw(kAlpn).raw(kHints).raw(kOwn).octets)});
  const Octets expected = service(1, "", MessageBuilder().raw(kAlpn).raw(kOwn).octets);
  for (int i = 0; i < 2; ++i) {  // resolved, and kept
    const Reply reply = ask("api.example.test", GetParam());
    EXPECT_EQ(reply.rcode, kNoError);
    EXPECT_EQ(reply.data, std::vector<Octets>{expected});
    ASSERT_EQ(reply.ttls.size(), 1u);
    EXPECT_LE(reply.ttls[0], 60u);
  }
  EXPECT_EQ(witness->queries(), 1u);
  EXPECT_EQ(host.wait_for_audit(1)[0].reason, POLICY_REASON_OK);
}

TEST_P(SvcbBench, TargetsOutsideThePolicyAreDropped) {
  run_strip({service(1, "x.evil.test", kAlpn), service(2, "both.example.test", kAlpn), service(3, "API.example.test"),
             service(0, "x.evil.test"), service(0, "y.both.example.test")});
  EXPECT_EQ(ask("api.example.test", GetParam()).data,
            (std::vector{service(2, "both.example.test", kAlpn), service(3, "API.example.test")}));
}

TEST_P(SvcbBench, NoneLeftIsNoData) {
  run_strip({service(1, "x.evil.test", kAlpn),
             service(1, "", MessageBuilder().raw(parameter(0, {0, 5})).raw(kHints).octets)});
  const Reply reply = ask("api.example.test", GetParam());
  EXPECT_EQ(reply.rcode, kNoError);
  EXPECT_EQ(reply.answers, 0u);
  EXPECT_TRUE(reply.soa_ttl.has_value());
}

TEST_P(SvcbBench, AnAliasesRecordIsTheQueriedNames) {
  run_strip({service(1, "", kAlpn)});
  const Reply reply = ask("alias.example.test", GetParam());
  EXPECT_EQ(reply.data, std::vector<Octets>{service(1, "", kAlpn)}) << "and no name of the chain";
  EXPECT_EQ(ask("x.evil.test", GetParam()).rcode, kNxDomain);
}

TEST_P(SvcbBench, AMalformedRecordSpoilsTheReply) {
  run_strip({service(1, "", kAlpn), service(1, "", MessageBuilder().raw(kAlpn).raw(kAlpn).octets)});
  EXPECT_EQ(ask("api.example.test", GetParam()).rcode, kServFail);
}

TEST_P(SvcbBench, DeniedNamesAreNotAskedFor) {
  run_strip({service(1, "", kAlpn)});
  EXPECT_EQ(ask("evil.test", GetParam()).rcode, kNxDomain);
  EXPECT_EQ(ask("single", GetParam()).rcode, kNxDomain);
  EXPECT_EQ(witness->queries(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Types, SvcbBench, testing::Values(wire::kTypeSvcb, wire::kTypeHttps),
                         [](const auto& type) { return type.param == wire::kTypeSvcb ? "Svcb" : "Https"; });

}  // namespace
}  // namespace sallyport::dns
