// What a cell lets through: nothing. And what must work all the same: loopback, DNS, an error at once.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <seccomp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cell_lab.hpp"

namespace sallyport::cell_test {
namespace {

using testing::HasSubstr;
using testing::Not;

class CellNetwork : public testing::TestWithParam<Who> {
 protected:
  Outcome run_python(const std::string& script) {
    return run({.who = GetParam(), .directory = scratch_.path(), .command = python(script)});
  }
  Outcome run_shell(const std::string& script) {
    return run({.who = GetParam(), .directory = scratch_.path(), .command = shell(script)});
  }

  Scratch scratch_{GetParam()};
};

INSTANTIATE_TEST_SUITE_P(As, CellNetwork, testing::ValuesIn(everybody()), name_of);

// Prints "NAME errno-name", or "NAME ok", of each attempt, and "slow" if one took over a second.
constexpr const char* kAttempts = R"(
import errno, socket, struct, time
def attempt(name, action):
  begin = time.monotonic()
  try: action(); result = 'ok'
  except socket.timeout: result = 'TIMEOUT'
  except OSError as e: result = errno.errorcode.get(e.errno, str(e.errno))
  if time.monotonic() - begin > 1: result += ' slow'
  print(name, result, flush=True)
def tcp(family, address, port):
  s = socket.socket(family, socket.SOCK_STREAM); s.settimeout(5); s.connect((address, port))
  if s.recv(1) == b'': raise ConnectionResetError(errno.ECONNRESET, '')
def udp(family, address, port, wait=False):
  s = socket.socket(family, socket.SOCK_DGRAM); s.settimeout(5)
  s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
  s.connect((address, port)); s.send(b'x' * 20)
  if wait: s.recv(100)
)";

TEST_P(CellNetwork, TcpToAnyAddressIsResetAtOnce) {  // CEL-02
  const Outcome outcome = run_python(std::string(kAttempts) + R"(
for address, port in [('8.8.8.8', 443), ('198.51.100.9', 1), ('10.0.0.1', 65535), ('169.254.169.254', 80), ('198.18.0.1', 22)]:
  attempt('%s:%d' % (address, port), lambda: tcp(socket.AF_INET, address, port))
for address, port in [('2001:db8::5', 443), ('fd53:616c:6c79::1', 80), ('::ffff:8.8.8.8', 25)]:
  attempt('%s:%d' % (address, port), lambda: tcp(socket.AF_INET6, address, port))
)");
  EXPECT_EQ(outcome.count("tcp"), 8) << outcome.all();
  for (const char* line :
       {"tcp4 8.8.8.8 443", "tcp4 198.51.100.9 1", "tcp4 10.0.0.1 65535", "tcp4 169.254.169.254 80",
        "tcp4 198.18.0.1 22", "tcp6 2001:db8::5 443", "tcp6 fd53:616c:6c79::1 80", "tcp4 8.8.8.8 25"})
    EXPECT_TRUE(outcome.reported(line)) << line << "\n" << outcome.all();
  EXPECT_THAT(outcome.output, Not(HasSubstr("ok")));
  EXPECT_THAT(outcome.output, Not(HasSubstr("slow")));
  EXPECT_THAT(outcome.output, Not(HasSubstr("TIMEOUT")));
  EXPECT_THAT(outcome.output, HasSubstr("8.8.8.8:443 ECONNRESET"));
}

TEST_P(CellNetwork, DnsPortLeadsToUsWhateverTheServer) {  // CEL-03
  const Outcome outcome = run_python(std::string(kAttempts) + R"(
query = b'\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x04test\x00\x00\x01\x00\x01'
def ask(family, address):
  s = socket.socket(family, socket.SOCK_DGRAM); s.settimeout(5)
  s.sendto(query, (address, 53)); data, peer = s.recvfrom(512)
  assert peer[0] == address and peer[1] == 53, peer
for address in ['8.8.8.8', '198.18.0.1', '127.0.0.1', '127.0.0.53']:
  attempt(address, lambda: ask(socket.AF_INET, address))
for address in ['2001:4860:4860::8888', '::1']:
  attempt(address, lambda: ask(socket.AF_INET6, address))
attempt('tcp4', lambda: tcp(socket.AF_INET, '8.8.8.8', 53))
attempt('tcp-loopback', lambda: tcp(socket.AF_INET, '127.0.0.1', 53))
attempt('tcp6', lambda: tcp(socket.AF_INET6, '2001:4860:4860::8888', 53))
attempt('port-5353', lambda: udp(socket.AF_INET, '8.8.8.8', 5353))
attempt('dot', lambda: tcp(socket.AF_INET, '8.8.8.8', 853))
)");
  for (const char* line : {"8.8.8.8 ok", "198.18.0.1 ok", "127.0.0.1 ok", "127.0.0.53 ok", "2001:4860:4860::8888 ok",
                           "::1 ok", "port-5353 EPERM", "dot ECONNRESET"})
    EXPECT_THAT(outcome.output, HasSubstr(line)) << outcome.all();
  EXPECT_TRUE(outcome.reported("dns 8.8.8.8")) << outcome.all();
  EXPECT_TRUE(outcome.reported("dns 2001:4860:4860::8888"));
  EXPECT_TRUE(outcome.reported("dnstcp 8.8.8.8 53"));
  EXPECT_TRUE(outcome.reported("dnstcp 127.0.0.1 53"));
  EXPECT_TRUE(outcome.reported("dnstcp 2001:4860:4860::8888 53"));
  EXPECT_TRUE(outcome.reported("tcp4 8.8.8.8 853"));
}

TEST_P(CellNetwork, EverythingElseIsAnImmediateError) {  // CEL-04
  const Outcome outcome = run_python(std::string(kAttempts) + R"(
attempt('udp', lambda: udp(socket.AF_INET, '8.8.8.8', 123))
attempt('quic', lambda: udp(socket.AF_INET6, '2001:db8::1', 443))
attempt('own-address', lambda: udp(socket.AF_INET, '198.18.0.1', 9))
attempt('broadcast', lambda: udp(socket.AF_INET, '255.255.255.255', 67))
attempt('multicast', lambda: udp(socket.AF_INET, '239.1.2.3', 5000))
attempt('multicast6', lambda: udp(socket.AF_INET6, 'ff02::fb', 5353))
attempt('raw', lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
attempt('raw6', lambda: socket.socket(socket.AF_INET6, socket.SOCK_RAW, 58))
attempt('old-packet', lambda: socket.socket(socket.AF_INET, 10, 0x300))
def sctp():
  s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 132); s.settimeout(5); s.connect(('8.8.8.8', 9))
attempt('sctp', sctp)
def ping():
  s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 1); s.connect(('8.8.8.8', 0)); s.send(b'\x08\0\0\0\0\1\0\1')
attempt('ping', ping)
)");
  EXPECT_THAT(outcome.output, Not(HasSubstr("ok"))) << outcome.all();
  EXPECT_THAT(outcome.output, Not(HasSubstr("slow"))) << outcome.all();
  EXPECT_THAT(outcome.output, Not(HasSubstr("TIMEOUT"))) << outcome.all();
  EXPECT_THAT(outcome.output, HasSubstr("udp EPERM"));
  EXPECT_THAT(outcome.output, HasSubstr("quic E"));
  EXPECT_THAT(outcome.output, HasSubstr("ping E"));
  EXPECT_EQ(outcome.count("tcp") + outcome.count("dns"), 0) << outcome.all();
}

