// A refusal, and an answer that is kept, cost no allocation (PERF 5), whatever form they have.
#include <arpa/inet.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "dns/responder.hpp"
#include "small_host.hpp"
#include "wire-dns/message_builder.hpp"

namespace {
std::atomic<std::size_t> allocations{0};

void* counted(std::size_t size) {
  ++allocations;
  if (void* memory = std::malloc(size)) return memory;
  std::abort();
}
}  // namespace

void* operator new(std::size_t size) { return counted(size); }
void* operator new[](std::size_t size) { return counted(size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }

namespace sallyport::dns {
namespace {

using wire::MessageBuilder;
using wire::Octets;

sockaddr_in peer() {
  sockaddr_in out{};
  out.sin_family = AF_INET;
  out.sin_port = htons(40000);
  ::inet_pton(AF_INET, "172.20.0.7", &out.sin_addr);
  return out;
}

struct Asker {
  explicit Asker(Answers answers) : gate(answers) {}

  Responder::Step ask(const Octets& query, Transport transport = Transport::kUdp) {
    const Origin origin{0, reinterpret_cast<const sockaddr*>(&from), sizeof from};
    return gate.responder.begin(query, origin, transport, net::Clock::now(), buffer, reply, pending);
  }
  // The lookup, to its end.
  void resolve() {
    net::asio::io_context context;
    net::asio::co_spawn(
        context, [this]() -> net::awaitable<void> { reply = co_await gate.responder.finish(&pending, buffer); },
        [](std::exception_ptr) {});
    context.run();
  }

  SmallGate gate;
  sockaddr_in from = peer();
  std::array<std::uint8_t, Responder::kReplyOctets> buffer;
  Responder::Reply reply;
  Pending pending;
};

Octets query(std::string_view name, std::uint16_t type = wire::kTypeA) {
  return MessageBuilder().header(7, 0x0100, 1, 0, 0, 1).question(name, type).opt().octets;
}

struct Row {
  const char* why;
  Octets octets;
};
class Refusals : public testing::TestWithParam<Row> {};

TEST_P(Refusals, AllocateNothing) {
  Asker asker(Answers::kGateway);
  const std::size_t before = allocations;
  for (int i = 0; i < 100; ++i) EXPECT_EQ(asker.ask(GetParam().octets), Responder::Step::kReply);
  EXPECT_EQ(allocations - before, 0u);
  EXPECT_FALSE(asker.reply.empty());
}

INSTANTIATE_TEST_SUITE_P(
    Rows, Refusals,
    testing::ValuesIn<Row>({
        {"Name", query("evil.test")},
        {"LongName", query(std::string(60, 'a') + "." + std::string(60, 'b') + "." + std::string(60, 'c') + ".test")},
        {"Type", query("api.allowed.test", wire::kTypeHttps)},
        {"UnknownType", query("api.allowed.test", 65280)},
        {"Transfer", query("api.allowed.test", wire::kTypeAxfr)},
        {"MalformedName",
         MessageBuilder().header(7, 0x0100, 1).label(std::string_view("a\0b", 3)).u8(0).u16(1).u16(1).octets},
        {"MalformedMessage", MessageBuilder().header(7, 0x0100, 2).octets},
    }),
    [](const auto& row) { return row.param.why; });

class KeptAnswers : public testing::TestWithParam<Answers> {};

TEST_P(KeptAnswers, AllocateNothing) {
  Asker asker(GetParam());
  ASSERT_EQ(asker.ask(query("api.allowed.test")), Responder::Step::kResolve);
  asker.resolve();
  const Octets again = query("API.allowed.test");
  const std::size_t decided = SmallHost::decisions, recorded = SmallHost::records, before = allocations;
  for (int i = 0; i < 100; ++i) EXPECT_EQ(asker.ask(again), Responder::Step::kReply);
  EXPECT_EQ(allocations - before, 0u);
  EXPECT_EQ(SmallHost::decisions - decided, 100u) << "each was decided";
  EXPECT_EQ(SmallHost::records - recorded, 100u) << "and recorded";
  EXPECT_EQ(asker.gate.responder.counters().cache_hits, 100u);
}

INSTANTIATE_TEST_SUITE_P(Modes, KeptAnswers, testing::Values(Answers::kSynthetic, Answers::kGateway),
                         [](const auto& row) { return row.param == Answers::kGateway ? "Gateway" : "Synthetic"; });

}  // namespace
}  // namespace sallyport::dns
