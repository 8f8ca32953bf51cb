// What is accepted is a host and a port and nothing else: printing the parts gives the text back.
#include <cstdint>
#include <string>
#include <string_view>

#include "split.hpp"
#include "wire/authority.hpp"

using namespace sallyport::wire;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto authority = parse_authority(text);
  if (!authority.ok()) return 0;
  const bool v6 = authority->kind == HostKind::kIpv6;
  std::string printed = v6 ? "[" + std::string(authority->host) + "]" : std::string(authority->host);
  CHECK(parse_host(printed).ok());
  if (authority->port) printed += ":" + std::to_string(*authority->port);
  CHECK(printed == text);
  CHECK(authority->host.find_first_of("@#\\/%?, \t\r\n[]") == std::string_view::npos);
  if (!v6) CHECK(authority->host.find(':') == std::string_view::npos);
  return 0;
}
