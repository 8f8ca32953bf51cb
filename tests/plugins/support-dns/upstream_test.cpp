#include "support/upstream.hpp"

#include <gtest/gtest.h>

namespace sallyport::net {
namespace {

std::string servers(std::string_view text) {
  std::string out;
  for (const Upstream& upstream : upstreams_from_resolv_conf(text))
    out += upstream.address.text() + ":" + std::to_string(upstream.port) + " ";
  return out;
}

struct Row {
  const char* why;
  const char* text;
  const char* servers;
};
void PrintTo(const Row& row, std::ostream* out) { *out << row.why; }
class ResolvConf : public testing::TestWithParam<Row> {};
TEST_P(ResolvConf, NamesItsServers) { EXPECT_EQ(servers(GetParam().text), GetParam().servers); }

INSTANTIATE_TEST_SUITE_P(
    Files, ResolvConf,
    testing::ValuesIn<Row>({
        {"Empty", "", ""},
        {"InOrder", "nameserver 192.0.2.1\nnameserver 2001:db8::1\n", "192.0.2.1:53 2001:db8::1:53 "},
        {"NoLastNewline", "search a.test\nnameserver\t 127.0.0.53  ", "127.0.0.53:53 "},
        {"CrLf", "nameserver 192.0.2.1\r\nnameserver 192.0.2.2\r\n", "192.0.2.1:53 192.0.2.2:53 "},
        {"Comments", "# nameserver 192.0.2.1\n;nameserver 192.0.2.2\nnameserver 192.0.2.3 # mine\n", "192.0.2.3:53 "},
        {"Repeated", "nameserver 192.0.2.1\nnameserver 192.0.2.1\n", "192.0.2.1:53 "},
        {"Zone", "nameserver fe80::1%eth0\nnameserver 192.0.2.1\n", "192.0.2.1:53 "},
        {"NotAnAddress", "nameserver 0x7f.1\nnameserver one.test\nnameserver\n", ""},
        {"OtherWord", "nameservers 192.0.2.1\nname server 192.0.2.1\n", ""},
    }),
    [](const auto& row) { return row.param.why; });

}  // namespace
}  // namespace sallyport::net
