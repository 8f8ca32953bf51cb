// The targets of PERF.md section 4 and of the issue, each as a ratio of two medians of one run.
#include <cstdio>
#include <string>

#include "report.hpp"

namespace sallyport::bench {
namespace {

struct Target {
  std::string name;
  std::string ours, theirs;  // benchmarks; theirs empty: a figure on its own, in unit
  double at_most;
  double unit = 1;
};

std::vector<Target> all_targets() {
  std::vector<Target> targets;
  struct Row {
    const char* size;
    double cold, zipf, miss, tree_hit, tree_miss, copying_hit, copying_miss;  // the last four: times faster
  };
  // 1e3, 1e5, 1e6, 1e7
  for (const Row& row :
       {Row{"1000", 1.5, 1.5, 1.1, 2.5, 4, 6, 9}, Row{"100000", 1.6, 1.5, 1.1, 8, 13, 11, 20},
        Row{"1000000", 1.6, 1.4, 1.2, 9, 30, 11, 36}, Row{"10000000", 1.7, 1.7, 2.2, 13, 32, 14, 34}}) {
    const std::string size = std::string("/") + row.size;
    const auto add = [&](const char* what, const char* kind, const char* theirs, double at_most) {
      targets.push_back({std::string(kind) + "-to-" + what + "-" + row.size,
                         std::string("lookup/") + kind + "/index" + size,
                         std::string("lookup/") + kind + "/" + theirs + size, at_most});
    };
    add("hash+line", "cold", "hash+line", row.cold);
    add("hash+line", "zipf", "hash+line", row.zipf);
    add("hash", "miss", "hash", row.miss);
    add("suffix-tree", "cold", "suffix-tree", 1 / row.tree_hit);
    add("suffix-tree", "miss", "suffix-tree", 1 / row.tree_miss);
    add("copying-tree", "cold", "copying-tree", 1 / row.copying_hit);
    add("copying-tree", "miss", "copying-tree", 1 / row.copying_miss);
    targets.push_back(
        {std::string("octets-over-text-") + row.size, "compile/list" + size + ":octets-over-text", "", 18});
  }
  targets.push_back({"127-labels-to-hash-100000", "lookup/deep/index/100000", "lookup/deep/hash/100000", 1.7});
  targets.push_back({"127-labels-to-3-labels-100000", "lookup/deep/index/100000", "lookup/cold/index/100000", 5});
  targets.push_back({"v4-to-dir-24-8-100000", "address/v4/index/100000", "address/v4/dir-24-8/100000", 3});
  targets.push_back({"v4-to-binary-trie-100000", "address/v4/index/100000", "address/v4/binary-trie/100000", 1.0 / 15});
  targets.push_back(
      {"v4-to-binary-trie-1000000", "address/v4/index/1000000", "address/v4/binary-trie/1000000", 1.0 / 15});
  targets.push_back({"v4-octets-to-dir-24-8-100000", "address/v4/index/100000:octets/prefix", "", 759.0 / 15});
  targets.push_back({"v6-1000000-ns", "address/v6/index/1000000", "", 300});
  targets.push_back(
      {"publication-to-plain-load", "publication/versions/readers-1", "publication/plain-load/readers-1", 2});
  targets.push_back(
      {"publication-2-readers-to-1", "publication/versions/readers-2", "publication/versions/readers-1", 1.15});
  targets.push_back(
      {"cache-zipf-4000-100-rules", "cache/with/zipf-4000/rules-100", "cache/without/zipf-4000/rules-100", 1 / 1.5});
  targets.push_back(
      {"cache-never-twice-100-rules", "cache/with/never-twice/rules-100", "cache/without/never-twice/rules-100", 1.15});
  targets.push_back({"reload-1000000-longest-us", "reload/1000000:longest-us", "", 100});
  targets.push_back({"reload-1000000-wrong", "reload/1000000:wrong", "", 0});
  targets.push_back({"compile-1000000-s", "compile/list/1000000", "", 1, 1e9});
  targets.push_back({"compile-10000000-s", "compile/list/10000000", "", 8, 1e9});
  targets.push_back({"open-1000000-ms", "open/list/1000000", "", 50, 1e6});
  targets.push_back({"decide-100-rules-100000-ns", "decide/cold/rules-100/100000", "", 250});
  targets.push_back({"decide-2-readers-to-1", "decide/cold/readers-2/100000", "decide/cold/readers-1/100000", 1.15});
  return targets;
}

}  // namespace

bool print_targets(const Collector& measured) {
  const auto value_of = [&measured](const std::string& name) {
    return name.find(':') != std::string::npos ? measured.counter(name) : measured.median(name);
  };
  bool all = true;
  for (const Target& target : all_targets()) {
    const auto ours = value_of(target.ours);
    const auto theirs = target.theirs.empty() ? std::optional<double>(1) : value_of(target.theirs);
    if (!ours || !theirs) continue;  // not part of this run
    const double value = *ours / *theirs / target.unit;
    const bool good = value <= target.at_most;
    std::printf("RATIO %s %.3g target <=%.3g %s\n", target.name.c_str(), value, target.at_most, good ? "ok" : "short");
    all = all && good;
  }
  return all;
}

}  // namespace sallyport::bench
