// A gate in a process of its own, with files that a test edits, and a network that nobody else is in.
#pragma once

#include <absl/strings/str_format.h>
#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <thread>

#include "host/gate/serve.hpp"
#include "host/gate/status_socket.hpp"

namespace sallyport {

using namespace std::chrono_literals;

class GateLab : public testing::Test {
 protected:
  GateLab() {
    if (::geteuid() != 0) return;
    char pattern[] = "/tmp/gate-test-XXXXXX";
    directory_ = ::mkdtemp(pattern);
    write("policy.yaml", kPolicy);
  }
  ~GateLab() override {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    std::error_code error;
    if (!directory_.empty()) std::filesystem::remove_all(directory_, error);
  }
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "makes a network namespace: needs root";
    static const bool entered = [] {
      if (::unshare(CLONE_NEWNET) != 0) return false;
      const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
      ifreq up{};
      std::strcpy(up.ifr_name, "lo");
      up.ifr_flags = IFF_UP;
      const bool raised = ::ioctl(fd, SIOCSIFFLAGS, &up) == 0;
      ::close(fd);
      return raised;
    }();
    ASSERT_TRUE(entered);
  }

  static constexpr const char* kPolicy =
      "version: 1\nclients:\n  agents: { addresses: [127.0.0.0/8] }\nrules:\n"
      "  - { name: a, action: allow, clients: [agents], domains: [a.test], resolves_to: [203.0.113.5] }\n";

  std::string path(const std::string& name) const { return directory_ + "/" + name; }

  // As an editor does: a new file, renamed over the old one.
  void write(const std::string& name, const std::string& text) {
    std::ofstream(path(name + ".new")) << text;
    std::filesystem::rename(path(name + ".new"), path(name));
  }

  // plugins: the lines of the list.
  std::string gateway(const std::string& plugins,
                      const std::string& listeners = "  dns: { udp: \"127.0.0.1:5300\", tcp: \"127.0.0.1:5300\" }\n",
                      const std::string& more = "drain: 1s\n") const {
    return "version: 1\nname: lab\npolicy: policy.yaml\nplugin_dir: " PLUGINS "\nlisteners:\n" + listeners +
           "plugins:\n" + plugins + more;
  }
  // With a word for the odd worker.
  std::string odd_gateway(const std::string& word) const {
    return gateway("  - { name: dns, config: { listen: [dns], upstreams: [" + word + "] } }\n");
  }

  void start(const std::string& worker, const std::function<void()>& before = [] {}) {
    pid_ = ::fork();
    if (pid_ != 0) return;
    const int log = ::open(path("log").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    const int out = ::open(path("out").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    ::dup2(out, 1);
    ::dup2(log, 2);
    before();
    ::_exit(serve_gateway({path("gateway.yaml"), directory_, worker}));
  }

  std::string log() const {
    std::ostringstream out;
    out << std::ifstream(path("log")).rdbuf();
    return out.str();
  }
  template <typename Condition>
  bool await(Condition condition, std::chrono::milliseconds patience = 15s) {
    const auto end = std::chrono::steady_clock::now() + patience;
    while (!condition()) {
      if (std::chrono::steady_clock::now() > end) return false;
      std::this_thread::sleep_for(2ms);
    }
    return true;
  }
  bool said(const std::string& text) const { return log().find(text) != std::string::npos; }

  nlohmann::json status() const {
    const absl::StatusOr<std::string> answer = ask_gateway(path("lab.sock"), "status");
    return answer.ok() ? nlohmann::json::parse(*answer, nullptr, false) : nlohmann::json::object();
  }
  std::uint64_t generation() const { return status().value("generation", std::uint64_t{0}); }
  pid_t worker() const {
    const nlohmann::json all = status();
    return all.contains("plugins") && all["plugins"][0]["pid"].is_number() ? all["plugins"][0]["pid"].get<pid_t>() : -1;
  }
  // Ended, though nobody may have asked how yet.
  static bool is_gone(pid_t process) {
    std::ifstream stat("/proc/" + std::to_string(process) + "/stat");
    std::string text;
    if (!std::getline(stat, text)) return true;
    const std::size_t state = text.rfind(") ");
    return state != std::string::npos && text[state + 2] == 'Z';
  }
  void signal(int number) { ::kill(pid_, number); }
  int wait() {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
  }

  // Whether somebody listens on that TCP port.
  static bool listens(std::uint16_t port) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const bool connected = ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
    ::close(fd);
    return connected;
  }

  // Asks for an A record over UDP; its rcode, or -1 after a second.
  static int ask(const std::string& name, std::uint16_t port = 5300) {
    const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    std::string query("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00", 12);
    std::istringstream labels(name);
    for (std::string label; std::getline(labels, label, '.');) query += static_cast<char>(label.size()) + label;
    query += std::string("\0\0\x01\0\x01", 5);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const timeval patience{1, 0};
    ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    char answer[1500];
    ssize_t size = -1;
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 &&
        ::send(fd, query.data(), query.size(), 0) > 0)
      size = ::recv(fd, answer, sizeof answer, 0);
    ::close(fd);
    return size >= 12 ? answer[3] & 0x0f : -1;
  }

  std::string directory_;
  pid_t pid_ = -1;
};

}  // namespace sallyport