TEST_P(CellNetwork, PingReachesLoopbackAndNothingElse) {
  // CEL-06c: every address is local, so an echo request would be answered.
  const Outcome outcome = run_python(std::string(kAttempts) + R"(
def ping(family, protocol, kind, address):
  s = socket.socket(family, socket.SOCK_DGRAM, protocol); s.settimeout(5); s.connect((address, 0))
  s.send(bytes([kind, 0, 0, 0, 0, 1, 0, 1]) + b'payload'); s.recv(100)
for address in ('127.0.0.1', '8.8.8.8', '198.18.0.1', '224.0.0.1'): attempt(address, lambda: ping(socket.AF_INET, 1, 8, address))
for address in ('::1', '2001:db8::1', 'fd53:616c:6c79::1'): attempt(address, lambda: ping(socket.AF_INET6, 58, 128, address))
)");
  for (const char* line : {"127.0.0.1 ok\n", "8.8.8.8 EPERM\n", "198.18.0.1 EPERM\n", "\n::1 ok\n", "2001:db8::1 E",
                           "fd53:616c:6c79::1 E"})
    EXPECT_THAT(outcome.output, HasSubstr(line)) << outcome.all();
  EXPECT_THAT(outcome.output, Not(HasSubstr("slow"))) << outcome.all();
}

