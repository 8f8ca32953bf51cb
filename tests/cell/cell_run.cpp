// cell_run: one command in a cell, with a stand-in for the worker: it resets every captured flow, answers every DNS
// query for A and AAAA with one fixed address, and writes down what arrived. The tests run it as a process, as root and
// as a user.
//
//   cell_run [--report FILE] [--write P]... [--bind P]... [--protect P]... [--home P] [--name N] -- CMD
//
// The report has one line each: note TEXT, closing TEXT, exec TEXT, error TEXT, tcp4|tcp6|dnstcp ADDRESS PORT, dns
// ADDRESS, end KIND CODE SIGNAL ERRNO.
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/netfilter_ipv4.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "host/cell/cell.hpp"

extern char** environ;

namespace {

using sallyport::Cell;
using sallyport::CellOptions;
using sallyport::CellSockets;
using sallyport::CellStatus;

FILE* report = nullptr;

void say(const std::string& line) {
  if (report == nullptr) return;
  std::fprintf(report, "%s\n", line.c_str());
  std::fflush(report);
}

std::string text_of(const sockaddr_storage& storage) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (storage.ss_family == AF_INET) {
    const auto& address = reinterpret_cast<const sockaddr_in&>(storage);
    ::inet_ntop(AF_INET, &address.sin_addr, text.data(), text.size());
    return std::string(text.data()) + " " + std::to_string(ntohs(address.sin_port));
  }
  const auto& address = reinterpret_cast<const sockaddr_in6&>(storage);
  ::inet_ntop(AF_INET6, &address.sin6_addr, text.data(), text.size());
  return std::string(text.data()) + " " + std::to_string(ntohs(address.sin6_port));
}

void reset_flow(int listener, const char* kind, bool captured) {
  const int flow = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
  if (flow < 0) return;
  sockaddr_storage destination{};
  socklen_t size = sizeof(destination);
  const bool v6 = std::string_view(kind) == "tcp6";
  int result = captured ? ::getsockopt(flow, v6 ? IPPROTO_IPV6 : IPPROTO_IP, SO_ORIGINAL_DST, &destination, &size)
                        : ::getsockname(flow, reinterpret_cast<sockaddr*>(&destination), &size);
  say(result == 0 ? std::string(kind) + " " + text_of(destination) : std::string(kind) + " untracked 0");
  linger hard{1, 0};
  ::setsockopt(flow, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
  ::close(flow);
}

// Turns a query into its answer: 198.18.0.7 or fd53:616c:6c79::7. Zero: not a query for an address.
std::size_t make_answer(std::span<unsigned char> packet, std::size_t size) {
  constexpr std::size_t kHeader = 12;
  std::size_t end = kHeader;
  while (end < size && packet[end] != 0) end += packet[end] + 1u;
  end += 5;  // root label, type, class
  if (end > size || end + 28 > packet.size()) return 0;
  const unsigned char type = packet[end - 3];
  const std::array<unsigned char, 4> a = {198, 18, 0, 7};
  const std::array<unsigned char, 16> aaaa = {0xfd, 0x53, 0x61, 0x6c, 0x6c, 0x79, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7};
  const std::span<const unsigned char> data =
      type == 1 ? std::span<const unsigned char>(a) : std::span<const unsigned char>(aaaa);
  if (type != 1 && type != 28) return 0;
  packet[2] |= 0x80;
  packet[3] = 0x80;
  packet[7] = 1;                                        // one answer
  packet[8] = packet[9] = packet[10] = packet[11] = 0;  // nothing else
  const std::array<unsigned char, 12> record = {0xc0, kHeader, 0, type, 0, 1,
                                                0,    0,       0, 60,   0, static_cast<unsigned char>(data.size())};
  std::copy(record.begin(), record.end(), packet.begin() + end);
  std::copy(data.begin(), data.end(), packet.begin() + end + record.size());
  return end + record.size() + data.size();
}

// The answer goes back from the address the query was sent to.
void answer_query(int socket) {
  std::array<unsigned char, 2048> packet;
  sockaddr_storage peer{};
  iovec part{packet.data(), packet.size()};
  alignas(cmsghdr) std::array<char, 256> control{};
  msghdr message{};
  message.msg_name = &peer;
  message.msg_namelen = sizeof(peer);
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  const ssize_t size = ::recvmsg(socket, &message, 0);
  if (size < 3) return;
  std::string captured = "unknown";
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    std::array<char, INET6_ADDRSTRLEN> text{};
    if (header->cmsg_level == IPPROTO_IP && header->cmsg_type == IP_PKTINFO) {
      auto* info = reinterpret_cast<in_pktinfo*>(CMSG_DATA(header));
      captured = ::inet_ntop(AF_INET, &info->ipi_addr, text.data(), text.size());
      info->ipi_spec_dst = info->ipi_addr;
      info->ipi_ifindex = 0;
    } else if (header->cmsg_level == IPPROTO_IPV6 && header->cmsg_type == IPV6_PKTINFO) {
      auto* info = reinterpret_cast<in6_pktinfo*>(CMSG_DATA(header));
      captured = ::inet_ntop(AF_INET6, &info->ipi6_addr, text.data(), text.size());
    }
  }
  say("dns " + captured);
  part.iov_len = make_answer(packet, static_cast<std::size_t>(size));
  if (part.iov_len == 0) return;
  ::sendmsg(socket, &message, 0);
}

