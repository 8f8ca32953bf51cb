// Our readers against ldns: what both take, they must understand the same way; what only one takes must have a reason
// that is a rule of ours (dns_message.hpp, dns_response.hpp), never an accident.
#include <gtest/gtest.h>
#include <ldns/ldns.h>

#include <memory>
#include <random>
#include <set>

#include "message_builder.hpp"
#include "wire/dns_response.hpp"
#include "wire/dns_writer.hpp"

namespace sallyport::wire {
namespace {

using Packet = std::unique_ptr<ldns_pkt, decltype(&ldns_pkt_free)>;

Packet parse_by_ldns(const Octets& message) {
  ldns_pkt* packet = nullptr;
  if (ldns_wire2pkt(&packet, message.data(), message.size()) != LDNS_STATUS_OK) packet = nullptr;
  return {packet, &ldns_pkt_free};
}

Octets octets_of(const ldns_rdf* data) {
  const auto* first = ldns_rdf_data(data);
  return {first, first + ldns_rdf_size(data)};
}

Octets octets_of(const WireName& name) { return {name.octets().begin(), name.octets().end()}; }

// Random messages, mostly well-formed; names are compressed against whatever label came before.
class Generator {
 public:
  explicit Generator(std::uint64_t seed) : random_(seed) {}

  Octets query() {
    MessageBuilder m;
    const bool opt = chance(60);
    m.header(any16(), any16() & 0x07ff, chance(97) ? 1 : below(3), chance(98) ? 0 : 1, chance(98) ? 0 : 1, opt ? 1 : 0);
    name(m, false);
    m.u16(type()).u16(chance(90) ? 1 : below(260));
    if (opt) this->opt(m);
    if (chance(3)) m.u8(0);
    return mutate(std::move(m.octets));
  }

  Octets response() {
    MessageBuilder m;
    const unsigned an = below(5), ns = below(3), ar = below(3);
    const bool opt = chance(50);
    m.header(any16(), 0x8000 | (any16() & 0x07ff), 1, an, ns, ar + (opt ? 1 : 0));
    name(m, false);
    m.u16(type()).u16(1);
    for (unsigned i = 0; i < an + ns + ar; ++i) record(m);
    if (opt) this->opt(m);
    return mutate(std::move(m.octets));
  }

 private:
  unsigned below(unsigned bound) { return static_cast<unsigned>(random_() % bound); }
  unsigned any16() { return static_cast<unsigned>(random_() & 0xffff); }
  bool chance(unsigned percent) { return below(100) < percent; }
  unsigned type() { return chance(80) ? std::array<unsigned, 4>{1, 28, 5, 65}[below(4)] : any16(); }

  void name(MessageBuilder& m, bool may_point) {
    for (unsigned labels = below(5);; --labels) {
      if (may_point && !starts_.empty() && chance(50)) {
        m.pointer(starts_[below(static_cast<unsigned>(starts_.size()))]);
        return;
      }
      if (labels == 0) break;
      if (m.octets.size() < 0x3fff) starts_.push_back(static_cast<unsigned>(m.octets.size()));
      std::string label(1 + below(chance(95) ? 8 : 63), 'a');
      for (char& c : label) c = chance(90) ? "abcXYZ019-_"[below(11)] : static_cast<char>(below(256));
      m.label(label);
    }
    m.u8(0);
  }

  void record(MessageBuilder& m) {
    name(m, true);
    const unsigned type = std::array<unsigned, 7>{1, 28, 5, 2, 6, 1, 4711}[below(7)];
    m.u16(type).u16(1).u32(static_cast<std::uint32_t>(random_()));
    const std::size_t length_at = m.octets.size();
    m.u16(0);
    switch (type) {
      case 1:
        m.u32(static_cast<std::uint32_t>(random_()));
        break;
      case 28:
        for (int i = 0; i < 4; ++i) m.u32(static_cast<std::uint32_t>(random_()));
        break;
      case 5:
      case 2:
        name(m, true);
        break;
      case 6:
        name(m, true);
        name(m, true);
        for (int i = 0; i < 5; ++i) m.u32(static_cast<std::uint32_t>(random_() & 0x7fffffff));
        break;
      default:
        for (unsigned i = below(20); i > 0; --i) m.u8(below(256));
    }
    const std::size_t octets = m.octets.size() - length_at - 2;
    m.octets[length_at] = static_cast<std::uint8_t>(octets >> 8);
    m.octets[length_at + 1] = static_cast<std::uint8_t>(octets);
  }