TEST_P(CellNetwork, NamesResolveForOneFamily) {
  // CEL-06c: AI_ADDRCONFIG wants an address of that family on an interface.
  const Outcome outcome = run_python(R"(
import socket
for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNSPEC):
  found = {a[4][0] for a in socket.getaddrinfo('name.test', 80, family, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG)}
  print(family.name, sorted(found))
)");
  EXPECT_THAT(outcome.output, HasSubstr("AF_INET ['198.18.0.7']")) << outcome.all();
  EXPECT_THAT(outcome.output, HasSubstr("AF_INET6 ['fd53:616c:6c79::7']")) << outcome.all();
  EXPECT_THAT(outcome.output, HasSubstr("AF_UNSPEC ['198.18.0.7', 'fd53:616c:6c79::7']")) << outcome.all();
}

TEST_P(CellNetwork, TheRedirectPortSaysLoopback) {  // CEL-06c: the worker sees a loopback destination, and denies it
  const Outcome outcome = run_python(std::string(kAttempts) + R"(
ports = set()
for line in open('/proc/net/tcp').read().split('\n')[1:]:
  fields = line.split()
  if fields and fields[3] == '0A' and fields[1].startswith('0100007F'): ports.add(int(fields[1].split(':')[1], 16))
print('listeners', len(ports))
for port in ports: attempt('direct', lambda: tcp(socket.AF_INET, '127.0.0.1', port))
)");
  EXPECT_THAT(outcome.output, HasSubstr("listeners 1")) << outcome.all();
  EXPECT_THAT(outcome.output, HasSubstr("direct ECONNRESET"));
  EXPECT_TRUE(outcome.reported("tcp4 127.0.0.1 ") || outcome.reported("tcp4 untracked")) << outcome.all();
}

TEST_P(CellNetwork, NothingElseListens) {
  const Outcome outcome = run_python(R"(
for path in ('/proc/net/tcp', '/proc/net/tcp6', '/proc/net/udp', '/proc/net/udp6', '/proc/net/raw', '/proc/net/unix'):
  print(path, len(open(path).read().strip().split('\n')) - 1)
print(sorted(line.split(':')[0].strip() for line in open('/proc/net/dev').read().split('\n')[2:] if line))
)");
  EXPECT_THAT(outcome.output,
              HasSubstr("/proc/net/tcp 2\n/proc/net/tcp6 2\n/proc/net/udp 1\n/proc/net/udp6 1\n/proc/net/raw 0\n"))
      << outcome.all();
  EXPECT_THAT(outcome.output, HasSubstr("/proc/net/unix 0\n['lo']"));
}

TEST_P(CellNetwork, AHostWithoutIpv6HasCellsWithoutIt) {
  Launch wanted{.who = GetParam(), .directory = scratch_.path(), .command = python(std::string(kAttempts) + R"(
attempt('v4', lambda: tcp(socket.AF_INET, '8.8.8.8', 443))
attempt('v6', lambda: tcp(socket.AF_INET6, '2001:db8::1', 443))
print(socket.getaddrinfo('name.test', 80, 0, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG)[0][4][0])
)")};
  wanted.before_exec = [] {  // as a kernel with ipv6.disable=1 answers
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    if (seccomp_rule_add(filter, SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket), 1, SCMP_A0(SCMP_CMP_EQ, AF_INET6)) !=
            0 ||
        seccomp_load(filter) != 0)
      ::_exit(95);
  };
  const Outcome outcome = run(wanted);
  EXPECT_EQ(outcome.output, "v4 ECONNRESET\nv6 EAFNOSUPPORT\n198.18.0.7\n") << outcome.all();
  EXPECT_FALSE(outcome.reported("tcp6")) << outcome.all();
}

