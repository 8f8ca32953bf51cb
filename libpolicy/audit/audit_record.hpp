// AuditRecord: one decision, or the end of a flow, as a worker hands it to the warden.
//
// Form     Plain data of fixed size for shared memory; only the octets that are used are copied. The reader trusts
//          none of it: a worker parses hostile traffic and may be taken over.
// Threads  A plain value.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "engine/decide.hpp"
#include "names/address.hpp"

namespace sallyport {

enum class AuditKind : std::uint8_t { kDecision = 0, kClose = 1 };
enum class AuditMode : std::uint8_t { kEnforce = 0, kObserve = 1, kLearn = 2 };

enum AuditFlag : std::uint8_t {
  kAuditRaw = 1u << 0,            // name holds refused input as it came, not a canonical name
  kAuditTruncated = 1u << 1,      // and it was longer
  kAuditDetailDropped = 1u << 2,  // detail did not fit
  kAuditUserTruncated = 1u << 3,  // user was longer
  kAuditUndecided = 1u << 4,      // refused before the policy was asked: generation is the one in force
};

struct AuditRecord {
  static constexpr std::size_t kMaxName = 255;  // 253 of a name, 255 of refused input
  static constexpr std::size_t kMaxPlugin = 31;
  static constexpr std::size_t kMaxUser = 63;
  static constexpr std::size_t kMaxDetail = 1024;

  std::uint64_t realtime_ns = 0;  // CLOCK_REALTIME
  std::uint64_t generation = 0;
  std::uint64_t client_id = 0;
  std::uint32_t ref = 0;  // audit_ref(); kRefBits of it
  std::uint32_t rule = kNoRuleIndex;
  Effect verdict = Effect::kDeny;
  Effect effective = Effect::kDeny;  // what was done: differs from verdict in observe and learn mode
  Reason reason = Reason::kNoRule;
  Layer layer = Layer::kNone;
  std::uint16_t qtype = 0;
  std::uint16_t proto = 0;
  std::uint16_t port = 0;
  std::uint16_t client_port = 0;
  AuditKind kind = AuditKind::kDecision;
  AuditMode mode = AuditMode::kEnforce;
  std::uint8_t flags = 0;
  std::uint8_t addr_family = 0, client_addr_family = 0;  // 0 none, 4, 6
  std::uint8_t plugin_size = 0, name_size = 0, user_size = 0;
  std::uint16_t detail_size = 0;
  std::array<std::uint8_t, 16> addr{}, client_addr{};  // as in Address::octets()
  // As many octets as their sizes say; what lies behind them is nothing, and costs no writing.
  std::array<char, kMaxPlugin + 1> plugin;
  std::array<char, kMaxUser + 1> user;  // whom the client's credentials were verified for
  std::array<char, kMaxName + 1> name;
  std::array<char, kMaxDetail> detail;

  void set_name(const DomainName& canonical) noexcept;
  void set_raw(std::string_view refused) noexcept;  // cut at kMaxName
  void set_plugin(std::string_view text) noexcept;  // cut at kMaxPlugin
  void set_detail(std::string_view json) noexcept;  // over kMaxDetail: dropped whole, and flagged
  void set_user(std::string_view text) noexcept;    // cut at kMaxUser, and flagged
  void set_addr(const Address& address) noexcept;
  void set_client_addr(const Address& address, std::uint16_t from_port) noexcept;

  std::string_view name_text() const noexcept { return {name.data(), name_size}; }
  std::string_view plugin_text() const noexcept { return {plugin.data(), plugin_size}; }
  std::string_view user_text() const noexcept { return {user.data(), user_size}; }
  std::string_view detail_text() const noexcept { return {detail.data(), detail_size}; }

  Address address() const noexcept;         // only if addr_family is not 0
  Address client_address() const noexcept;  // only if client_addr_family is not 0

  // Brings sizes, enumerators and families into their ranges. What a reader does first with a record from shared
  // memory.
  void sanitize() noexcept;

  // The octets that are used, one part after the other: in a slot of the ring, or as the key of a decision.
  static constexpr std::size_t kMaxPacked = 1592;
  std::size_t pack(char* out) const noexcept;  // out has kMaxPacked; how many were written
  // Of memory that others may write to meanwhile: each octet is looked at once. Sizes are within their ranges
  // afterwards, all else is not.
  static void unpack(const char* packed, AuditRecord& out) noexcept;
};

// The ref of a decision, by which a person who was refused and the line of the audit find each other.
//
// Form     A keyed hash of client, destination (the name or the refused input; without one the address), port and
//          reason: a repeat has the same ref, and so do a name's A and AAAA queries and every plugin that says so. Not
//          unique: two decisions that share one are told apart by the id of their lines.
// Source   Crockford's base 32, lower case: no i, l, o, u.
inline constexpr unsigned kRefBits = 25;
inline constexpr std::size_t kRefSize = 5;
std::uint32_t audit_ref(const AuditRecord& record, std::uint64_t seed) noexcept;
std::array<char, kRefSize> ref_characters(std::uint32_t ref) noexcept;
std::string ref_text(std::uint32_t ref);

}  // namespace sallyport
