// Keys against the RFCs, and the core's bounds.
#include <gtest/gtest.h>
#include <policy/abi.h>

#include <string>
#include <vector>

#include "pcap-monitor/monitor.hpp"

namespace sallyport::monitor {
namespace {

std::string hex(std::span<const std::uint8_t> octets) {
  std::string out;
  for (const std::uint8_t octet : octets) {
    out += "0123456789abcdef"[octet >> 4];
    out += "0123456789abcdef"[octet & 15];
  }
  return out;
}
const std::vector<std::uint8_t> kId = {0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08};

TEST(QuicKeys, AreThoseOfRfc9001AppendixA) {
  const auto keys = derive_quic_keys(1, kId);
  ASSERT_TRUE(keys);
  EXPECT_EQ(hex(keys->key), "1f369613dd76d5467730efcbe3b1a22d");
  EXPECT_EQ(hex(keys->iv), "fa044b2f42a3fd3b46fb255c");
  EXPECT_EQ(hex(keys->header_protection), "9f50449e04a0e810283a1e9933adedd2");
}

TEST(QuicKeys, AreThoseOfRfc9369AppendixA) {
  const auto keys = derive_quic_keys(wire::kQuicVersion2, kId);
  ASSERT_TRUE(keys);
  EXPECT_EQ(hex(keys->key), "8b1a0bc121284290a29e0971b5cd045d");
  EXPECT_EQ(hex(keys->iv), "91f73e2351d8fa91660e909f");
  EXPECT_EQ(hex(keys->header_protection), "45b95e15235d6f45a6b19cbcb0294ba9");
}

TEST(StreamHead, KeepsWhatCameFirstAndSaysThatLaterDiffered) {
  StreamHead head;
  const auto octets = [](std::string_view text) {
    return std::span(reinterpret_cast<const std::uint8_t*>(text.data()), text.size());
  };
  EXPECT_EQ(head.add(3, octets("def")), 0u);
  EXPECT_EQ(head.add(0, octets("abc")), 6u);
  EXPECT_EQ(head.text(), "abcdef");
  EXPECT_FALSE(head.conflict());
  head.add(2, octets("Xdefgh"));
  EXPECT_TRUE(head.conflict());
  EXPECT_EQ(head.text(), "abcdefgh");
}

struct Recorder final : Sink, Judge {
  std::vector<std::string> reasons;
  std::vector<bool> answered;
  std::uint16_t verdict = POLICY_DENY;
  void alarm(const Alarm& alarm) override {
    reasons.emplace_back(alarm.reason);
    answered.push_back(alarm.answered);
  }
  Ruling decide(const Question&) override {
    return {verdict,
            static_cast<std::uint16_t>(verdict == POLICY_ALLOW ? POLICY_REASON_OK : POLICY_REASON_PORT_DENIED)};
  }
};

// A SYN from 10.0.0.x to 93.184.216.34:443.
std::vector<std::uint8_t> syn(std::uint32_t client, std::uint16_t port) {
  std::vector<std::uint8_t> out = {0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0};
  const std::uint8_t rest[] = {10,
                               static_cast<std::uint8_t>(client >> 16),
                               static_cast<std::uint8_t>(client >> 8),
                               static_cast<std::uint8_t>(client),
                               93,
                               184,
                               216,
                               34,
                               static_cast<std::uint8_t>(port >> 8),
                               static_cast<std::uint8_t>(port),
                               1,
                               0xbb,
                               0,
                               0,
                               0,
                               1,
                               0,
                               0,
                               0,
                               0,
                               0x50,
                               2,
                               0,
                               0,
                               0,
                               0,
                               0,
                               0};
  out.insert(out.end(), std::begin(rest), std::end(rest));
  return out;
}

constexpr std::uint64_t kStart = 1'000'000'000'000;

TEST(Live, TrafficThatNoEnforcerDecidedIsAnAlarm) {
  Recorder recorder;
  recorder.verdict = POLICY_ALLOW;
  Options options;
  options.live = true;
  Monitor monitor(options, recorder, recorder);
  const auto packet = syn(7, 4000), other = syn(7, 4001);
  monitor.packet(kStart, wire::LinkType::kRaw, packet, packet.size());
  monitor.packet(kStart + 1, wire::LinkType::kRaw, other, other.size());
  Decision decision;
  decision.client = Address::v4(0x0a000007);
  decision.client_port = 4000;
  decision.proto = 6;
  decision.verdict = POLICY_ALLOW;
  decision.layer = POLICY_LAYER_DIAL;
  decision.time_ns = kStart + 500'000'000;
  monitor.advance(kStart + 1'000'000'000);
  EXPECT_TRUE(recorder.reasons.empty());  // records may lag
  monitor.decided(decision);
  monitor.advance(kStart + 3'000'000'000);
  EXPECT_EQ(recorder.reasons, std::vector<std::string>{"no_decision"});  // the other port's
}

TEST(Live, WhatTheKernelOpensByAddressNeedsNoDecision) {
  for (const bool opened : {false, true}) {
    Recorder recorder;
    recorder.verdict = POLICY_ALLOW;
    Options options;
    options.live = true;
    options.tcp_by_address = opened;
    Monitor monitor(options, recorder, recorder);
    const auto packet = syn(7, 4000);
    monitor.packet(kStart, wire::LinkType::kRaw, packet, packet.size());
    monitor.advance(kStart + 3'000'000'000);
    EXPECT_EQ(recorder.reasons.size(), opened ? 0u : 1u);
  }
}

TEST(Live, ADenialThatAnEnforcerMadeIsNoAlarm) {
  Recorder recorder;
  Options options;
  options.live = true;
  Monitor monitor(options, recorder, recorder);
  const auto packet = syn(7, 4000);
  monitor.packet(kStart, wire::LinkType::kRaw, packet, packet.size());
  Decision decision;
  decision.client = Address::v4(0x0a000007);
  decision.destination_known = true;
  decision.destination = Address::v4(0x5db8d822);
  decision.port = 443;
  decision.proto = 6;
  decision.time_ns = kStart;
  monitor.decided(decision);
  monitor.advance(kStart + 3'000'000'000);
  EXPECT_TRUE(recorder.reasons.empty());
}

TEST(Bounds, AFloodOfFlowsIsForgottenCountedAndStillReported) {
  Recorder recorder;
  Options options;
  options.max_flows = 1000;
  Monitor monitor(options, recorder, recorder);
  for (std::uint32_t i = 0; i < 20000; ++i) {
    const auto packet = syn(i, 5000);
    monitor.packet(kStart + i, wire::LinkType::kRaw, packet, packet.size());
  }
  EXPECT_EQ(monitor.open_flows(), 1000u);
  EXPECT_EQ(monitor.counters().flows_lost, 19000u);
  EXPECT_FALSE(monitor.counters().complete());
  monitor.finish();
  EXPECT_EQ(recorder.reasons.size(), 20000u);
}

}  // namespace
}  // namespace sallyport::monitor
