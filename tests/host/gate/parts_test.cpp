// The parts of a gate by themselves: grouping, credentials, the watch on files, sockets.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "host/gate/credentials.hpp"
#include "host/warden/file_watch.hpp"
#include "host/gate/prepared.hpp"
#include "host/gate/sockets.hpp"
#include "host/gate/status_socket.hpp"

namespace sallyport {
namespace {

using testing::ElementsAre;
using namespace std::chrono_literals;

// name, process, capability
std::vector<std::string> groups(const std::vector<std::array<const char*, 3>>& rows) {
  std::vector<PluginModel> models;
  std::vector<PreparedPlugin> plugins;
  for (const auto& [name, process, capability] : rows) {
    PluginModel model;
    model.name = name;
    model.process = process;
    models.push_back(model);
    PreparedPlugin plugin;
    plugin.name = name;
    if (*capability != 0) plugin.privileges.capabilities = {capability};
    plugins.push_back(std::move(plugin));
  }
  std::vector<std::string> names;
  for (const PreparedGroup& group : group_plugins(models, plugins)) {
    const std::string privileges = group.privileges.text();
    names.push_back(group.name + (privileges.empty() ? "" : ": " + privileges));
  }
  return names;
}

TEST(Grouping, EqualPrivilegesShareAWorker) {
  EXPECT_THAT(
      groups({{"nftables", "", "net_admin"}, {"dns", "", ""}, {"pcap-monitor", "", "net_raw"}, {"http-proxy", "", ""}}),
      ElementsAre("nftables: cap_net_admin", "dns http-proxy", "pcap-monitor: cap_net_raw"));
}
TEST(Grouping, OwnIsAlone) {
  EXPECT_THAT(groups({{"a", "", ""}, {"b", "own", ""}, {"c", "own", ""}, {"d", "", ""}}), ElementsAre("a d", "b", "c"));
}
TEST(Grouping, NamedProcessHasWhatAnyOfItNeeds) {
  EXPECT_THAT(groups({{"a", "x", "net_raw"}, {"b", "", ""}, {"c", "x", "net_admin"}}),
              ElementsAre("a c: cap_net_admin cap_net_raw", "b"));
}
TEST(Grouping, ProcessCalledLikeAPluginIsNotItsOwn) {
  EXPECT_THAT(groups({{"a", "own", ""}, {"b", "a", ""}}), ElementsAre("a", "b"));
}

constexpr const char* kHash = "$6$saltsaltsalt$abcdefghijklmnopqrstuvwxyz0123456789";

TEST(Credentials, LinesBecomeUsers) {
  Diagnostics diagnostics;
  const auto users =
      read_credentials("# people\nbob:" + std::string(kHash) + "\n\nci-bot:" + kHash + "\r\n", "users", diagnostics);
  EXPECT_TRUE(diagnostics.empty());
  ASSERT_EQ(users.size(), 2u);
  EXPECT_EQ(users[1]["user"], "ci-bot");
  EXPECT_EQ(users[1]["hash"], kHash);
}

TEST(Credentials, FaultsAreToldWithoutTheHash) {
  Diagnostics diagnostics;
  const std::string good = kHash;
  read_credentials(
      "bob\nbob:plaintext\nann:$1$weak$0123456789012345678901\neve:" + good + "\neve:" + good + "\n: " + good + "\n",
      "users", diagnostics);
  std::vector<std::string> lines;
  for (const Diagnostic& d : diagnostics) lines.push_back(std::to_string(d.where.line) + " " + d.message);
  EXPECT_THAT(lines, ElementsAre("1 expected user:hash", "2 user `bob` has no hash of crypt(5)",
                                 "3 user `ann` has a hash that is too weak", "5 user `eve` is in line 4 already",
                                 "6 `` is no user's name"));
  EXPECT_THAT(render(diagnostics, false),
              testing::Not(testing::AnyOf(testing::HasSubstr("plaintext"), testing::HasSubstr("0123"))));
}

class Watch : public testing::Test {
 protected:
  Watch() {
    char pattern[] = "/tmp/gate-watch-XXXXXX";
    directory_ = ::mkdtemp(pattern);
    write("policy.yaml", "1");
    watch_.watch({directory_ + "/policy.yaml"});
  }
  ~Watch() override { std::filesystem::remove_all(directory_); }
  void write(const std::string& name, const std::string& text) { std::ofstream(directory_ + "/" + name) << text; }
  bool seen() {
    pollfd waiting{watch_.fd(), POLLIN, 0};
    if (::poll(&waiting, 1, 200) == 1) watch_.on_readable(FileWatch::Clock::now());
    return watch_.changed(FileWatch::Clock::now() + FileWatch::kDebounce);
  }
  std::string directory_;
  FileWatch watch_;
};

TEST_F(Watch, InPlace) {
  write("policy.yaml", "2");
  EXPECT_TRUE(seen());
  EXPECT_FALSE(seen()) << "once";
}
TEST_F(Watch, RenamedOver) {
  for (int i = 0; i < 3; ++i) {
    write("policy.yaml.new", "2");
    std::filesystem::rename(directory_ + "/policy.yaml.new", directory_ + "/policy.yaml");
    EXPECT_TRUE(seen()) << i;
  }
}
TEST_F(Watch, RemovedAndMadeAgain) {
  std::filesystem::remove(directory_ + "/policy.yaml");
  EXPECT_FALSE(seen());
  write("policy.yaml", "3");
  EXPECT_TRUE(seen());
}
TEST_F(Watch, ThroughAnotherName) {  // a single file bound into a container
  std::filesystem::create_directory(directory_ + "/other");
  std::filesystem::create_hard_link(directory_ + "/policy.yaml", directory_ + "/other/name");
  write("other/name", "4");
  EXPECT_TRUE(seen());
}
TEST_F(Watch, NeighboursDoNotCount) {
  write("other.yaml", "2");
  EXPECT_FALSE(seen());
}
TEST_F(Watch, WaitsUntilTheEditorIsDone) {
  const FileWatch::Clock::time_point now = FileWatch::Clock::now();
  write("policy.yaml", "2");
  watch_.on_readable(now);
  EXPECT_FALSE(watch_.changed(now));
  EXPECT_EQ(watch_.next_ms(now), FileWatch::kDebounce.count());
  EXPECT_TRUE(watch_.changed(now + FileWatch::kDebounce));
}

TEST(StatusSocketTest, AnswersALine) {
  char pattern[] = "/tmp/gate-status-XXXXXX";
  const std::string directory = ::mkdtemp(pattern);
  auto socket = StatusSocket::open(directory + "/s.sock");
  ASSERT_TRUE(socket.ok()) << socket.status();
  const std::string large(3 << 20, 'x');
  std::atomic<bool> over = false;
  std::thread client([&] {
    for (const char* request : {"status", "metrics", ""}) {
      const auto answer = ask_gateway(directory + "/s.sock", request);
      ASSERT_TRUE(answer.ok()) << answer.status();
      EXPECT_EQ(answer->size(), large.size() + std::string(request).size());
    }
    over = true;
  });
  while (!over) {
    std::vector<pollfd> waiting;
    socket->add_to(waiting);
    ::poll(waiting.data(), waiting.size(), 10);
    socket->serve(StatusSocket::Clock::now(), [&](const std::string& request) { return large + request; });
  }
  client.join();
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace sallyport
