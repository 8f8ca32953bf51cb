#include "metrics/exposition.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>
#include <string>
#include <vector>

namespace sallyport {
namespace {

TEST(Exposition, FamiliesTogetherWithHelpAndType) {
  EXPECT_EQ(exposition({
                {"sallyport_plugin_up", R"(plugin="dns")", 1},
                {"sallyport_dns_queries_total", R"(transport="udp",rcode="NOERROR")", 7},
                {"sallyport_metric_overflow_total", "", 0},
                {"sallyport_dns_queries_total", R"(transport="tcp",rcode="NOERROR")", 2},
                {"sallyport_plugin_up", R"(plugin="nftables")", 0},
            }),
            "# HELP sallyport_dns_queries_total Queries by transport and RCODE of the response.\n"
            "# TYPE sallyport_dns_queries_total counter\n"
            "sallyport_dns_queries_total{transport=\"tcp\",rcode=\"NOERROR\"} 2\n"
            "sallyport_dns_queries_total{transport=\"udp\",rcode=\"NOERROR\"} 7\n"
            "# HELP sallyport_metric_overflow_total Events of series that found no room.\n"
            "# TYPE sallyport_metric_overflow_total counter\n"
            "sallyport_metric_overflow_total 0\n"
            "# HELP sallyport_plugin_up 1 while the plugin serves.\n"
            "# TYPE sallyport_plugin_up gauge\n"
            "sallyport_plugin_up{plugin=\"dns\"} 1\n"
            "sallyport_plugin_up{plugin=\"nftables\"} 0\n");
}

TEST(Exposition, HistogramRisesAndCountsSeconds) {
  EXPECT_EQ(exposition({
                {"sallyport_decision_duration_seconds_count", R"(plugin="dns")", 9},
                {"sallyport_decision_duration_seconds_bucket", R"(plugin="dns",le="+Inf")", 9},
                {"sallyport_decision_duration_seconds_bucket", R"(plugin="dns",le="2.5e-07")", 4},
                {"sallyport_decision_duration_seconds_sum", R"(plugin="dns")", 1'000'000'250},
                {"sallyport_decision_duration_seconds_bucket", R"(plugin="dns",le="1e-06")", 8},
                {"sallyport_decision_duration_seconds_bucket", R"(plugin="a",le="1")", 1},
            }),
            "# HELP sallyport_decision_duration_seconds Time of one decision.\n"
            "# TYPE sallyport_decision_duration_seconds histogram\n"
            "sallyport_decision_duration_seconds_bucket{plugin=\"a\",le=\"1\"} 1\n"
            "sallyport_decision_duration_seconds_bucket{plugin=\"dns\",le=\"2.5e-07\"} 4\n"
            "sallyport_decision_duration_seconds_bucket{plugin=\"dns\",le=\"1e-06\"} 8\n"
            "sallyport_decision_duration_seconds_bucket{plugin=\"dns\",le=\"+Inf\"} 9\n"
            "sallyport_decision_duration_seconds_sum{plugin=\"dns\"} 1.000000250\n"
            "sallyport_decision_duration_seconds_count{plugin=\"dns\"} 9\n");
}

TEST(Exposition, PluginsOwnNamesGetATypeByTheirEnding) {
  EXPECT_EQ(exposition({{"sallyport_x_total", "", 1}, {"sallyport_y", "", 2}}),
            "# TYPE sallyport_x_total counter\nsallyport_x_total 1\n# TYPE sallyport_y gauge\nsallyport_y 2\n");
}

TEST(Exposition, EqualSeriesAreAddedUp) {
  EXPECT_EQ(exposition({{"sallyport_x_total", "a=\"1\"", 1}, {"sallyport_x_total", "a=\"1\"", 2}}),
            "# TYPE sallyport_x_total counter\nsallyport_x_total{a=\"1\"} 3\n");
}

struct LabelCase {
  const char* why;
  const char* labels;
  bool taken;
};
class Labels : public ::testing::TestWithParam<LabelCase> {};

TEST_P(Labels, AreCheckedBeforeTheyAreShown) {
  EXPECT_EQ(are_labels(GetParam().labels), GetParam().taken);
  EXPECT_EQ(exposition({{"sallyport_x", GetParam().labels, 1}}).empty(), !GetParam().taken);
}

INSTANTIATE_TEST_SUITE_P(Forms, Labels,
                         ::testing::ValuesIn<LabelCase>({
                             {"None", "", true},
                             {"One", R"(a="b")", true},
                             {"Two", R"(a="b",c_2="d e")", true},
                             {"EmptyValue", R"(a="")", true},
                             {"Escaped", R"(a="\"\\\n")", true},
                             {"OtherEscape", R"(a="\t")", false},
                             {"EscapeAtTheEnd", R"(a="\)", false},
                             {"NewLine", "a=\"\n\"", false},
                             {"NewSeries", "a=\"\"} 1\nsallyport_evil{b=\"\"", false},
                             {"Unfinished", R"(a="b)", false},
                             {"NoValue", "a", false},
                             {"NoKey", R"(="b")", false},
                             {"NoQuotes", "a=b", false},
                             {"DigitFirst", R"(1a="b")", false},
                             {"UpperCase", R"(A="b")", false},
                             {"CommaAtTheEnd", R"(a="b",)", false},
                             {"NoComma", R"(a="b"c="d")", false},
                             {"Utf8", "a=\"\xc3\xa4\"", false},
                         }),
                         [](const auto& row) { return row.param.why; });

TEST(Exposition, Names) {
  EXPECT_TRUE(is_metric_name("sallyport_x_2"));
  EXPECT_TRUE(is_metric_name("process_open_fds"));
  for (const char* name : {"", "x", "sallyport_X", "sallyport_\n", "sallyport_x{", "go_gc"})
    EXPECT_FALSE(is_metric_name(name));
}

// The document and the table name the same metrics, with the same types.
TEST(Exposition, DocumentSaysTheSame) {
  std::ifstream file(SALLYPORT_METRICS_DOC);
  ASSERT_TRUE(file.good());
  std::set<std::string> documented, known;
  const std::regex row(R"(^\| `(sallyport_[a-z_]+)` \| (counter|gauge|histogram) \|.*)");
  for (std::string line; std::getline(file, line);) {
    std::smatch match;
    if (std::regex_match(line, match, row)) documented.insert(match[1].str() + " " + match[2].str());
  }
  for (const KnownMetric& metric : known_metrics()) {
    const char* type = metric.type == MetricType::kCounter ? "counter"
                       : metric.type == MetricType::kGauge ? "gauge"
                                                           : "histogram";
    known.insert(std::string(metric.name) + " " + type);
  }
  EXPECT_EQ(documented, known);
  EXPECT_TRUE(std::is_sorted(known_metrics().begin(), known_metrics().end(),
                             [](const KnownMetric& a, const KnownMetric& b) { return a.name < b.name; }));
}

std::string read(const std::filesystem::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// What a program of ours registers has a line of HELP, a type and a row in the document; and a row of the document,
// other than those set aside, has a program that registers it.
TEST(Exposition, WhatIsRegisteredIsDocumentedAndTheOtherWayRound) {
  std::set<std::string> registered, known, counted;
  const std::regex literal(R"(\"(sallyport_[a-z_]+)\")");
  const std::filesystem::path tree(SALLYPORT_TREE);
  for (const char* folder : {"plugins", "libpolicy/host"}) {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(tree / folder)) {
      if (entry.path().extension() != ".cpp" && entry.path().extension() != ".hpp") continue;
      const std::string text = read(entry.path());
      for (std::sregex_iterator at(text.begin(), text.end(), literal), end; at != end; ++at)
        registered.insert((*at)[1]);
    }
  }
  registered.insert("sallyport_metric_overflow_total");  // the table's own
  for (const KnownMetric& metric : known_metrics()) known.emplace(metric.name);
  const std::string document = read(SALLYPORT_METRICS_DOC);
  const std::string in_use = document.substr(0, document.find("## Names that are set aside"));
  const std::regex row(R"(\| `(sallyport_[a-z_]+)` \| (counter|gauge|histogram))");
  for (std::sregex_iterator at(in_use.begin(), in_use.end(), row), end; at != end; ++at) counted.insert((*at)[1]);
  EXPECT_GT(registered.size(), 30u);
  for (const std::string& name : registered) EXPECT_TRUE(known.contains(name)) << name << " has no HELP and no row";
  EXPECT_EQ(registered, counted);
}

}  // namespace
}  // namespace sallyport
