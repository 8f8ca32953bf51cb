// Builds messages octet by octet, good ones and bad ones, without the code under test.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace sallyport::wire {

using Octets = std::vector<std::uint8_t>;

struct MessageBuilder {
  Octets octets;

  MessageBuilder& u8(unsigned value) {
    octets.push_back(static_cast<std::uint8_t>(value));
    return *this;
  }
  MessageBuilder& u16(unsigned value) { return u8(value >> 8 & 0xff).u8(value & 0xff); }
  MessageBuilder& u32(std::uint32_t value) { return u16(value >> 16).u16(value & 0xffff); }
  MessageBuilder& raw(std::string_view text) {
    for (const char c : text) u8(static_cast<std::uint8_t>(c));
    return *this;
  }
  MessageBuilder& raw(const Octets& more) {
    octets.insert(octets.end(), more.begin(), more.end());
    return *this;
  }
  MessageBuilder& label(std::string_view text) { return u8(static_cast<unsigned>(text.size())).raw(text); }
  // "a.b" without escapes; "" is the root.
  MessageBuilder& name(std::string_view text) {
    while (!text.empty()) {
      const std::size_t dot = std::min(text.find('.'), text.size());
      label(text.substr(0, dot));
      text.remove_prefix(std::min(dot + 1, text.size()));
    }
    return u8(0);
  }
  MessageBuilder& pointer(unsigned offset) { return u16(0xc000 | offset); }

  MessageBuilder& header(unsigned id, unsigned flags, unsigned qd, unsigned an = 0, unsigned ns = 0, unsigned ar = 0) {
    return u16(id).u16(flags).u16(qd).u16(an).u16(ns).u16(ar);
  }
  MessageBuilder& question(std::string_view text, unsigned type = 1, unsigned klass = 1) {
    return name(text).u16(type).u16(klass);
  }
  MessageBuilder& opt(unsigned size = 1232, unsigned version = 0, unsigned flags = 0, const Octets& options = {}) {
    return u8(0).u16(41).u16(size).u8(0).u8(version).u16(flags).u16(static_cast<unsigned>(options.size())).raw(options);
  }
  // What comes after the owner.
  MessageBuilder& record(unsigned type, std::uint32_t ttl, const Octets& rdata, unsigned klass = 1) {
    return u16(type).u16(klass).u32(ttl).u16(static_cast<unsigned>(rdata.size())).raw(rdata);
  }
};

inline Octets name_octets(std::string_view text) { return MessageBuilder().name(text).octets; }

inline std::string repeat(std::string_view text, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += text;
  return out;
}

}  // namespace sallyport::wire
