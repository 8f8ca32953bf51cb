// Any octets as an upstream's reply: what is believed of it stays within the bounds and belongs to the chain.
#include <algorithm>
#include <cstdlib>
#include <optional>

#include "support/answer_chain.hpp"
#include "wire/dns_response.hpp"
#include "wire/dns_svcb.hpp"

using namespace sallyport;
using namespace sallyport::net;

namespace {

void require(bool invariant) {
  if (!invariant) std::abort();
}

// Is there a record in the answer section that says so?
bool has_record(std::span<const std::uint8_t> message, const wire::WireName& owner, std::uint16_t type,
                const Address& address) {
  Result<wire::DnsResponseReader> reader = wire::DnsResponseReader::open(message);
  require(reader.ok());
  for (wire::DnsRecord record;;) {
    const Result<bool> more = reader->next(record);
    require(more.ok());
    if (!*more) return false;
    if (record.section != wire::DnsSection::kAnswer || record.klass != wire::kClassIn || record.type != type) continue;
    if (record.owner == owner && std::equal(record.rdata.begin(), record.rdata.end(), address.octets().begin()))
      return true;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr unsigned kLinks = 16;
  const std::span<const std::uint8_t> message(data, size);
  // The name asked is the one echoed, as the exchange makes sure; else nothing would ever be on the chain.
  const Result<wire::DnsResponseReader> reader = wire::DnsResponseReader::open(message);
  const wire::WireName name = reader.ok() ? reader->question().name : wire::WireName();
  for (const std::uint16_t type : {wire::kTypeA, wire::kTypeAaaa}) {
    const ChainReply reply = read_chain(message, name, type, kLinks);
    require(reader.ok() || reply.kind == ChainKind::kFailed);
    require(reply.links <= kLinks && reply.addresses.size() <= kMaxAddresses);
    require((reply.kind == ChainKind::kAnswers) == !reply.addresses.empty());
    if (reply.kind == ChainKind::kElsewhere) require(reply.links > 0);
    if (reply.links == 0) require(reply.end == name);
    for (const Address& address : reply.addresses) {
      require(address.is_v4() == (type == wire::kTypeA));
      require(std::count(reply.addresses.begin(), reply.addresses.end(), address) == 1);
      require(has_record(message, reply.end, type, address));
    }
  }
  for (const std::uint16_t type : {wire::kTypeSvcb, wire::kTypeHttps}) {
    const ChainReply reply = read_chain(message, name, type, kLinks);
    require(reader.ok() || reply.kind == ChainKind::kFailed);
    require(reply.links <= kLinks && reply.services.size() <= kMaxServices && reply.addresses.empty());
    for (const ServiceRecord& service : reply.services) {
      require(reply.kind == ChainKind::kAnswers);
      std::vector<std::uint8_t> again(service.rdata.size());
      const Result<wire::SvcbData> stripped = wire::strip_svcb(service.rdata, again);
      require(stripped.ok() && stripped->octets == service.rdata.size() && stripped->target == service.target);
      require(again == service.rdata);  // nothing was left to strip
    }
  }
  return 0;
}
