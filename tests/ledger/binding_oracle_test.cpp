// BindingTable against the plainest table that keeps its promises.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "ledger/binding_table.hpp"

namespace sallyport {
namespace {

using Found = BindingTable::Found;
using RowKey = std::tuple<std::uint64_t, std::string, std::string>;  // client, address, name

struct Row {
  std::uint64_t expires = 0, sequence = 0;
};

struct Oracle {
  std::uint32_t capacity, per_client;
  std::map<RowKey, Row> rows;
  std::uint64_t last = 0;

  void expire(std::uint64_t now) {
    std::erase_if(rows, [&](const auto& row) { return row.second.expires <= now; });
  }
  std::vector<RowKey> earliest_of(std::uint64_t client) const {
    std::vector<RowKey> out;
    std::uint64_t least = ~std::uint64_t{0};
    for (const auto& [key, row] : rows) {
      if (std::get<0>(key) != client || row.expires > least) continue;
      if (row.expires < least) out.clear();
      least = row.expires;
      out.push_back(key);
    }
    return out;
  }
  std::size_t count(std::uint64_t client) const {
    return static_cast<std::size_t>(
        std::count_if(rows.begin(), rows.end(), [&](const auto& row) { return std::get<0>(row.first) == client; }));
  }
};

class LedgerAgainstOracle : public ::testing::TestWithParam<unsigned> {};  // GetParam(): seed

struct Met {
  unsigned full = 0, evicted = 0, overruns = 0;
};

void compare(unsigned seed, Met& met) {
  std::mt19937 random(seed);
  Oracle oracle{1 + static_cast<std::uint32_t>(random() % 24), 0, {}, 0};
  oracle.per_client = 1 + static_cast<std::uint32_t>(random()) % oracle.capacity;
  BindingTable table = *BindingTable::create({oracle.capacity, oracle.per_client, random()});
  const BindingTable reader = *BindingTable::map(table.fd());
  std::uint64_t now = 1'000'000, cursor = 0;
  std::map<RowKey, Row> followed;
  for (int step = 0; step < 3000; ++step) {
    const std::string where = "seed " + std::to_string(seed) + " step " + std::to_string(step);
    now += random() % 20 == 0 ? random() % 100'000 : random() % 700;
    oracle.expire(now);
    const std::uint64_t client = random() % 4;
    const std::string addr = random() % 2 == 0 ? "203.0.113." + std::to_string(random() % 3) : "2001:db8::1";
    const std::string name = "n" + std::to_string(random() % 6) + ".test";
    const auto ttl = static_cast<std::uint32_t>(random() % 20 == 0 ? random() : random() % 90'000);
    const RowKey key{client, addr, name};
    const auto seq = table.record({client, std::nullopt, *Address::parse(addr), *DomainName::parse(name), ttl}, now);

    std::vector<RowKey> victims;
    const bool known = oracle.rows.contains(key);
    if (!known && oracle.count(client) >= oracle.per_client) {
      victims = oracle.earliest_of(client);
      ++met.evicted;
    } else if (!known && oracle.rows.size() >= oracle.capacity) {
      ASSERT_FALSE(seq.ok()) << where;
      ++met.full;
      continue;
    }
    ASSERT_TRUE(seq.ok()) << where;
    ASSERT_EQ(*seq, ++oracle.last) << where;
    Row& row = oracle.rows[key];
    row.expires = std::max(row.expires, now + std::clamp(ttl, 30'000u, 3'600'000u));
    row.sequence = *seq;

    // All bindings, as find() has them.
    std::map<RowKey, Row> seen;
    std::vector<Found> out(64);
    for (std::uint64_t c = 0; c < 4; ++c) {
      for (const char* a : {"203.0.113.0", "203.0.113.1", "203.0.113.2", "2001:db8::1"}) {
        const std::size_t count = reader.find(c, *Address::parse(a), now, out);
        for (std::size_t i = 0; i < count; ++i) {
          const auto fresh =
              seen.emplace(RowKey{c, a, std::string(out[i].name->text())}, Row{out[i].expires_ms, out[i].sequence});
          ASSERT_TRUE(fresh.second) << where << ": twice";
        }
      }
    }
    if (!victims.empty()) {  // one of those that end first, whichever
      std::erase_if(victims, [&](const RowKey& victim) { return seen.contains(victim); });
      ASSERT_EQ(victims.size(), 1u) << where;
      oracle.rows.erase(victims.front());
    }
    ASSERT_EQ(seen.size(), oracle.rows.size()) << where;
    for (const auto& [k, r] : oracle.rows) {
      ASSERT_TRUE(seen.contains(k)) << where;
      ASSERT_EQ(seen[k].expires, r.expires) << where;
      ASSERT_EQ(seen[k].sequence, r.sequence) << where;
    }

    // A follower that comes by now and then knows every binding that lives.
    if (random() % (1 + seed % 90) != 0) continue;
    out.resize(1 + random() % 8);
    while (true) {
      const auto count = reader.next(cursor, now, out);
      if (!count.ok()) {
        ASSERT_EQ(cursor, 0u);
        ++met.overruns;
        followed.clear();
        continue;
      }
      if (*count == 0) break;
      for (std::size_t i = 0; i < *count; ++i) {
        followed[{out[i].client_id, out[i].addr.text(), std::string(out[i].name->text())}] = {out[i].expires_ms,
                                                                                              out[i].sequence};
      }
    }
    ASSERT_EQ(cursor, oracle.last) << where;
    for (const auto& [k, r] : oracle.rows) {
      ASSERT_TRUE(followed.contains(k)) << where << ": not followed";
      ASSERT_EQ(followed[k].expires, r.expires) << where;
      ASSERT_EQ(followed[k].sequence, r.sequence) << where;
    }
  }
  EXPECT_EQ(table.repairs(), 0u) << "writers found damage where there was none";
}

constexpr unsigned kSeeds = 100;

TEST_P(LedgerAgainstOracle, SameBindings) {  // DNS-30, REL-06
  Met met;
  compare(GetParam(), met);
}

TEST(LedgerOracle, EveryCaseIsMet) {
  Met met;
  for (unsigned seed = 0; seed < kSeeds; ++seed) compare(seed, met);
  EXPECT_GT(met.full, 1000u);
  EXPECT_GT(met.evicted, 1000u);
  EXPECT_GT(met.overruns, 10u);
}

INSTANTIATE_TEST_SUITE_P(Seeds, LedgerAgainstOracle, ::testing::Range(0u, kSeeds));

}  // namespace
}  // namespace sallyport
