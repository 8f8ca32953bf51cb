// Credentials: hashes, what is remembered, and what guessing costs.
#include "host/worker/credentials.hpp"

#include <crypt.h>
#include <gtest/gtest.h>

#include <chrono>

namespace sallyport {
namespace {

using Outcome = CredentialChecks::Outcome;

std::string hash(const char* password, const char* setting) {
  crypt_data data{};
  const char* made = ::crypt_r(password, setting, &data);
  return made != nullptr ? made : "";
}

class Credentials : public testing::Test {
 protected:
  // SHA-512, yescrypt, bcrypt: each at its lowest cost, for the test's sake.
  Credentials()
      : set_({{"bot", hash("secret", "$6$rounds=1000$salt$")},
              {"yes", hash("secret", "$y$j75$saltsalt$")},
              {"bcrypt", hash("secret", "$2b$04$abcdefghijklmnopqrstuu")},
              {"broken", "not a hash"},
              {"locked", "*"},
              {"empty", ""}}),
        checks_({1, 2}) {}

  Outcome check(const char* user, std::string_view password, const char* peer = "10.0.0.1", std::uint64_t now = 1000) {
    return checks_.check(set_, *Address::parse(peer), user, password, now);
  }

  CredentialSet set_;
  CredentialChecks checks_;
};

TEST_F(Credentials, EveryKindOfHash) {
  for (const char* user : {"bot", "yes", "bcrypt"}) {
    EXPECT_EQ(check(user, "secret"), Outcome::kVerified) << user;
    EXPECT_EQ(check(user, "secret"), Outcome::kVerified) << user << ", remembered";
    EXPECT_EQ(check(user, "Secret"), Outcome::kWrong) << user;
  }
}

struct Row {
  const char* why;
  const char* user;
  std::string password;
};
class Refused : public Credentials, public testing::WithParamInterface<Row> {};
TEST_P(Refused, IsWrong) { EXPECT_EQ(check(GetParam().user, GetParam().password), Outcome::kWrong); }
INSTANTIATE_TEST_SUITE_P(Pairs, Refused,
                         testing::ValuesIn(std::vector<Row>{{"UnknownUser", "nobody", "secret"},
                                                            {"EmptyPassword", "bot", ""},
                                                            {"BrokenHash", "broken", "secret"},
                                                            {"HashAsPassword", "broken", "not a hash"},
                                                            {"Locked", "locked", "*"},
                                                            {"EmptyHash", "empty", ""},
                                                            {"UserRunsIntoPassword", "bots", "ecret"},
                                                            {"NulInPassword", "bot", std::string("secret\0x", 8)},
                                                            {"LongPassword", "bot", std::string(256, 's')}}),
                         [](const auto& row) { return row.param.why; });

TEST_F(Credentials, GuessingEndsUntilTheWindowIsOver) {
  for (unsigned i = 0; i < CredentialChecks::kMostFailures; ++i) EXPECT_EQ(check("bot", "guess"), Outcome::kWrong);
  EXPECT_EQ(check("bot", "guess"), Outcome::kTooMany);
  EXPECT_EQ(check("bot", "secret"), Outcome::kTooMany) << "or else the answer would tell a right guess";
  EXPECT_EQ(check("bot", "secret", "10.0.0.2"), Outcome::kVerified) << "another peer";
  EXPECT_EQ(check("bot", "secret", "10.0.0.1", 1000 + CredentialChecks::kWindowMs - 1), Outcome::kTooMany);
  EXPECT_EQ(check("bot", "secret", "10.0.0.1", 1000 + CredentialChecks::kWindowMs), Outcome::kVerified);
}

// A host whose own client is remembered guesses at memory's speed otherwise.
TEST_F(Credentials, WhatIsRememberedIsGuessedAtNoFaster) {
  ASSERT_EQ(check("bot", "secret"), Outcome::kVerified);
  for (unsigned i = 0; i < CredentialChecks::kMostFailures; ++i) {
    EXPECT_EQ(check("bot", "guess"), Outcome::kWrong);
    if (i + 1 < CredentialChecks::kMostFailures) EXPECT_EQ(check("bot", "secret"), Outcome::kVerified) << i;
  }
  EXPECT_EQ(check("bot", "secret"), Outcome::kTooMany) << "a success between two guesses forgives none";
}

TEST_F(Credentials, AnAddressIsNoOtherFamilys) {
  for (unsigned i = 0; i < CredentialChecks::kMostFailures; ++i) check("bot", "guess", "10.0.0.1");
  EXPECT_EQ(check("bot", "secret", "a00:1::"), Outcome::kVerified) << "the same octets";
}

TEST_F(Credentials, NewUsersForgetTheOld) {
  ASSERT_EQ(check("bot", "secret"), Outcome::kVerified);
  const CredentialSet changed({{"bot", hash("other", "$6$rounds=1000$salt$")}});
  checks_.forget();
  EXPECT_EQ(checks_.check(changed, *Address::parse("10.0.0.1"), "bot", "secret", 1000), Outcome::kWrong);
  EXPECT_EQ(checks_.check(changed, *Address::parse("10.0.0.1"), "bot", "other", 1000), Outcome::kVerified);
}

// More peers and users than there are places: nothing is lost but time.
TEST_F(Credentials, BoundedHoweverManyCome) {
  const CredentialSet quick({{"bot", hash("secret", "$6$rounds=1000$salt$")}});
  unsigned wrong = 0;
  for (std::uint32_t i = 0; i < 6000; ++i) {
    const Address peer = Address::v4(0x0a000000u + i);
    wrong += checks_.check(quick, peer, "bot", std::string(300, 'x'), 1000) == Outcome::kWrong;
  }
  EXPECT_EQ(wrong, 6000u);
  EXPECT_EQ(check("bot", "secret", "10.255.0.1"), Outcome::kVerified);
}

TEST_F(Credentials, ARepeatIsQuick) {
  ASSERT_EQ(check("bot", "secret"), Outcome::kVerified);
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(check("bot", "secret"), Outcome::kVerified);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(200)) << "one crypt() takes as long";
}

}  // namespace
}  // namespace sallyport
