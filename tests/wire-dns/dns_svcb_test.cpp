// DNS-08: what is left of a SVCB or HTTPS record.
#include "wire/dns_svcb.hpp"

#include <gtest/gtest.h>

#include <random>

#include "message_builder.hpp"

namespace sallyport::wire {
namespace {

MessageBuilder svcb(unsigned priority, std::string_view target = "") {
  return MessageBuilder().u16(priority).name(target);
}

Octets parameter(unsigned key, const Octets& value) {
  return MessageBuilder().u16(key).u16(static_cast<unsigned>(value.size())).raw(value).octets;
}

const Octets kAlpn = parameter(1, MessageBuilder().label("h2").label("h3").octets);
const Octets kPort = parameter(3, {0x20, 0xfb});
const Octets kV4 = parameter(4, {185, 199, 108, 66});
const Octets kEch = parameter(5, MessageBuilder().raw("config").octets);
const Octets kV6 = parameter(6, Octets(16, 0x20));
const Octets kOwn = parameter(65280, MessageBuilder().raw("of my own").octets);

struct Stripped {
  Result<SvcbData> data;
  Octets octets;
};

Stripped strip(const Octets& rdata) {
  Octets out(rdata.size());
  const Result<SvcbData> data = strip_svcb(rdata, out);
  if (data.ok()) out.resize(data->octets);
  return {data, out};
}

TEST(StripSvcb, WhatLeadsAroundGoesAndTheRestStaysOctetByOctet) {
  const Stripped got =
      strip(svcb(1, "a.example.test").raw(kAlpn).raw(kPort).raw(kV4).raw(kEch).raw(kV6).raw(kOwn).octets);
  ASSERT_TRUE(got.data.ok()) << got.data.error().message;
  EXPECT_EQ(got.octets, svcb(1, "a.example.test").raw(kAlpn).raw(kPort).raw(kOwn).octets);
  EXPECT_EQ(got.data->priority, 1);
  EXPECT_EQ(got.data->target.text(), "a.example.test");
  EXPECT_TRUE(got.data->is_usable);
}

TEST(StripSvcb, WithoutThemNothingChanges) {
  const Octets rdata = svcb(7).raw(parameter(0, {0, 1, 0, 3})).raw(kAlpn).raw(kPort).octets;
  const Stripped got = strip(rdata);
  ASSERT_TRUE(got.data.ok());
  EXPECT_EQ(got.octets, rdata);
  EXPECT_TRUE(got.data->target.is_root());
  EXPECT_TRUE(got.data->is_usable);
}

TEST(StripSvcb, AliasModeHasNoParameters) {
  const Stripped got = strip(svcb(0, "b.test").raw(parameter(0, {0, 5})).raw(kAlpn).raw(kEch).octets);
  ASSERT_TRUE(got.data.ok());
  EXPECT_EQ(got.octets, svcb(0, "b.test").octets);
  EXPECT_TRUE(got.data->is_usable);
}

TEST(StripSvcb, ARecordThatNeedsWhatWasLeftOutIsOfNoUse) {
  for (const unsigned key : {4u, 5u, 6u}) {
    const Stripped got = strip(svcb(1).raw(parameter(0, MessageBuilder().u16(1).u16(key).octets)).raw(kAlpn).octets);
    ASSERT_TRUE(got.data.ok());
    EXPECT_FALSE(got.data->is_usable) << key;
  }
}

struct BadCase {
  const char* why;
  Octets rdata;
};
class BadSvcb : public testing::TestWithParam<BadCase> {};

TEST_P(BadSvcb, IsRefused) { EXPECT_FALSE(strip(GetParam().rdata).data.ok()); }

INSTANTIATE_TEST_SUITE_P(Data, BadSvcb,
                         testing::ValuesIn<BadCase>({
                             {"Empty", {}},
                             {"PriorityAlone", {0, 1}},
                             {"NameEndsEarly", MessageBuilder().u16(1).u8(5).raw("ab").octets},
                             {"CompressedName", MessageBuilder().u16(1).pointer(12).octets},
                             {"KeyEndsEarly", svcb(1).u16(1).u8(0).octets},
                             {"ValueEndsEarly", svcb(1).u16(1).u16(3).raw("ab").octets},
                             {"KeysFall", svcb(1).raw(kPort).raw(kAlpn).octets},
                             {"KeyTwice", svcb(1).raw(kEch).raw(kEch).octets},
                             {"MandatoryEmpty", svcb(1).raw(parameter(0, {})).octets},
                             {"MandatoryOdd", svcb(1).raw(parameter(0, {0, 1, 0})).octets},
                             {"MandatoryFalls", svcb(1).raw(parameter(0, {0, 3, 0, 1})).octets},
                             {"MandatoryItself", svcb(1).raw(parameter(0, {0, 0})).octets},
                         }),
                         [](const auto& row) { return row.param.why; });

// Whatever comes in: what comes out holds none of the three, and comes out the same again.
TEST(StripSvcb, NothingLeadsAroundWhateverComes) {
  std::mt19937 random(20);
  for (int round = 0; round < 20'000; ++round) {
    MessageBuilder rdata = svcb(random() % 3, random() % 2 ? "a.test" : "");
    unsigned key = 0;
    for (unsigned n = random() % 6; n > 0; --n) {
      key += random() % 4;
      rdata.raw(parameter(key, Octets(random() % 9, static_cast<std::uint8_t>(random() % 8))));
    }
    if (random() % 4 == 0 && !rdata.octets.empty()) rdata.octets.resize(random() % rdata.octets.size());
    const Stripped once = strip(rdata.octets);
    if (!once.data.ok()) continue;
    const Stripped twice = strip(once.octets);
    ASSERT_TRUE(twice.data.ok()) << "round " << round;
    EXPECT_EQ(once.octets, twice.octets) << "round " << round;
    for (std::size_t at = 2 + once.data->target.octets().size(); at < once.octets.size();) {
      const unsigned found = static_cast<unsigned>(once.octets[at] << 8 | once.octets[at + 1]);
      EXPECT_FALSE(found >= 4 && found <= 6) << "round " << round;
      at += 4u + static_cast<unsigned>(once.octets[at + 2] << 8 | once.octets[at + 3]);
    }
  }
}

}  // namespace
}  // namespace sallyport::wire