void forward(int) {}
volatile std::sig_atomic_t terminate = 0;
void note_terminate(int) { terminate = 1; }

CellStatus serve(Cell& cell, const CellSockets& sockets) {
  std::array<pollfd, 7> waiting = {{{cell.wait_fd(), POLLIN, 0},
                                    {sockets.tcp4, POLLIN, 0},
                                    {sockets.tcp6, POLLIN, 0},
                                    {sockets.dns_tcp4, POLLIN, 0},
                                    {sockets.dns_tcp6, POLLIN, 0},
                                    {sockets.dns_udp4, POLLIN, 0},
                                    {sockets.dns_udp6, POLLIN, 0}}};
  for (;;) {
    ::poll(waiting.data(), waiting.size(), 100);  // a signal may come right before it
    if (terminate != 0) {
      cell.forward_signal(SIGTERM);
      terminate = 0;
    }
    if (waiting[1].revents != 0) reset_flow(sockets.tcp4, "tcp4", true);
    if (waiting[2].revents != 0) reset_flow(sockets.tcp6, "tcp6", true);
    if (waiting[3].revents != 0) reset_flow(sockets.dns_tcp4, "dnstcp", false);
    if (waiting[4].revents != 0) reset_flow(sockets.dns_tcp6, "dnstcp", false);
    if (waiting[5].revents != 0) answer_query(sockets.dns_udp4);
    if (waiting[6].revents != 0) answer_query(sockets.dns_udp6);
    const CellStatus status = cell.poll();
    if (status.over()) return status;
    if (status.kind == CellStatus::Kind::kStopped) cell.stop_with_command();
  }
}

}  // namespace

int main(int argc, char** argv) {
  CellOptions options;
  int next = 1;
  for (; next < argc && std::string_view(argv[next]) != "--"; next += 2) {
    const std::string_view key = argv[next];
    const std::string value = next + 1 < argc ? argv[next + 1] : "";
    if (key == "--report") report = std::fopen(value.c_str(), "ae");
    if (key == "--write") options.writable.push_back(value);
    if (key == "--bind") options.binds.push_back(value);
    if (key == "--protect") options.protect.push_back(value);
    if (key == "--home") options.home = value;
    if (key == "--name") options.name = value;
  }
  for (++next; next < argc; ++next) options.command.emplace_back(argv[next]);
  for (char** variable = environ; *variable != nullptr; ++variable) options.environment.emplace_back(*variable);
  char* directory = ::get_current_dir_name();
  options.working_directory = directory;
  std::free(directory);

  sallyport::CellResult<Cell> cell = Cell::prepare(options);
  if (!cell) {
    say("error " + cell.error().reason + " | " + cell.error().remedy);
    return 125;
  }
  for (const std::string& note : cell->notes()) say("note " + note);
  ::signal(SIGINT, forward);  // the terminal's: the command decides
  ::signal(SIGQUIT, forward);
  ::signal(SIGTERM, note_terminate);
  CellSockets sockets = cell->take_sockets();
  cell->start();
  const CellStatus status = serve(*cell, sockets);
  sockets.close();
  for (const std::string& note : cell->closing_notes()) say("closing " + note);
  if (!status.exec_text.empty()) say("exec " + status.exec_text);
  say("end " + std::to_string(static_cast<int>(status.kind)) + " " + std::to_string(status.code) + " " +
      std::to_string(status.signal) + " " + std::to_string(status.exec_error));
  return status.code;
}
