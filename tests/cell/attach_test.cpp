// The parts of attach that need no namespace: what the Docker engine says, what /proc says of a container.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "host/attach/docker_engine.hpp"
#include "host/attach/target.hpp"

namespace sallyport {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::string answer(const std::string& body, const std::string& status = "200 OK") {
  return "HTTP/1.0 " + status + "\r\nContent-Type: application/json\r\n\r\n" + body;
}

constexpr const char* kRunning =
    R"({"Id":"abc","Name":"/agent","State":{"Running":true,"Paused":false,"Pid":4711,"StartedAt":"2026-01-01T00:00:00Z"},)"
    R"("HostConfig":{"NetworkMode":"none"}})";

TEST(DockerEngine, RunningContainer) {
  const auto container = parse_container(answer(kRunning), "agent");
  ASSERT_TRUE(container.ok()) << container.status();
  EXPECT_EQ(container->id, "abc");
  EXPECT_EQ(container->name, "agent");
  EXPECT_EQ(container->network_mode, "none");
  EXPECT_EQ(container->started_at, "2026-01-01T00:00:00Z");
  EXPECT_EQ(container->pid, 4711);
}

struct AnswerCase {
  const char* why;
  std::string answer;
  const char* words;
};
class RefusedAnswer : public testing::TestWithParam<AnswerCase> {};

TEST_P(RefusedAnswer, SaysWhy) {
  const auto container = parse_container(GetParam().answer, "agent");
  ASSERT_FALSE(container.ok());
  EXPECT_THAT(std::string(container.status().message()), HasSubstr(GetParam().words));
}

INSTANTIATE_TEST_SUITE_P(
    Answers, RefusedAnswer,
    testing::ValuesIn<AnswerCase>({
        {"Empty", "", "no HTTP"},
        {"OtherProtocol", "SSH-2.0-OpenSSH_9.2\r\n\r\n", "no HTTP"},
        {"HeadAlone", "HTTP/1.0 200 OK\r\n", "no HTTP"},
        {"NoJson", answer("<html>"), "no HTTP"},
        {"List", answer("[1]"), "no HTTP"},
        {"NoState", answer(R"({"Id":"abc"})"), "no HTTP"},
        {"StateIsText", answer(R"({"Id":"abc","State":"up"})"), "no HTTP"},
        {"PidIsText", answer(R"({"Id":"abc","State":{"Running":true,"Pid":"7"}})"), "no HTTP"},
        {"NotRunning", answer(R"({"Id":"abc","State":{"Running":false,"Pid":0}})"), "is not running"},
        {"PidZero", answer(R"({"Id":"abc","State":{"Running":true,"Pid":0}})"), "is not running"},
        {"PidOne", answer(R"({"Id":"abc","State":{"Running":true,"Pid":1}})"), "is not running"},
        {"PidNegative", answer(R"({"Id":"abc","State":{"Running":true,"Pid":-4}})"), "is not running"},
        {"PidHuge", answer(R"({"Id":"abc","State":{"Running":true,"Pid":4294967297}})"), "is not running"},
        {"Unknown", answer(R"({"message":"No such container: agent"})", "404 Not Found"), "knows no container `agent`"},
        {"Failing", answer(R"({"message":"out of order"})", "500 Internal Server Error"), "answered 500: out of order"},
        {"FailingWithoutWords", answer("", "503 Service Unavailable"), "answered 503"},
    }),
    [](const auto& row) { return row.param.why; });

TEST(DockerEngine, SocketOfTheEnvironment) {
  ::unsetenv("DOCKER_HOST");
  EXPECT_EQ(*engine_socket(), "/var/run/docker.sock");
  ::setenv("DOCKER_HOST", "unix:///run/user/1000/docker.sock", 1);
  EXPECT_EQ(*engine_socket(), "/run/user/1000/docker.sock");
  for (const char* elsewhere : {"tcp://10.0.0.1:2375", "ssh://host", "unix://relative", "/var/run/docker.sock"}) {
    ::setenv("DOCKER_HOST", elsewhere, 1);
    EXPECT_FALSE(engine_socket().ok()) << elsewhere;
  }
  ::unsetenv("DOCKER_HOST");
}

TEST(DockerEngine, OnlyNamesAreAskedFor) {
  for (const char* name : {"", "../images", "a/b", "a b", "a\r\nHost: x", "a?all=1", ".hidden"})
    EXPECT_THAT(std::string(find_container("/nonexistent", name).status().message()), HasSubstr("no container name"))
        << name;
  EXPECT_THAT(std::string(find_container("/nonexistent", "agent-1").status().message()), HasSubstr("is it running?"));
  EXPECT_FALSE(find_container(std::string(300, 'x'), "agent-1").ok());
}

TEST(AttachTarget, TellingCapabilities) {
  const auto of = [](const char* bits) {
    return telling_capabilities("CapEff:\t0\nCapBnd:\t" + std::string(bits) + "\nCapAmb:\t0\n");
  };
  EXPECT_THAT(of("00000000a80425fb"), IsEmpty());  // Docker's default
  EXPECT_THAT(of("00000000a80435fb"), ElementsAre("NET_ADMIN"));
  EXPECT_THAT(of("000001ffffffffff"),
              ElementsAre("NET_ADMIN", "SYS_MODULE", "SYS_RAWIO", "SYS_PTRACE", "SYS_ADMIN", "BPF"));
  EXPECT_THAT(of("0000000000000000"), IsEmpty());
  EXPECT_THAT(telling_capabilities(""), IsEmpty());
}

TEST(AttachTarget, MountPoints) {
  EXPECT_THAT(mount_points("1 0 0:52 / / rw - overlay overlay rw\n"
                           "2 1 0:55 / /proc rw,nosuid - proc proc rw\n"
                           "3 1 8:1 /run/docker.sock /var/run/docker\\040x.sock rw shared:1 - ext4 /dev/sda1 rw\n"
                           "4 1 0:1 / /sys/fs/cgroup ro - cgroup2 cgroup rw\n"
                           "broken\n\n"),
              ElementsAre("/", "/var/run/docker x.sock"));
  EXPECT_THAT(mount_points(""), IsEmpty());
}

TEST(AttachTarget, OwnNetworkIsNoTarget) {
  const auto own = Target::open(::getpid());
  EXPECT_THAT(std::string(own.status().message()), HasSubstr("has the host's network"));
  EXPECT_THAT(std::string(Target::open(1 << 30).status().message()), HasSubstr("process"));
}

}  // namespace
}  // namespace sallyport
