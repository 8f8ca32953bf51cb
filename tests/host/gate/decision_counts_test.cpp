#include "host/gate/decision_counts.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sallyport {
namespace {

using testing::HasSubstr;
using testing::Not;

AuditRecord record(std::string_view plugin, Effect verdict, Reason reason) {
  AuditRecord out;
  out.set_plugin(plugin);
  out.verdict = verdict;
  out.reason = reason;
  return out;
}

class Counts : public ::testing::Test {
 protected:
  MetricsTable metrics_ = *MetricsTable::create();
  DecisionCounts counts_{metrics_};
};

TEST_F(Counts, ByPluginRuleAndClient) {
  counts_.know_plugin("dns");
  counts_.add(record("dns", Effect::kAllow, Reason::kOk), "ai", "agents");
  counts_.add(record("dns", Effect::kAllow, Reason::kOk), "ai", "agents");
  counts_.add(record("dns", Effect::kDeny, Reason::kNoRule), "", "");
  const std::string text = metrics_.text();
  EXPECT_THAT(text, HasSubstr("sallyport_decisions_total{plugin=\"dns\",verdict=\"allow\",reason=\"ok\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("sallyport_decisions_total{plugin=\"dns\",verdict=\"deny\",reason=\"no_rule\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("sallyport_rule_hits_total{rule=\"ai\",verdict=\"allow\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("sallyport_rule_hits_total{rule=\"_default\",verdict=\"deny\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("sallyport_client_decisions_total{client=\"agents\",verdict=\"allow\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("sallyport_client_decisions_total{client=\"_other\",verdict=\"deny\"} 1\n"));
}

TEST_F(Counts, ACloseIsNoDecision) {
  AuditRecord closed = record("dns", Effect::kAllow, Reason::kOk);
  closed.kind = AuditKind::kClose;
  counts_.add(closed, "ai", "agents");
  EXPECT_THAT(metrics_.text(), Not(HasSubstr("decisions_total")));
}

// A record comes from a worker that parses traffic: what it names is no label, and what makes no sense is not counted.
TEST_F(Counts, AWorkersWordsMakeNoSeries) {
  counts_.know_plugin("dns");
  for (int i = 0; i < 5000; ++i)
    counts_.add(record("evil-" + std::to_string(i), Effect::kDeny, Reason::kNoRule), "r", "c");
  counts_.add(record("dns", static_cast<Effect>(77), Reason::kOk), "r", "c");
  counts_.add(record("dns", Effect::kDeny, static_cast<Reason>(60'000)), "r", "c");
  EXPECT_THAT(metrics_.text(), HasSubstr("{plugin=\"_other\",verdict=\"deny\",reason=\"no_rule\"} 5000\n"));
  EXPECT_THAT(metrics_.text(), Not(HasSubstr("evil")));
  EXPECT_THAT(metrics_.text(), HasSubstr("sallyport_metric_overflow_total 0\n"));
  EXPECT_LE(metrics_.series(), 5u);
}

TEST_F(Counts, ManyRulesAreOther) {
  for (std::size_t i = 0; i < DecisionCounts::kMaxRules + 100; ++i)
    counts_.add(record("dns", Effect::kAllow, Reason::kOk), "rule" + std::to_string(i), "c");
  EXPECT_THAT(metrics_.text(), HasSubstr("sallyport_rule_hits_total{rule=\"_other\",verdict=\"allow\"} 100\n"));
}

TEST_F(Counts, ARulesNameIsEscaped) {
  counts_.add(record("dns", Effect::kAllow, Reason::kOk), "a\"} 1\n\\", "c");
  EXPECT_THAT(metrics_.text(), HasSubstr("{rule=\"a\\\"} 1?\\\\\",verdict=\"allow\"} 1\n"));
}

}  // namespace
}  // namespace sallyport
