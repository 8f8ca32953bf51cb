// Scopes, deadlines and text: what every coroutine of a plugin leans on.
#include "support/async.hpp"

#include <gtest/gtest.h>

#include <thread>

#include "support/all_loops.hpp"
#include "support/deadline.hpp"
#include "support/json.hpp"

namespace sallyport::net {
namespace {

using namespace std::chrono_literals;

awaitable<void> sleep_for_ever(bool* unwound) {
  struct Mark {
    bool* unwound;
    ~Mark() { *unwound = true; }
  };
  const Mark mark{unwound};
  asio::steady_timer timer(co_await asio::this_coro::executor, Clock::time_point::max());
  for (;;) (void)co_await timer.async_wait(kAsResult);
}

TEST(AllLoops, CountsThoseThatHaveNotDoneIt) {
  EventLoop one, other;
  AllLoops all;
  int done = 0;
  all.post(one, [&] { ++done; });
  all.post(other, [&] { ++done; });
  EXPECT_EQ(all.wait(0ms), 2u);
  one.context().poll();
  EXPECT_EQ(all.wait(1ms), 1u);
  other.context().poll();
  EXPECT_EQ(all.wait(0ms), 0u);
  EXPECT_EQ(done, 2);
}

TEST(TaskScope, CancelUnwindsEveryTask) {
  asio::io_context context;
  TaskScope scope(context);
  std::array<bool, 10> unwound{};
  for (bool& one : unwound) EXPECT_TRUE(scope.spawn(sleep_for_ever(&one)));
  context.poll();
  EXPECT_EQ(scope.size(), 10u);
  scope.cancel();
  context.restart();
  context.run();
  EXPECT_EQ(scope.size(), 0u);
  for (const bool one : unwound) EXPECT_TRUE(one);
}

TEST(TaskScope, CancelBeforeTheFirstStep) {  // Asio would let the exception out of run()
  asio::io_context context;
  TaskScope scope(context);
  bool unwound = false;
  scope.spawn(sleep_for_ever(&unwound));
  scope.cancel();
  EXPECT_NO_THROW(context.run());
  EXPECT_EQ(scope.size(), 0u);
  EXPECT_TRUE(unwound);
}

TEST(TaskScope, NothingStartsAfterCancel) {
  asio::io_context context;
  TaskScope scope(context);
  scope.cancel();
  bool unwound = false;
  EXPECT_FALSE(scope.spawn(sleep_for_ever(&unwound)));
  context.run();
  EXPECT_FALSE(unwound) << "never entered";
}

TEST(Deadline, HappensUnlessCancelled) {
  asio::io_context context;
  int happened = 0;
  Deadline first(context.get_executor()), second(context.get_executor());
  first.set(1ms, [&] { ++happened; });
  second.set(1ms, [&] { happened += 100; });
  second.cancel();
  context.run();
  EXPECT_EQ(happened, 1);
}

TEST(Deadline, CancelInTheTurnInWhichItFires) {
  asio::io_context context;
  int happened = 0;
  Deadline first(context.get_executor()), second(context.get_executor());
  // Both expire before the loop looks: both handlers are queued when the first one runs.
  first.set(1ms, [&] {
    ++happened;
    second.cancel();
  });
  second.set(1ms, [&] {
    ++happened;
    first.cancel();
  });
  std::this_thread::sleep_for(5ms);
  context.run();
  EXPECT_EQ(happened, 1);
}

TEST(Deadline, GoneWithItsOwner) {
  asio::io_context context;
  int happened = 0;
  auto deadline = std::make_unique<Deadline>(context.get_executor());
  deadline->set(0ms, [&] { ++happened; });
  deadline.reset();
  context.run();
  EXPECT_EQ(happened, 0);
}

struct TextCase {
  const char* why;
  std::string raw, json;
};
class JsonText : public testing::TestWithParam<TextCase> {};

TEST_P(JsonText, IsOneAsciiString) { EXPECT_EQ(json_text(GetParam().raw), GetParam().json); }

INSTANTIATE_TEST_SUITE_P(Texts, JsonText,
                         testing::ValuesIn<TextCase>({
                             // LOG-01
                             {"Plain", "api.example.test", R"("api.example.test")"},
                             {"Quote", R"(a"b\c)", R"("a\"b\\\\c")"},
                             {"Lines", "a\r\nb", R"("a\\x0d\\x0ab")"},
                             {"Escape", "\x1b[31m", R"("\\x1b[31m")"},
                             {"High", "\xff\xc3", R"("\\xff\\xc3")"},
                             {"Nul", std::string("a\0b", 3), R"("a\\x00b")"},
                             {"Long", std::string(300, 'x'), "\"" + std::string(252, 'x') + "...\""},
                         }),
                         [](const auto& row) { return row.param.why; });

}  // namespace
}  // namespace sallyport::net
