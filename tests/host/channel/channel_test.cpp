#include "host/channel/channel.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

namespace sallyport {
namespace {

using Outcome = Channel::Outcome;

TEST(Channel, CarriesAMessageWithDescriptors) {
  auto ends = Channel::pair();
  ASSERT_TRUE(ends);
  int pipe_ends[2];
  ASSERT_EQ(::pipe(pipe_ends), 0);
  ASSERT_TRUE(ends->first.send({{"type", "listener"}, {"name", "dns"}}, {pipe_ends[1]}));
  ::close(pipe_ends[1]);
  Message message;
  ASSERT_EQ(ends->second.receive(message, 1000), Outcome::kMessage);
  EXPECT_EQ(message.body["name"], "dns");
  ASSERT_EQ(message.fds.size(), 1u);
  ASSERT_EQ(::write(message.fds[0], "x", 1), 1);
  char c = 0;
  EXPECT_EQ(::read(pipe_ends[0], &c, 1), 1);
  message.close_fds();
  EXPECT_EQ(::read(pipe_ends[0], &c, 1), 0) << "a descriptor of the message was left open";
  ::close(pipe_ends[0]);
}

TEST(Channel, TellsNothingFromClosed) {
  auto ends = Channel::pair();
  Message message;
  EXPECT_EQ(ends->second.receive(message, 0), Outcome::kNothing);
  {
    const Channel gone = std::move(ends->first);
  }
  EXPECT_EQ(ends->second.receive(message, 1000), Outcome::kClosed);
  EXPECT_FALSE(ends->second.send({{"type", "start"}}));
}

TEST(Channel, RefusesWhatIsNoMessage) {
  auto ends = Channel::pair();
  Message message;
  for (const char* bytes : {"{", "[]", "{}", R"({"type":1})", "\xff\xfe", "null"}) {
    ASSERT_GT(::send(ends->first.fd(), bytes, strlen(bytes), 0), 0);
    EXPECT_EQ(ends->second.receive(message, 1000), Outcome::kBroken) << bytes;
  }
}

TEST(Channel, DoesNotSendWhatIsTooLarge) {
  auto ends = Channel::pair();
  EXPECT_FALSE(ends->first.send({{"type", std::string(Channel::kMaxMessage, 'x')}}));
}

}  // namespace
}  // namespace sallyport
