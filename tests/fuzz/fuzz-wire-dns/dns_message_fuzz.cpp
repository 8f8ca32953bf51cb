// Any octets, as a query and as a response. What is taken must come out again when it is written and read once more.
#include <array>
#include <cstdlib>
#include <vector>

#include "wire/dns_response.hpp"
#include "wire/dns_writer.hpp"

using namespace sallyport;
using namespace sallyport::wire;

namespace {

void require(bool invariant) {
  if (!invariant) std::abort();
}

void check_name(const WireName& name) {
  const Result<WireName> again = WireName::from_wire(name.octets());
  require(again.ok() && again->has_same_case(name) && again->labels() == name.labels());
  require(name.lower() == name && name.with_case(std::array<std::uint8_t, 1>{0xa5}) == name && name.is_within(name));
  WireName::TextBuffer buffer;
  for (const char c : name.text(buffer)) require(c > 0x20 && c < 0x7f && c != '"');
}

void as_query(std::span<const std::uint8_t> message) {
  const DnsQuery query = read_query(message);
  if (query.outcome == QueryOutcome::kSilence) return;
  require(query.udp_limit() >= kDnsMinUdp && query.udp_limit() <= kDnsMaxUdp);

  // Every outcome but silence has a reply that echoes what was asked, within the client's limit.
  std::array<std::uint8_t, kDnsMaxUdp> buffer;
  DnsReplyWriter writer(buffer, query, query.udp_limit(), rcode_of(query.outcome));
  if (query.question) {
    check_name(query.question->name);
    for (std::size_t i = 0; i < message.size() % 64; ++i) writer.add_a(1, std::array<std::uint8_t, 4>{1, 2, 3, 4});
    writer.add_soa(query.question->name, 1, DnsSoa{query.question->name, query.question->name, 1, 2, 3, 4, 5});
  }
  writer.set_error(EdeCode::kBlocked, {reinterpret_cast<const char*>(message.data()), message.size()});
  const std::span<const std::uint8_t> reply = writer.finish();
  require(reply.size() <= query.udp_limit());
  if (query.question) {
    Result<DnsResponseReader> reader = DnsResponseReader::open(reply);
    require(reader.ok() && reader->header().id == query.header.id);
    require(reader->question().name.has_same_case(query.question->name) &&
            reader->question().type == query.question->type);
    for (DnsRecord record;;) {
      const Result<bool> more = reader->next(record);
      require(more.ok());
      if (!*more) break;
      require(record.type == kTypeOpt || record.owner.has_same_case(query.question->name));
    }
  }
  if (query.outcome != QueryOutcome::kQuery) return;

  std::array<std::uint8_t, kDnsQueryMax> ours;
  const std::size_t size = write_query(ours, query.header.id, query.question->name, query.question->type);
  const DnsQuery again = read_query(std::span(ours).first(size));
  require(again.outcome == QueryOutcome::kQuery && again.question->name.has_same_case(query.question->name) &&
          again.question->type == query.question->type && again.header.id == query.header.id);
}

void as_response(std::span<const std::uint8_t> message) {
  Result<DnsResponseReader> reader = DnsResponseReader::open(message);
  if (!reader.ok()) return;
  check_name(reader->question().name);
  std::size_t records = 0;
  for (DnsRecord record;;) {
    const Result<bool> more = reader->next(record);
    if (!more.ok()) {
      require(more.error().offset <= message.size() || more.error().offset <= kDnsMaxMessage);
      return;
    }
    if (!*more) break;
    ++records;
    check_name(record.owner);
    require(record.rdata_offset + record.rdata.size() <= message.size());
    require(record.rdata.empty() || record.rdata.data() == message.data() + record.rdata_offset);
    if (record.type == kTypeCname) {
      if (const Result<WireName> target = reader->name_data(record); target.ok()) check_name(*target);
    } else if (record.type == kTypeSoa) {
      if (const Result<DnsSoa> soa = reader->soa_data(record); soa.ok()) check_name(soa->mname), check_name(soa->rname);
    }
  }
  const DnsHeader& header = reader->header();
  require(records == std::size_t{header.ancount} + header.nscount + header.arcount);
}

void as_name(std::span<const std::uint8_t> octets) {
  std::size_t offset = 0, compressed = 0;
  const Result<WireName> name = WireName::read(octets, offset);
  const Result<WireName> same = WireName::read_compressed(octets, compressed);
  if (!name.ok()) return;
  check_name(*name);
  require(same.ok() && same->has_same_case(*name) && offset == compressed);  // without pointers the two agree
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span<const std::uint8_t> input(data, size);
  as_query(input);
  as_response(input);
  as_name(input);
  if (size > 3) {  // the same octets as a response, so that one corpus serves both
    std::vector<std::uint8_t> other(data, data + size);
    other[2] ^= 0x80;
    as_query(other);
    as_response(other);
  }
  return 0;
}