  void opt(MessageBuilder& m) {
    Octets options;
    for (unsigned i = below(3); i > 0; --i) {
      const unsigned length = below(9);
      options.insert(options.end(),
                     {0, static_cast<std::uint8_t>(chance(50) ? 10 : below(20)), 0, static_cast<std::uint8_t>(length)});
      options.insert(options.end(), length, static_cast<std::uint8_t>(below(256)));
    }
    m.opt(any16(), chance(95) ? 0 : 1, chance(50) ? 0x8000 : 0, options);
  }

  Octets mutate(Octets octets) {
    if (chance(50)) return octets;
    for (unsigned i = 1 + below(3); i > 0 && !octets.empty(); --i) {
      const unsigned at = below(static_cast<unsigned>(octets.size()));
      switch (below(4)) {
        case 0:
          octets[at] ^= static_cast<std::uint8_t>(1u << below(8));
          break;
        case 1:
          octets[at] = static_cast<std::uint8_t>(below(256));
          break;
        case 2:
          octets.resize(at);
          break;
        default:
          octets.insert(octets.begin() + at, static_cast<std::uint8_t>(below(256)));
      }
    }
    return octets;
  }

  std::mt19937_64 random_;
  std::vector<unsigned> starts_;  // where a label of this message starts
};

std::string hex(const Octets& octets) {
  std::string out;
  char two[3];
  for (const std::uint8_t octet : octets) out += (std::snprintf(two, sizeof two, "%02x", octet), two);
  return out;
}

class AgainstLdns : public testing::TestWithParam<int> {};  // seeds
constexpr int kMessages = 4000;                             // of each kind, for each seed

TEST_P(AgainstLdns, QueriesAreReadTheSame) {
  int both = 0;
  for (int i = 0; i < kMessages; ++i) {
    const Octets message = Generator(static_cast<std::uint64_t>(GetParam()) << 32 | static_cast<unsigned>(i)).query();
    SCOPED_TRACE(testing::Message() << "seed " << GetParam() << " message " << i << " " << hex(message));
    const DnsQuery ours = read_query(message);
    const Packet theirs = parse_by_ldns(message);
    if (ours.outcome == QueryOutcome::kQuery) {
      ASSERT_TRUE(theirs) << "taken by us alone";
      ++both;
      ASSERT_EQ(ldns_pkt_id(theirs.get()), ours.header.id);
      ASSERT_EQ(ldns_pkt_rd(theirs.get()), ours.header.recursion_desired());
      ASSERT_EQ(ldns_pkt_cd(theirs.get()), ours.header.checking_disabled());
      ASSERT_EQ(ldns_rr_list_rr_count(ldns_pkt_question(theirs.get())), 1u);
      const ldns_rr* question = ldns_rr_list_rr(ldns_pkt_question(theirs.get()), 0);
      ASSERT_EQ(octets_of(ldns_rr_owner(question)), octets_of(ours.question->name));
      ASSERT_EQ(ldns_rr_get_type(question), ours.question->type);
      ASSERT_EQ(ldns_rr_get_class(question), ours.question->klass);
      ASSERT_EQ(ldns_pkt_edns(theirs.get()), ours.edns.has_value());
      if (ours.edns) {
        ASSERT_EQ(ldns_pkt_edns_version(theirs.get()), ours.edns->version);
        ASSERT_EQ(ldns_pkt_edns_do(theirs.get()), ours.edns->dnssec_ok);
        ASSERT_EQ(std::clamp<unsigned>(ldns_pkt_edns_udp_size(theirs.get()), 512, 1232), ours.edns->udp_size);
      }
    } else if (ours.outcome == QueryOutcome::kFormErr && theirs &&
               ldns_rr_list_rr_count(ldns_pkt_question(theirs.get())) == 1) {
      // Written again by ldns: equal to the input only if it held nothing but what our form allows.
      const ldns_rr* question = ldns_rr_list_rr(ldns_pkt_question(theirs.get()), 0);
      std::size_t plain = 12 + ldns_rdf_size(ldns_rr_owner(question)) + 4;
      bool options_whole = true;
      if (ldns_pkt_edns(theirs.get())) {
        const ldns_rdf* options = ldns_pkt_edns_data(theirs.get());
        const Octets data = options ? octets_of(options) : Octets();
        plain += 11 + data.size();
        std::size_t at = 0;
        while (at + 4 <= data.size()) at += 4u + (data[at + 2] << 8 | data[at + 3]);
        options_whole = at == data.size();
      }
      const DnsHeader& header = ours.header;
      const bool form = header.qdcount == 1 && header.ancount == 0 && header.nscount == 0 &&
                        header.arcount == (ldns_pkt_edns(theirs.get()) ? 1 : 0) && message.size() == plain &&
                        options_whole;
      ASSERT_FALSE(form) << "refused by us alone, for no reason of ours";
    }
  }
  EXPECT_GT(both, kMessages / 4);  // the comparison compares something
}

TEST_P(AgainstLdns, ResponsesAreReadTheSame) {
  // Where we are stricter on purpose; anything else that ldns takes, we take.
  const std::set<std::string_view> reasons = {"not a response",
                                              "opcode other than QUERY",
                                              "not exactly one question",
                                              "compression pointer where none may be",
                                              "compression pointer to a pointer",
                                              "compression pointer that does not lead backwards",
                                              "octets after the last record",
                                              "misplaced or second OPT record",
                                              "label over 63 octets",
                                              "address record of the wrong size"};
  int both = 0, stricter = 0;
  for (int i = 0; i < kMessages; ++i) {
    const Octets message =
        Generator(static_cast<std::uint64_t>(GetParam()) << 33 | static_cast<unsigned>(i)).response();
    SCOPED_TRACE(testing::Message() << "seed " << GetParam() << " message " << i << " " << hex(message));
    const Packet theirs = parse_by_ldns(message);

    std::optional<Error> error;
    std::vector<DnsRecord> ours;
    bool data_whole = true;  // of the types whose data has a form
    Result<DnsResponseReader> reader = DnsResponseReader::open(message);
    if (!reader.ok()) error = reader.error();
    while (!error) {
      DnsRecord record;
      const Result<bool> more = reader->next(record);
      if (!more.ok()) error = more.error();
      if (!more.ok() || !*more) break;
      if (record.type == kTypeCname || record.type == kTypeNs) data_whole &= reader->name_data(record).ok();
      if (record.type == kTypeSoa) data_whole &= reader->soa_data(record).ok();
      // The 4096 combinations of other types that a mutation can make have forms that only ldns knows.
      if (record.type != kTypeA && record.type != kTypeAaaa && record.type != kTypeCname && record.type != kTypeNs &&
          record.type != kTypeSoa && record.type != 4711)
        data_whole &= record.type == kTypeOpt;
      if (record.klass != kClassIn && record.type != kTypeOpt) data_whole = false;
      ours.push_back(record);
    }
    if (error) {
      if (theirs) {
        // ldns goes on where a record's fields end, we where its length says; after one that disagrees nothing
        // compares.
        ASSERT_TRUE(reasons.contains(error->message) || !data_whole) << "refused by us alone: " << error->message;
        ++stricter;
      }
      continue;
    }
    if (!theirs) {
      ASSERT_FALSE(data_whole) << "taken by us alone";
      continue;
    }
    if (!data_whole) continue;
    ++both;
    ASSERT_EQ(ldns_pkt_id(theirs.get()), reader->header().id);
    ASSERT_EQ(ldns_pkt_tc(theirs.get()), reader->header().is_truncated());
    ASSERT_EQ(static_cast<unsigned>(ldns_pkt_get_rcode(theirs.get())), reader->header().rcode());
    std::vector<const ldns_rr*> records;
    for (const ldns_rr_list* list :
         {ldns_pkt_answer(theirs.get()), ldns_pkt_authority(theirs.get()), ldns_pkt_additional(theirs.get())})
      for (std::size_t n = 0; n < ldns_rr_list_rr_count(list); ++n) records.push_back(ldns_rr_list_rr(list, n));
    std::erase_if(ours, [](const DnsRecord& record) { return record.type == kTypeOpt; });  // ldns keeps it elsewhere
    ASSERT_EQ(records.size(), ours.size());
    for (std::size_t n = 0; n < ours.size(); ++n) {
      ASSERT_EQ(octets_of(ldns_rr_owner(records[n])), octets_of(ours[n].owner));
      ASSERT_EQ(ldns_rr_get_type(records[n]), ours[n].type);
      const std::uint32_t ttl = ldns_rr_ttl(records[n]);
      ASSERT_EQ((ttl & 0x80000000) != 0 ? 0 : ttl, ours[n].ttl);
      if (ours[n].type == kTypeA || ours[n].type == kTypeAaaa) {
        ASSERT_EQ(octets_of(ldns_rr_rdf(records[n], 0)), Octets(ours[n].rdata.begin(), ours[n].rdata.end()));
      } else if (ours[n].type == kTypeCname || ours[n].type == kTypeNs) {
        ASSERT_EQ(octets_of(ldns_rr_rdf(records[n], 0)), octets_of(*reader->name_data(ours[n])));
      } else if (ours[n].type == kTypeSoa) {
        const Result<DnsSoa> soa = reader->soa_data(ours[n]);
        ASSERT_EQ(octets_of(ldns_rr_rdf(records[n], 0)), octets_of(soa->mname));
        ASSERT_EQ(octets_of(ldns_rr_rdf(records[n], 1)), octets_of(soa->rname));
        ASSERT_EQ(ldns_rdf2native_int32(ldns_rr_rdf(records[n], 2)), soa->serial);
        const std::uint32_t minimum = ldns_rdf2native_int32(ldns_rr_rdf(records[n], 6));
        ASSERT_EQ((minimum & 0x80000000) != 0 ? 0 : minimum, soa->minimum);
      }
    }
  }
  EXPECT_GT(both, kMessages / 4);
  EXPECT_GT(stricter, 0);
}

// What we write, ldns reads, and finds what was put in.
TEST_P(AgainstLdns, RepliesAreUnderstood) {
  std::mt19937_64 random(static_cast<unsigned>(GetParam()));
  for (int i = 0; i < 500; ++i) {
    const Octets message = Generator(random()).query();
    const DnsQuery query = read_query(message);
    if (query.outcome == QueryOutcome::kSilence) continue;
    SCOPED_TRACE(testing::Message() << "seed " << GetParam() << " message " << i << " " << hex(message));
    std::array<std::uint8_t, 1232> buffer;
    DnsReplyWriter writer(buffer, query, query.udp_limit(), rcode_of(query.outcome));
    const unsigned addresses = query.question ? random() % 40 : 0;
    for (unsigned n = 0; n < addresses; ++n)
      writer.add_a(n, std::array<std::uint8_t, 4>{192, 0, 2, static_cast<std::uint8_t>(n)});
    if (query.question)
      writer.add_soa(query.question->name, 10,
                     DnsSoa{query.question->name, *WireName::from_text("x.invalid"), 1, 2, 3, 4, 5});
    writer.set_error(EdeCode::kBlocked, "ref k3f9");
    const auto reply = writer.finish();
    ASSERT_LE(reply.size(), query.udp_limit());
    const Packet theirs = parse_by_ldns(Octets(reply.begin(), reply.end()));
    ASSERT_TRUE(theirs);
    ASSERT_EQ(ldns_pkt_id(theirs.get()), query.header.id);
    ASSERT_EQ(ldns_pkt_edns(theirs.get()), query.edns.has_value());
    if (ldns_pkt_tc(theirs.get())) {
      ASSERT_EQ(ldns_pkt_ancount(theirs.get()) + ldns_pkt_nscount(theirs.get()), 0);
      continue;
    }
    ASSERT_EQ(ldns_pkt_ancount(theirs.get()), addresses);
    for (unsigned n = 0; n < addresses; ++n)
      ASSERT_EQ(octets_of(ldns_rr_owner(ldns_rr_list_rr(ldns_pkt_answer(theirs.get()), n))),
                octets_of(query.question->name));
    if (query.question) {
      const ldns_rr* soa = ldns_rr_list_rr(ldns_pkt_authority(theirs.get()), 0);
      ASSERT_EQ(octets_of(ldns_rr_owner(soa)), octets_of(query.question->name));
      ASSERT_EQ(octets_of(ldns_rr_rdf(soa, 0)), octets_of(query.question->name));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, AgainstLdns, testing::Range(0, 20));

}  // namespace
}  // namespace sallyport::wire
