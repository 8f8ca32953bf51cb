// What the warden makes of the records that a plugin gave the fake host: lines that fit docs/audit.schema.json, from
// which nothing was dropped. SALLYPORT_AUDIT_SCHEMA names the file.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <string>

#include "audit/audit_writer.hpp"
#include "audit/schema_check.hpp"
#include "support/fake_host.hpp"

namespace sallyport::testing_kit {

// The line of one record.
inline nlohmann::json line_of(const AuditRecord& given) {
  sallyport::AuditRecord record;
  record.realtime_ns = 1'764'026'272'104'113'000;
  record.kind = given.closed ? AuditKind::kClose : AuditKind::kDecision;
  record.verdict = record.effective = given.verdict == POLICY_DENY ? Effect::kDeny : Effect::kAllow;
  record.reason = static_cast<Reason>(given.reason);
  record.layer = static_cast<Layer>(given.layer);
  record.qtype = given.qtype;
  record.proto = given.proto;
  record.port = given.port;
  record.client_id = given.client_id;
  record.set_plugin("tested");
  if (!given.name.empty()) {
    record.set_name(*DomainName::parse(given.name));
  } else if (!given.raw.empty()) {
    record.set_raw(given.raw);
  }
  if (!given.address.empty()) record.set_addr(*Address::parse(given.address));
  record.set_detail(given.detail);
  record.sanitize();
  const int sink = memfd_create("sink", MFD_CLOEXEC);
  AuditWriter writer({.gateway = "fake", .fold_window_ns = 0}, sink);
  writer.add(record);
  std::string text(static_cast<std::size_t>(lseek(sink, 0, SEEK_END)), '\0');
  EXPECT_EQ(pread(sink, text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));
  close(sink);
  return nlohmann::json::parse(text);
}

inline void expect_whole_lines(const FakeHost& host) {
  static const nlohmann::json schema = audit_schema();
  std::string last;
  for (const AuditRecord& record : host.audit()) {
    const std::string looks = record.name + record.raw + record.detail;
    if (std::exchange(last, looks) == looks) continue;  // a thousand repeats say nothing more
    const nlohmann::json line = line_of(record);
    EXPECT_FALSE(line.contains("detail_dropped")) << record.detail;
    EXPECT_EQ(violation(schema, line), "") << line.dump();
    EXPECT_FALSE(line["proto"].is_null()) << line.dump();
    if (static_cast<Layer>(record.layer) == Layer::kDns) EXPECT_TRUE(line["dns"].contains("rcode")) << line.dump();
  }
}

}  // namespace sallyport::testing_kit
