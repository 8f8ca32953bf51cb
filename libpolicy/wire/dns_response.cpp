#include "wire/dns_response.hpp"

#include "wire/dns_octets.hpp"

namespace sallyport::wire {

Result<DnsResponseReader> DnsResponseReader::open(std::span<const std::uint8_t> message) noexcept {
  if (message.size() > kDnsMaxMessage) return Error{ErrorCode::kTooLong, "message over 65535 octets", kDnsMaxMessage};
  const std::optional<DnsHeader> header = DnsHeader::read(message);
  if (!header) return Error{ErrorCode::kIncomplete, "message shorter than its header", message.size()};
  if (!header->is_response()) return Error{ErrorCode::kMalformed, "not a response", 2};
  if (header->opcode() != 0) return Error{ErrorCode::kMalformed, "opcode other than QUERY", 2};
  if (header->qdcount != 1) return Error{ErrorCode::kMalformed, "not exactly one question", 4};

  DnsResponseReader reader;
  reader.message_ = message;
  reader.header_ = *header;
  reader.offset_ = kDnsHeaderOctets;
  const Result<WireName> name = WireName::read(message, reader.offset_);
  if (!name.ok()) return name.error();
  if (message.size() - reader.offset_ < 4) return Error{ErrorCode::kIncomplete, "question ends early", reader.offset_};
  reader.question_ = {*name, get16(message, reader.offset_), get16(message, reader.offset_ + 2)};
  reader.offset_ += 4;
  reader.left_[0] = header->ancount;
  reader.left_[1] = header->nscount;
  reader.left_[2] = header->arcount;
  return reader;
}

Result<bool> DnsResponseReader::next(DnsRecord& record) noexcept {
  std::size_t section = 0;
  while (section < 3 && left_[section] == 0) ++section;
  if (section == 3) {
    if (offset_ != message_.size()) return Error{ErrorCode::kMalformed, "octets after the last record", offset_};
    return false;
  }

  const std::size_t start = offset_;
  std::size_t at = offset_;
  const Result<WireName> owner = WireName::read_compressed(message_, at);
  if (!owner.ok()) return owner.error();
  if (message_.size() - at < 10) return Error{ErrorCode::kIncomplete, "record ends early", at};
  const std::size_t octets = get16(message_, at + 8);
  if (message_.size() - at - 10 < octets) return Error{ErrorCode::kIncomplete, "record data ends early", at + 10};

  record.section = static_cast<DnsSection>(section + 1);
  record.owner = *owner;
  record.type = get16(message_, at);
  record.klass = get16(message_, at + 2);
  record.ttl = get32(message_, at + 4);
  record.rdata_offset = at + 10;
  record.rdata = message_.subspan(at + 10, octets);

  if (record.type == kTypeOpt) {
    if (record.section != DnsSection::kAdditional || !record.owner.is_root() || seen_opt_)
      return Error{ErrorCode::kMalformed, "misplaced or second OPT record", start};
    seen_opt_ = true;
    extended_rcode_ = static_cast<std::uint8_t>(record.ttl >> 24);
  } else {
    if ((record.ttl & 0x8000'0000) != 0) record.ttl = 0;
    if (record.klass == kClassIn &&
        ((record.type == kTypeA && octets != 4) || (record.type == kTypeAaaa && octets != 16)))
      return Error{ErrorCode::kMalformed, "address record of the wrong size", at + 8};
  }
  --left_[section];
  offset_ = at + 10 + octets;
  return true;
}

std::uint16_t DnsResponseReader::rcode() const noexcept {
  return static_cast<std::uint16_t>(extended_rcode_ << 4 | header_.rcode());
}

Result<WireName> DnsResponseReader::name_data(const DnsRecord& record) const noexcept {
  std::size_t at = record.rdata_offset;
  // Cut behind the record: its name may point back, but must not run into what follows.
  const std::size_t end = record.rdata_offset + record.rdata.size();
  const Result<WireName> name = WireName::read_compressed(message_.first(end), at);
  if (name.ok() && at != end) return Error{ErrorCode::kMalformed, "octets after the name of a record", at};
  return name;
}

Result<DnsSoa> DnsResponseReader::soa_data(const DnsRecord& record) const noexcept {
  std::size_t at = record.rdata_offset;
  const std::size_t end = record.rdata_offset + record.rdata.size();
  const std::span<const std::uint8_t> message = message_.first(end);
  DnsSoa soa;
  const Result<WireName> mname = WireName::read_compressed(message, at);
  if (!mname.ok()) return mname.error();
  const Result<WireName> rname = WireName::read_compressed(message, at);
  if (!rname.ok()) return rname.error();
  if (end - at != 20) return Error{ErrorCode::kMalformed, "SOA record of the wrong size", at};
  soa.mname = *mname;
  soa.rname = *rname;
  soa.serial = get32(message, at);
  soa.refresh = get32(message, at + 4);
  soa.retry = get32(message, at + 8);
  soa.expire = get32(message, at + 12);
  soa.minimum = get32(message, at + 16);
  // RFC 2308 §5 with RFC 2181 §8: it is a TTL.
  if ((soa.minimum & 0x8000'0000) != 0) soa.minimum = 0;
  return soa;
}

}  // namespace sallyport::wire
