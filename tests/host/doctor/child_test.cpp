// A probe's end is its own: however it ends, the caller learns why and goes on.
#include "host/doctor/child.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>

namespace sallyport::doctor {
namespace {

using testing::Optional;

TEST(Child, Succeeds) {
  EXPECT_EQ(in_child([] { return Fault(); }), std::nullopt);
}

TEST(Child, SaysWhatIsWrong) {
  EXPECT_THAT(in_child([]() -> Fault { return "no such thing"; }), Optional(std::string("no such thing")));
}

TEST(Child, IsKilled) {
  EXPECT_THAT(in_child([]() -> Fault {
                ::raise(SIGKILL);
                return std::nullopt;
              }),
              Optional(std::string("it was killed by signal 9")));
}

// As libraries do that give up by themselves.
TEST(Child, ALibraryEndsTheProcess) {
  EXPECT_THAT(in_child([]() -> Fault {
                [[maybe_unused]] const auto size = ::write(2, "E: no socket\n", 13);
                ::_exit(3);
              }),
              Optional(std::string("E: no socket")));
  EXPECT_THAT(in_child([]() -> Fault { ::_exit(0); }), Optional(std::string("it said nothing")));
}

TEST(Child, LeavesTheCallerAsItWas) {
  ASSERT_EQ(in_child([]() -> Fault {
              return ::chdir("/") == 0 && ::setenv("SALLYPORT_CHILD", "1", 1) == 0 ? Fault() : Fault("?");
            }),
            std::nullopt);
  EXPECT_EQ(::getenv("SALLYPORT_CHILD"), nullptr);
}

TEST(Child, GivesALongText) {
  const std::string text(3 << 20, 'x');
  EXPECT_THAT(read_in_child([&] { return std::optional(text); }), Optional(text));
  EXPECT_THAT(read_in_child([] { return std::optional(std::string()); }), Optional(std::string()));
  EXPECT_EQ(read_in_child([]() -> std::optional<std::string> { return std::nullopt; }), std::nullopt);
  EXPECT_EQ(read_in_child([]() -> std::optional<std::string> { ::_exit(0); }), std::nullopt);
}

}  // namespace
}  // namespace sallyport::doctor
