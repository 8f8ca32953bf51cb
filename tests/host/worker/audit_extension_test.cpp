// policy.audit/1 as a plugin calls it, and what comes out of the ring.
#include <gtest/gtest.h>

#include <policy/plugin.hpp>

#include "host/worker/abi_host.hpp"

namespace sallyport {
namespace {

class AuditExtension : public testing::Test {
 protected:
  AuditExtension() {
    PolicyModel model;
    octets_ = *compile(model, 42);
    shared_.versions.publish({*Snapshot::open(octets_), {{.id = 5, .cell = "cell"}}, {}, nullptr});
    shared_.audit.emplace(*AuditRing::create(128, -1, 4711));
    host_.shared = &shared_;
    host_.plugin = "tested";
    reader_.emplace(policy::Host(&host_, &host_api()));
  }

  policy_name name(std::string_view text) {
    policy_name out;
    policy_error error{};
    error.struct_size = sizeof error;
    EXPECT_EQ(edge_extension().name(policy::str(text), POLICY_FORM_HOST, &out, &error), POLICY_OK);
    return out;
  }
  static policy_query query(const policy_name* name, std::uint16_t qtype = 1) {
    policy_query out{};
    out.layer = POLICY_LAYER_DNS;
    out.qtype = qtype;
    out.client_id = 5;
    out.name = name;
    return out;
  }
  static policy_verdict verdict(std::uint16_t value) {
    policy_verdict out{};
    out.struct_size = sizeof out;
    out.verdict = value;
    out.rule = POLICY_NO_RULE;
    out.generation = 42;
    return out;
  }
  AuditRecord take() {
    std::array<AuditRecord, 1> out;
    EXPECT_EQ(shared_.audit->read(out), 1u);
    return out[0];
  }

  std::vector<std::byte> octets_;
  WorkerShared shared_;
  policy_host host_;
  std::optional<policy::Reader> reader_;
};

TEST_F(AuditExtension, GivesTheRefThatTheRecordHas) {
  const policy_name evil = name("evil.test"), other = name("other.test");
  const policy::Audited first = reader_->audit(query(&evil), verdict(POLICY_DENY));
  EXPECT_TRUE(first.kept);
  EXPECT_EQ(first.ref.size(), kRefSize);
  EXPECT_EQ(ref_text(take().ref), first.ref);
  EXPECT_EQ(reader_->audit(query(&evil, 28), verdict(POLICY_DENY)).ref, first.ref);
  take();
  EXPECT_NE(reader_->audit(query(&other), verdict(POLICY_DENY)).ref, first.ref);
}

TEST_F(AuditExtension, ContinueIsWhatItSays) {
  const policy_name allowed = name("api.test");
  reader_->audit(query(&allowed), verdict(POLICY_CONTINUE));
  const AuditRecord passed = take();
  EXPECT_EQ(passed.verdict, Effect::kContinue);
  EXPECT_EQ(passed.effective, Effect::kAllow);
  reader_->audit(query(&allowed), verdict(77));  // no verdict that there is
  const AuditRecord unknown = take();
  EXPECT_EQ(unknown.verdict, Effect::kDeny);
  EXPECT_EQ(unknown.effective, Effect::kDeny);
}

TEST_F(AuditExtension, RawStandsInForAName) {
  reader_->audit(query(nullptr), verdict(POLICY_DENY), "{}", "a\nb");
  const AuditRecord raw = take();
  EXPECT_EQ(raw.name_text(), "a\nb");
  EXPECT_TRUE(raw.flags & kAuditRaw);
  const policy_name evil = name("evil.test");
  reader_->audit(query(&evil), verdict(POLICY_DENY), "{}", "a\nb");
  EXPECT_EQ(take().name_text(), "evil.test");
  reader_->audit(query(nullptr), verdict(POLICY_DENY), "{}", std::string(300, 'x'));
  EXPECT_EQ(take().flags & kAuditTruncated, kAuditTruncated);
}

TEST_F(AuditExtension, NoRefWithoutARecord) {
  policy_ref ref;
  std::memset(&ref, 'x', sizeof ref);
  const auto* audit = static_cast<const policy_audit_v1*>(host_api().get(&host_, POLICY_AUDIT_ID));
  EXPECT_EQ(audit->write(reader_->raw(), nullptr, nullptr, {}, {}, &ref), POLICY_INVALID);
  EXPECT_EQ(ref.text[0], '\0');
  policy_query asked = query(nullptr);
  asked.struct_size = sizeof asked;
  const policy_verdict denied = verdict(POLICY_DENY);
  EXPECT_EQ(audit->write(reader_->raw(), &asked, &denied, {}, {}, nullptr), POLICY_OK);
}

}  // namespace
}  // namespace sallyport
