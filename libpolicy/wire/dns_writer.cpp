#include "wire/dns_writer.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace sallyport::wire {
namespace {

constexpr std::size_t kOptOctets = 11;
constexpr std::size_t kMaxPointer = 0x3fff;
constexpr std::uint16_t kOptionEde = 15;

// How many labels at their ends two names share.
unsigned common_labels(const WireName& a, const WireName& b) noexcept {
  std::array<std::uint8_t, 128> start_a, start_b;
  const auto starts = [](const WireName& name, std::array<std::uint8_t, 128>& out) {
    std::size_t at = 0;
    for (unsigned i = 0; i < name.labels(); ++i) {
      out[i] = static_cast<std::uint8_t>(at);
      at += 1u + name.octets()[at];
    }
  };
  starts(a, start_a);
  starts(b, start_b);
  const auto label = [](const WireName& name, std::size_t at) {
    return name.octets().subspan(at, 1u + name.octets()[at]);
  };
  unsigned same = 0;
  while (same < a.labels() && same < b.labels()) {
    const auto la = label(a, start_a[a.labels() - 1 - same]);
    const auto lb = label(b, start_b[b.labels() - 1 - same]);
    // The case of a name that is given must come out again, so only the same octets are shared.
    if (!std::equal(la.begin(), la.end(), lb.begin(), lb.end())) break;
    ++same;
  }
  return same;
}

std::size_t octets_of_first(const WireName& name, unsigned labels) noexcept {
  std::size_t at = 0;
  for (; labels > 0; --labels) at += 1u + name.octets()[at];
  return at;
}

}  // namespace

DnsReplyWriter::DnsReplyWriter(std::span<std::uint8_t> buffer, const DnsQuery& query, std::size_t limit,
                               Rcode rcode) noexcept
    : buffer_(buffer.first(std::min({buffer.size(), std::max<std::size_t>(limit, kDnsMinUdp), kDnsMaxMessage}))),
      rcode_(rcode) {
  if (buffer_.size() < kDnsMinUdp) std::abort();
  has_edns_ = query.edns.has_value();
  dnssec_ok_ = has_edns_ && query.edns->dnssec_ok;
  opt_reserve_ = has_edns_ ? kOptOctets : 0;
  // An RCODE over 15 cannot be said without EDNS.
  if (!has_edns_ && static_cast<std::uint16_t>(rcode_) > 15) rcode_ = Rcode::kServFail;

  flags_ =
      static_cast<std::uint16_t>(0x8080 | (query.header.flags & 0x7910) | (static_cast<std::uint16_t>(rcode_) & 0x0f));
  put16(query.header.id);
  put16(flags_);
  has_question_ = query.question.has_value();
  put16(has_question_ ? 1 : 0);
  put16(0);
  put16(0);
  put16(has_edns_ ? 1 : 0);
  if (has_question_) {
    owner_at_ = size_;
    put(query.question->name.octets());
    put16(query.question->type);
    put16(query.question->klass);
    question_name_ = query.question->name;
  }
  question_end_ = size_;
}

void DnsReplyWriter::put16(std::uint16_t value) noexcept {
  put8(static_cast<std::uint8_t>(value >> 8));
  put8(static_cast<std::uint8_t>(value));
}

void DnsReplyWriter::put32(std::uint32_t value) noexcept {
  put16(static_cast<std::uint16_t>(value >> 16));
  put16(static_cast<std::uint16_t>(value));
}

void DnsReplyWriter::put(std::span<const std::uint8_t> octets) noexcept {
  std::memcpy(buffer_.data() + size_, octets.data(), octets.size());
  size_ += octets.size();
}

std::size_t DnsReplyWriter::name_octets(const WireName& name) const noexcept {
  const unsigned shared = common_labels(name, question_name_);
  return shared == 0 ? name.octets().size() : octets_of_first(name, name.labels() - shared) + 2;
}

// Shares labels with the question alone, the one name whose place is known without a search.
void DnsReplyWriter::put_name(const WireName& name) noexcept {
  const unsigned shared = common_labels(name, question_name_);
  if (shared == 0) return put(name.octets());
  put(name.octets().first(octets_of_first(name, name.labels() - shared)));
  const std::size_t at = kDnsHeaderOctets + octets_of_first(question_name_, question_name_.labels() - shared);
  put16(static_cast<std::uint16_t>(0xc000 | at));
}

bool DnsReplyWriter::begin_record(const WireName* owner, std::uint16_t type, std::uint32_t ttl,
                                  std::size_t rdata_octets) noexcept {
  if (truncated_) return false;
  const bool pointer = owner == nullptr;
  const std::size_t octets = (pointer ? 2 : name_octets(*owner)) + 10 + rdata_octets;
  if (rdata_octets > 0xffff || octets > buffer_.size() - opt_reserve_ - size_ || (pointer && owner_at_ > kMaxPointer)) {
    truncated_ = true;
    return false;
  }
  if (pointer)
    put16(static_cast<std::uint16_t>(0xc000 | owner_at_));
  else
    put_name(*owner);
  put16(type);
  put16(kClassIn);
  put32(ttl);
  put16(static_cast<std::uint16_t>(rdata_octets));
  return true;
}

