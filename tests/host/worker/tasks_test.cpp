#include "host/worker/tasks.hpp"

#include <gmock/gmock.h>

#include <thread>

#include "gate_fixture.hpp"

namespace sallyport {
namespace {

class TasksTest : public GateFixture {
 protected:
  static void count(void* user, policy_code code) {
    EXPECT_EQ(code, POLICY_OK);
    ++*static_cast<int*>(user);
  }
  Tasks& tasks_ = shared_.tasks;
};

TEST_F(TasksTest, PublishCallsEveryoneOnce) {
  int one = 0, other = 0;
  std::uint64_t id = 0;
  ASSERT_EQ(tasks_extension().on_publish(&host_, count, &one, &id), POLICY_OK);
  ASSERT_EQ(tasks_extension().on_publish(&host_, count, &other, nullptr), POLICY_OK);
  tasks_.published();
  tasks_extension().cancel(&host_, id);
  tasks_.published();
  EXPECT_EQ(one, 1);
  EXPECT_EQ(other, 2);
  tasks_.run_due(UINT64_MAX);
  EXPECT_EQ(other, 2) << "no timer";
}

TEST_F(TasksTest, TimersRunWhenDueAndDoNotCatchUp) {
  int once = 0, often = 0;
  tasks_.timer(&host_, 100, 0, count, &once);
  const std::uint64_t id = tasks_.timer(&host_, 50, 10, count, &often);
  EXPECT_EQ(tasks_.next_due(), 50u);
  tasks_.run_due(49);
  EXPECT_EQ(often, 0);
  tasks_.run_due(50);
  EXPECT_EQ(often, 1);
  EXPECT_EQ(tasks_.next_due(), 60u);
  tasks_.run_due(1000);
  EXPECT_EQ(once, 1);
  EXPECT_EQ(often, 2);
  EXPECT_EQ(tasks_.next_due(), 1001u);
  tasks_.cancel(&host_, id);
  EXPECT_FALSE(tasks_.next_due());
}

TEST_F(TasksTest, ACallbackMayCancelItselfAndTheNext) {
  struct Both {
    Tasks& tasks;
    policy_host* host;
    std::uint64_t ids[2];
    int calls = 0;
  } both{tasks_, &host_, {}};
  const auto cancel_all = [](void* user, policy_code) {
    auto& self = *static_cast<Both*>(user);
    ++self.calls;
    for (const std::uint64_t id : self.ids) self.tasks.cancel(self.host, id);
  };
  for (std::uint64_t& id : both.ids) id = tasks_.on_publish(&host_, cancel_all, &both);
  tasks_.published();
  EXPECT_EQ(both.calls, 1);
}

TEST_F(TasksTest, OfOneHostAlone) {
  policy_host other{&shared_, "other"};
  int mine = 0, theirs = 0;
  const std::uint64_t id = tasks_.on_publish(&host_, count, &mine);
  tasks_.on_publish(&other, count, &theirs);
  tasks_.cancel(&other, id);
  shared_.forget(&other);
  tasks_.published();
  EXPECT_EQ(mine, 1);
  EXPECT_EQ(theirs, 0);
}

TEST_F(TasksTest, BoundedAndOnMainOnly) {
  int calls = 0;
  std::uint64_t id = 0;
  EXPECT_EQ(tasks_extension().timer(&host_, UINT64_MAX, 0, count, &calls, &id), POLICY_INVALID);
  std::thread([&] {
    EXPECT_EQ(tasks_extension().on_publish(&host_, count, &calls, &id), POLICY_WRONG_THREAD);
    EXPECT_EQ(tasks_extension().timer(&host_, 0, 0, count, &calls, &id), POLICY_WRONG_THREAD);
  }).join();
  for (std::size_t i = 0; i < Tasks::kMost; ++i) ASSERT_NE(tasks_.on_publish(&host_, count, &calls), 0u);
  EXPECT_EQ(tasks_extension().on_publish(&host_, count, &calls, &id), POLICY_EXHAUSTED);
}

}  // namespace
}  // namespace sallyport
