#include "language/lists/list_parser.hpp"

#include <algorithm>
#include <cstring>

#include "language/lists/line_reader.hpp"

namespace sallyport {

std::string_view to_string(ListFormat format) noexcept {
  switch (format) {
    case ListFormat::kDomains:
      return "domains";
    case ListFormat::kHosts:
      return "hosts";
    case ListFormat::kAdblock:
      return "adblock";
    case ListFormat::kDnsmasq:
      return "dnsmasq";
    case ListFormat::kSquid:
      return "squid";
    case ListFormat::kRpz:
      return "rpz";
  }
  return "";
}

std::optional<ListFormat> list_format(std::string_view word) noexcept {
  for (const ListFormat format : kListFormats) {
    if (to_string(format) == word) return format;
  }
  return std::nullopt;
}

ListParser::ListParser(ListFormat format, ListSink& sink) : sink_(sink), reader_(line_reader(format)) {}

ListParser::~ListParser() = default;

void ListParser::feed(std::string_view piece) {
  while (!piece.empty()) {
    const void* const found = std::memchr(piece.data(), '\n', piece.size());
    if (found == nullptr) {
      open_ = true;
      carry(piece);
      return;
    }
    const auto length = static_cast<std::size_t>(static_cast<const char*>(found) - piece.data());
    if (carried_.empty() && !too_long_) {
      line(piece.substr(0, length));
    } else {
      carry(piece.substr(0, length));
      line(carried_);
      carried_.clear();
    }
    too_long_ = false;
    open_ = false;
    piece.remove_prefix(length + 1);
  }
}

void ListParser::finish() {
  if (open_) line(carried_);
  carried_.clear();
}

// What does not fit is not kept: the line is invalid, and only its front is shown.
void ListParser::carry(std::string_view piece) {
  const std::size_t room = kMostLineOctets - std::min(carried_.size(), kMostLineOctets);
  if (piece.size() > room) too_long_ = true;
  carried_.append(piece.substr(0, room));
}

void ListParser::line(std::string_view text) {
  ++lines_;
  if (text.size() > kMostLineOctets) too_long_ = true;
  if (text.ends_with('\r')) text.remove_suffix(1);
  if (lines_ == 1 && text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  const auto part = [&](std::size_t offset, std::size_t length) {
    return LinePart{text, lines_, static_cast<std::uint32_t>(offset + 1),
                    static_cast<std::uint32_t>(std::max<std::size_t>(length, 1))};
  };
  if (too_long_) {
    text = text.substr(0, kMostLineOctets);
    return sink_.invalid({"the line has more than " + std::to_string(kMostLineOctets) + " octets"}, part(0, 1));
  }
  if (text.empty()) return;
  if (const void* const nul = std::memchr(text.data(), 0, text.size())) {
    const auto offset = static_cast<std::size_t>(static_cast<const char*>(nul) - text.data());
    return sink_.invalid({"a NUL octet, which no text has"}, part(offset, 1));
  }
  entries_.clear();
  if (std::optional<LineFault> fault = reader_->read(text, entries_)) {
    return sink_.invalid({std::move(fault->reason), fault->is_mistake}, part(fault->offset, fault->length));
  }
  for (const ListEntry& entry : entries_)
    sink_.name(entry.name, entry.kind, entry.sense, part(entry.offset, entry.length));
}

}  // namespace sallyport