TEST_P(CellNetwork, MultipathTcpIsCapturedToo) {
  const Outcome outcome = run_python(R"(
import socket
try: s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
except OSError: s = socket.socket()  # a kernel without it
s.settimeout(5)
try: s.connect(('8.8.8.8', 443)); print(s.recv(1))
except ConnectionError: print('reset')
)");
  EXPECT_EQ(outcome.output, "reset\n") << outcome.all();
  EXPECT_TRUE(outcome.reported("tcp4 8.8.8.8 443")) << outcome.all();
}

TEST_P(CellNetwork, ServersOfItsOwnWork) {  // CEL-21; low ports too
  const Outcome outcome = run_python(R"(
import socket
for family, address, port in ((socket.AF_INET, '127.0.0.1', 0), (socket.AF_INET6, '::1', 0), (socket.AF_INET, '127.0.0.5', 80)):
  server = socket.socket(family); server.bind((address, port)); server.listen()
  client = socket.create_connection(server.getsockname()[:2]); peer, _ = server.accept()
  peer.sendall(b'hello'); print(address, client.recv(9))
  datagrams = socket.socket(family, socket.SOCK_DGRAM); datagrams.bind((address, 0)); datagrams.settimeout(5)
  sender = socket.socket(family, socket.SOCK_DGRAM); sender.sendto(b'dgram', datagrams.getsockname()); print(datagrams.recv(9))
)");
  EXPECT_EQ(outcome.output, "127.0.0.1 b'hello'\nb'dgram'\n::1 b'hello'\nb'dgram'\n127.0.0.5 b'hello'\nb'dgram'\n")
      << outcome.all();
  EXPECT_EQ(outcome.count("tcp"), 0) << outcome.all();
}

TEST_P(CellNetwork, ItsOwnServerIsNotReachedByAnotherAddress) {
  const Outcome outcome = run_python(std::string(kAttempts) + R"(
server = socket.socket(); server.bind(('0.0.0.0', 8080)); server.listen()
attempt('captured', lambda: tcp(socket.AF_INET, '203.0.113.9', 8080))
)");
  EXPECT_THAT(outcome.output, HasSubstr("captured ECONNRESET")) << outcome.all();
  EXPECT_TRUE(outcome.reported("tcp4 203.0.113.9 8080")) << outcome.all();
}

TEST_P(CellNetwork, PrivilegedToolsChangeNothing) {  // CEL-09
  const Outcome outcome = run_shell(R"(
for command in 'nft flush ruleset' 'nft add table inet mine' 'ip route add 1.2.3.4/32 dev lo' 'ip link add v0 type veth' \
               'ip link set lo down' 'ip addr add 9.9.9.9/32 dev lo' 'ip tuntap add t0 mode tun' 'ip route flush table local' \
               'mount -t tmpfs none /mnt' 'umount /tmp' 'sysctl -w net.ipv4.ip_forward=1' 'mknod /tmp/kmsg c 1 11'; do
  if $command >/dev/null 2>&1; then echo "done: $command"; fi
done
/usr/bin/python3 - <<'EOF'
import socket
for family, kind in ((socket.AF_INET, socket.SOCK_DGRAM), (socket.AF_INET, socket.SOCK_STREAM), (socket.AF_INET6, socket.SOCK_DGRAM), (socket.AF_INET6, socket.SOCK_STREAM)):
  for address in ('127.0.0.1', '198.18.0.1', '') if family == socket.AF_INET else ('::1', ''):
    s = socket.socket(family, kind); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if family == socket.AF_INET6: s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    try: s.bind((address, 53)); s.listen() if kind == socket.SOCK_STREAM else None; print('took 53', family, kind, address)
    except OSError: pass
s = socket.socket()
try: s.connect(('8.8.8.8', 80)); s.recv(1)
except OSError as e: print('still captured')
EOF
)");
  EXPECT_EQ(outcome.output, "still captured\n") << outcome.all();
  EXPECT_TRUE(outcome.reported("tcp4 8.8.8.8 80"));
}

}  // namespace
}  // namespace sallyport::cell_test