void DnsReplyWriter::add_answer(std::uint16_t type, std::uint32_t ttl, std::span<const std::uint8_t> rdata) noexcept {
  if (!has_question_ || authorities_ != 0) std::abort();
  if (!begin_record(nullptr, type, ttl, rdata.size())) return;
  put(rdata);
  ++answers_;
}

void DnsReplyWriter::add_a(std::uint32_t ttl, std::span<const std::uint8_t, 4> address) noexcept {
  add_answer(kTypeA, ttl, address);
}

void DnsReplyWriter::add_aaaa(std::uint32_t ttl, std::span<const std::uint8_t, 16> address) noexcept {
  add_answer(kTypeAaaa, ttl, address);
}

void DnsReplyWriter::add_cname(std::uint32_t ttl, const WireName& target) noexcept {
  if (!has_question_ || authorities_ != 0) std::abort();
  if (!begin_record(nullptr, kTypeCname, ttl, name_octets(target))) return;
  owner_at_ = size_;
  put_name(target);
  ++answers_;
}

void DnsReplyWriter::add_soa(const WireName& owner, std::uint32_t ttl, const DnsSoa& soa) noexcept {
  if (!begin_record(&owner, kTypeSoa, ttl, name_octets(soa.mname) + name_octets(soa.rname) + 20)) return;
  put_name(soa.mname);
  put_name(soa.rname);
  put32(soa.serial);
  put32(soa.refresh);
  put32(soa.retry);
  put32(soa.expire);
  put32(soa.minimum);
  ++authorities_;
}

void DnsReplyWriter::add_authority(std::uint16_t type, std::uint32_t ttl,
                                   std::span<const std::uint8_t> rdata) noexcept {
  if (!has_question_) std::abort();
  owner_at_ = kDnsHeaderOctets;  // the QNAME, whatever the answers led to; no answer comes any more
  if (!begin_record(nullptr, type, ttl, rdata.size())) return;
  put(rdata);
  ++authorities_;
}

void DnsReplyWriter::set_error(EdeCode code, std::string_view text) noexcept {
  has_error_ = true;
  error_ = code;
  std::size_t octets = std::min(text.size(), error_text_.size());
  // Never half a character.
  while (octets < text.size() && octets > 0 && (static_cast<std::uint8_t>(text[octets]) & 0xc0) == 0x80) --octets;
  text.copy(error_text_.data(), octets);
  error_text_octets_ = static_cast<std::uint8_t>(octets);
}

std::span<const std::uint8_t> DnsReplyWriter::finish() noexcept {
  if (truncated_) {
    size_ = question_end_;
    answers_ = authorities_ = 0;
    flags_ |= 0x0200;
  }
  if (has_edns_) {
    std::size_t room = buffer_.size() - size_ - kOptOctets;
    std::size_t option = has_error_ && room >= 6 ? 6u + error_text_octets_ : 0;
    if (option > room) option = 6;
    put8(0);
    put16(kTypeOpt);
    put16(kDnsMaxUdp);
    put8(static_cast<std::uint8_t>(static_cast<std::uint16_t>(rcode_) >> 4));
    put8(0);
    put16(dnssec_ok_ ? 0x8000 : 0);  // RFC 3225 §3: copied
    put16(static_cast<std::uint16_t>(option));
    if (option != 0) {
      put16(kOptionEde);
      put16(static_cast<std::uint16_t>(option - 4));
      put16(static_cast<std::uint16_t>(error_));
      put({reinterpret_cast<const std::uint8_t*>(error_text_.data()), option - 6});
    }
  }
  const std::size_t size = size_;
  size_ = 2;
  put16(flags_);
  size_ = 6;
  put16(answers_);
  put16(authorities_);
  size_ = size;
  return buffer_.first(size);
}

std::size_t write_query(std::span<std::uint8_t, kDnsQueryMax> buffer, std::uint16_t id, const WireName& name,
                        std::uint16_t type) noexcept {
  std::size_t at = 0;
  const auto put16 = [&](std::uint16_t value) {
    buffer[at++] = static_cast<std::uint8_t>(value >> 8);
    buffer[at++] = static_cast<std::uint8_t>(value);
  };
  put16(id);
  put16(0x0100);  // RD
  put16(1);
  put16(0);
  put16(0);
  put16(1);
  std::memcpy(buffer.data() + at, name.octets().data(), name.octets().size());
  at += name.octets().size();
  put16(type);
  put16(kClassIn);
  buffer[at++] = 0;
  put16(kTypeOpt);
  put16(kDnsMaxUdp);
  put16(0);
  put16(0);
  put16(0);
  return at;
}

}  // namespace sallyport::wire
