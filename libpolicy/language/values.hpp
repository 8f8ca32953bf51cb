// The values of the policy language: domains, addresses, ports, as a user writes them, with what to write instead.
//
// Form     A Problem names the part of the value that is wrong by offset and length in it; length 0 is the whole.
// Threads  Pure functions.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "engine/model.hpp"

namespace sallyport {

struct Problem {
  std::string_view code;
  std::string message;
  std::string repair;
  std::string note;
  std::size_t offset = 0, length = 0;
};

template <typename T>
using Parsed = std::variant<T, Problem>;

// What a rule's keys say about how broad a pattern may be.
struct DomainPermissions {
  bool allow_public_suffix = false;
  bool multi_tenant = false;
};

// P007 something else than a domain, P008 malformed, P014 public suffix, P015 many tenants.
Parsed<Pattern> read_domain(std::string_view text, const DomainPermissions& permissions);

// P009 host bits, P010 malformed. An IPv4-mapped address is refused: nothing is dialled in that form.
Parsed<Prefix> read_prefix(std::string_view text);

// P041 of a block so wide that an allow rule of it lifts the address guard almost everywhere.
std::optional<Problem> wide_block(const Prefix& block);

// P011. "443", "22/tcp", "123/udp", "8000-8010", "8000-8010/udp".
Parsed<PortRange> read_port(std::string_view text);

// P056 not understood, P057 out of range. "600/m".
Parsed<RateModel> read_request_rate(std::string_view text);
enum class OctetLimit : std::uint8_t { kBandwidth, kQuota };
// "10MB/s"; "100MB/day". A quota has no period of a second.
Parsed<RateModel> read_octet_rate(std::string_view text, OctetLimit kind);

// "600/m", "10MB/s": canonical.
std::string request_rate_text(const RateModel& rate);
std::string octet_rate_text(const RateModel& rate);
// "600/m requests, 32 connections, 10MB/s": in the order of the schema.
std::string limits_text(const LimitsModel& limits);

// "443/tcp", "8000-8010/udp": canonical.
std::string port_text(const PortRange& range);

// Names of rules, clients and cells go into logs, metrics and shells: one word of letters, digits, '-', '_' and '.'.
inline constexpr std::size_t kMostNameOctets = 64;
bool is_plain_name(std::string_view name);
// The nearest such name to a text: "my rule" is "my-rule". Empty if there is none.
std::string plain_name_of(std::string_view text);

// A URL, host[:port], address[:port] or [address]:port taken apart, without judging the parts. Empty parts are absent.
struct Target {
  std::string_view scheme, host, port, path;
  bool has_port = false;   // a colon was there, whatever follows it
  bool bracketed = false;  // the host stood in [ ]
};
Target split_target(std::string_view text);

}  // namespace sallyport
