// The parts that need no connection: credentials, loops, the wheel, the counts, what an answer looks like.
#include <gtest/gtest.h>
#include <policy/abi.h>

#include <nlohmann/json.hpp>

#include "http-proxy/answer.hpp"
#include "http-proxy/credentials.hpp"
#include "http-proxy/rewrite.hpp"
#include "http-proxy/timer_wheel.hpp"

namespace sallyport::http_proxy {
namespace {

using namespace std::chrono_literals;

TEST(Credentials, AreReadInOneWay) {
  const auto both = parse_basic("Basic Ym90OnNlY3JldA==");
  ASSERT_TRUE(both);
  EXPECT_EQ(both->user, "bot");
  EXPECT_EQ(both->password, "secret");
  EXPECT_EQ(parse_basic("BASIC  Ym90OnNlY3JldA==")->user, "bot");
  EXPECT_EQ(parse_basic("Basic YTo=")->password, "");
  for (const char* wrong :
       {"", "Basic", "Basic ", "BasicYm90OnNlY3JldA==", "Basic\tYm90OnNlY3JldA==", "Basic Ym90OnNlY3JldA=",
        "Basic Ym90OnNlY3JldA===", "Basic Ym90OnNlY3JldB==", "Basic Ym90 OnNlY3JldA==", "Basic =Ym90OnNlY3Jl",
        "Basic OnB3", "Basic YWI=", "Basic YQ1hOmI=", "Digest YTpi", "Basic ====", "Basic YQA6Yg=="})
    EXPECT_FALSE(parse_basic(wrong)) << wrong;
  EXPECT_FALSE(parse_basic("Basic " + std::string(2000, 'A')));
}

TEST(Loops, AreFoundInEveryViaField) {  // HTP-23
  const auto looped = [](std::string_view fields) {
    wire::HttpRequestReader reader;
    EXPECT_EQ(reader.feed("GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n" + std::string(fields) + "\r\n"),
              wire::HttpState::kDone);
    return has_looped(reader.head(), "sallyport-1");
  };
  EXPECT_TRUE(looped("Via: 1.1 sallyport-1\r\n"));
  EXPECT_TRUE(looped("Via: 1.0 a\r\nvia: 1.1 b, HTTP/1.1 SALLYPORT-1 (c)\r\n"));
  EXPECT_FALSE(looped("Via: 1.1 sallyport-2\r\nX: sallyport-1\r\n"));
  EXPECT_FALSE(looped("Via:\r\n"));
}

TEST(Answers, SayWhyInTwoWays) {
  const std::string text = answer_text({.status = 403, .reason = POLICY_REASON_PORT_DENIED, .ref = "k3f9a"});
  EXPECT_TRUE(
      text.starts_with("HTTP/1.1 403 Forbidden\r\nProxy-Status: sallyport; error=http_request_denied; "
                       "details=\"port_denied ref=k3f9a\"\r\n"))
      << text;
  const auto body = nlohmann::json::parse(text.substr(text.find("\r\n\r\n") + 4));
  EXPECT_EQ(body["status"], 403);
  EXPECT_EQ(body["ref"], "k3f9a");
  EXPECT_NE(body["detail"].get<std::string>().find("port_denied"), std::string::npos);
  for (const unsigned status : {400u, 403u, 405u, 407u, 408u, 414u, 417u, 431u, 502u, 503u, 504u, 505u, 508u}) {
    const std::string other = answer_text({.status = status, .reason = POLICY_REASON_OK});
    wire::HttpResponseReader reader;
    ASSERT_EQ(reader.feed(other, wire::ResponseTo::kOther), wire::HttpState::kDone) << other;
    EXPECT_EQ(reader.head().status, status);
    EXPECT_NE(reader.head().reason, "Error");
    EXPECT_FALSE(reader.head().keep_alive);
    EXPECT_EQ(reader.consumed() + reader.head().content_length, other.size());
  }
}

struct Alarm final : TimerWheel::Entry {
  int rung = 0;
  std::function<void()> then;
  void expired() override {
    ++rung;
    if (then) then();
  }
};

TEST(Wheel, RingsInTimeAndOnce) {
  net::asio::io_context context;
  TimerWheel wheel(context, 5ms);
  Alarm soon, later, moved, cancelled, again;
  const auto now = net::Clock::now();
  std::vector<net::Clock::time_point> at(3);
  soon.then = [&] { at[0] = net::Clock::now(); };
  later.then = [&] { at[1] = net::Clock::now(); };
  moved.then = [&] { at[2] = net::Clock::now(); };
  again.then = [&] {
    if (again.rung < 3) wheel.set(again, net::Clock::now() + 10ms);
  };
  wheel.set(soon, now + 20ms);
  wheel.set(later, now + 4s);  // beyond the last slot
  wheel.set(later, now + 60ms);
  wheel.set(moved, now + 20ms);
  wheel.set(moved, now + 100ms);
  wheel.set(cancelled, now + 20ms);
  wheel.cancel(cancelled);
  wheel.set(again, now + 10ms);
  {
    Alarm gone;
    wheel.set(gone, now + 10ms);
  }
  context.run();  // until the wheel is empty
  EXPECT_EQ(soon.rung, 1);
  EXPECT_EQ(later.rung, 1);
  EXPECT_EQ(moved.rung, 1);
  EXPECT_EQ(cancelled.rung, 0);
  EXPECT_EQ(again.rung, 3);
  EXPECT_GE(at[0], now + 20ms);
  EXPECT_GE(at[1], now + 60ms);
  EXPECT_GE(at[2], now + 100ms);
  EXPECT_LT(at[2], now + 1s);
}

TEST(Wheel, FarLimitsWaitTheirTurn) {
  net::asio::io_context context;
  TimerWheel wheel(context, 1ms);
  Alarm far;
  const auto now = net::Clock::now();
  wheel.set(far, now + 700ms);  // more ticks than slots
  context.run();
  EXPECT_EQ(far.rung, 1);
  EXPECT_GE(net::Clock::now(), now + 700ms);
  EXPECT_LT(net::Clock::now(), now + 2s);
}

}  // namespace
}  // namespace sallyport::http_proxy
