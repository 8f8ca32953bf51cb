// ListParser: lists of names in the formats that they come in, as patterns with their places.
//
// Form     Text in pieces of any size; lines end in LF or CR LF; a byte order mark in front is passed over. Blank lines
//          and comments mean nothing. What means nothing to a gateway is an invalid line, with its part that does not
//          and why; an invalid line adds no name, not even those of its parts that could be read.
// Lifetime Borrows the sink. What a sink is given is valid during the call.
// Threads  One at a time.
// Errors   None of its own: a line of more than kMostLineOctets, or with a NUL octet, is invalid like any other.
// Source   hosts(5); the host subset of Adblock Plus and AdGuard filters; dnsmasq(8); Squid's acl dstdomain; RFC 1035
//          §5 and draft-vixie-dnsop-dns-rpz for response policy zones.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "names/domain_name.hpp"
#include "names/pattern.hpp"

namespace sallyport {

enum class ListFormat : std::uint8_t { kDomains = 1, kHosts, kAdblock, kDnsmasq, kSquid, kRpz };

inline constexpr ListFormat kListFormats[] = {ListFormat::kDomains, ListFormat::kHosts, ListFormat::kAdblock,
                                              ListFormat::kDnsmasq, ListFormat::kSquid, ListFormat::kRpz};

std::string_view to_string(ListFormat format) noexcept;  // "hosts", as the language writes it
std::optional<ListFormat> list_format(std::string_view word) noexcept;

// What the line itself says becomes of its names. Only dnsmasq and RPZ have words for it.
enum class EntrySense : std::uint8_t { kUnsaid, kBlocks, kPasses };

// A part of a line. line and column are 1-based, column counts octets.
struct LinePart {
  std::string_view text;  // the whole line, without its end
  std::uint32_t line = 0, column = 0, length = 0;
};

struct InvalidLine {
  std::string reason;      // "modifier has no meaning for a gateway"; lower case, no full stop
  bool is_mistake = true;  // else another program's, which has no counterpart here
};

class ListSink {
 public:
  virtual ~ListSink() = default;
  virtual void name(const DomainName& name, PatternKind kind, EntrySense sense, const LinePart& where) = 0;
  virtual void invalid(const InvalidLine& why, const LinePart& where) = 0;
};

class LineReader;
struct ListEntry;

class ListParser {
 public:
  // A line may hold several names; dnsmasq itself stops at 1025 octets.
  static constexpr std::size_t kMostLineOctets = 64u << 10;

  ListParser(ListFormat format, ListSink& sink);
  ~ListParser();

  void feed(std::string_view piece);
  void finish();  // once, after the last piece

  std::uint32_t lines() const noexcept { return lines_; }  // so far, the last one without its line feed included
  bool ends_with_line_feed() const noexcept { return !open_; }

 private:
  void line(std::string_view text);
  void carry(std::string_view piece);

  ListSink& sink_;
  std::unique_ptr<LineReader> reader_;
  std::vector<ListEntry> entries_;  // of the line at hand
  std::string carried_;             // of a line that began in an earlier piece
  bool too_long_ = false;           // and it has more octets than fit
  bool open_ = false;               // octets came after the last line feed
  std::uint32_t lines_ = 0;
};

}  // namespace sallyport
