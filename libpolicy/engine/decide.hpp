// Snapshot, Reader and decide(): the one decision function (design rule 6).
//
// A policy compiles to an immutable, position-independent snapshot: bytes in a file or sealed memfd that every process
// maps. decide() takes no lock and allocates nothing. Attributes are known, deferred or invisible; docs/matching.md has
// the truth table, tests/engine/ a naive oracle.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/model.hpp"
#include "names/address.hpp"
#include "names/domain_name.hpp"
#include "result/result.hpp"

namespace sallyport {

// Which layer asks. Values are those of policy/abi.h.
enum class Layer : std::uint16_t { kNone = 0, kDns = 1, kTcp = 2, kTls = 3, kHttp = 4, kDial = 5 };

// Attributes of a flow. A bit in neither `known` nor `deferred` is invisible, the strictest reading.
enum Attribute : std::uint32_t {
  kKnowName = 1u << 0,
  kKnowAddress = 1u << 1,  // the final destination address
  kKnowPort = 1u << 2,     // destination port and protocol
  kKnowMethod = 1u << 3,
  kKnowPath = 1u << 4,
};

struct Query {
  Layer layer = Layer::kNone;
  std::uint16_t qtype = 0;  // DNS layer only
  std::uint16_t proto = kProtoTcp;
  std::uint16_t port = 0;
  std::uint32_t known = 0;
  std::uint32_t deferred = 0;
  std::uint64_t groups = 0;          // from Snapshot::groups(): one bit a client of the policy
  const DomainName* name = nullptr;  // read only if kKnowName
  const Address* address = nullptr;  // read only if kKnowAddress
  std::string_view method = {};      // read only if kKnowMethod
  std::string_view path = {};        // read only if kKnowPath; in the form of names/request_path.hpp
  std::int64_t now = 0;  // seconds since 1970-01-01 UTC, for trials that end; 0: not known, so all have ended
};

enum class Effect : std::uint16_t {
  kDeny = 0,
  kAllow = 1,
  kContinue = 2
};  // continue: a later layer will know; not an allow

// The closed list of reasons; the text form is the word users see. Values never change (policy/abi.h repeats them).
enum class Reason : std::uint16_t {
  kNoRule = 0,  // the default decided
  kOk = 1,
  kNameNotAllowed = 2,   // a deny rule matched by name
  kPortDenied = 3,       // some allow rule matches all but the port
  kIpLiteralDenied = 4,  // a destination without a name that no rule allows by address
  kAddrForbidden = 5,    // the guard
  kGuardMetadata = 6,    // the guard, cloud metadata
  kAnswerForbiddenAddr = 7,
  kQtypeDenied = 8,
  kNameMalformed = 9,
  kTunnelSuspect = 10,
  kSpoofSuspect = 11,
  kAuthorityMalformed = 12,
  kPatternTooBroad = 13,
  kPolicyInvalid = 14,
  kHostMismatch = 15,
  kFramingAmbiguous = 16,
  kNotTls = 17,
  kSniMismatch = 18,
  kSniMissing = 19,
  kSniMalformed = 20,
  kSniNotAllowed = 21,
  kLoopDetected = 22,
  kAuthRequired = 23,
  kAuthMismatch = 24,
  kDstNotBound = 25,  // an address that our resolver did not give this client, or no longer
  kHelloTooLarge = 26,
  kTlsMalformed = 27,
  kEchDenied = 28,
  kEchPresent = 29,
  kHelloTimeout = 30,
  kQuicDenied = 31,
  kRulesetTampered = 32,
  kUnparsed = 33,
  kAuditDropped = 34,
  kAddressDenied = 35,   // a deny rule matched by address
  kUpstreamFailed = 36,  // allowed, and the outside did not answer
  kClientUnknown = 37,   // sends from outside the networks that this gateway holds
  kRevoked = 38,         // a later policy denies a flow that was open
  kLimitExceeded = 39,   // too many, too large or too long, by the gateway's own bounds
  kSourceSpoofed = 40,   // a source address that does not belong to where it came from
  kNotGateway = 41,      // the kernel: traffic that does not go through the gateway
  kUdpDenied = 42,       // UDP that no rule allows; a UDP port of its own in counters
  kNoDecision = 43,      // the monitor: traffic that no enforcer decided
  kUploadVolume = 44,    // the monitor: more sent to one destination than is usual
  kTimedOut = 45,        // the client was too slow
  kLast = kTimedOut,
};

std::string_view to_string(Reason reason) noexcept;  // "no_rule", ...

enum VerdictFlag : std::uint32_t {
  kFlagTunnelAny = 1u << 0,  // the deciding (or may-match) allow rule says `tunnel: any`
  // A trial (mode: observe of the client or the policy): rule and reason are those of a denial, and effect lets it
  // pass.
  kFlagObserved = 1u << 1,
};

// Rules on trial (mode: observe) that a decision met: index + 1, and whether it would allow; 0 is none.
inline constexpr std::uint32_t kTrialAllows = 1u << 31;
inline constexpr std::size_t kMostTrials = 2;  // of one decision; further ones are not told

inline constexpr std::uint32_t kNoRuleIndex = 0xffffffffu;  // the default decided

struct Verdict {
  Effect effect = Effect::kDeny;
  Reason reason = Reason::kNoRule;
  std::uint32_t rule = kNoRuleIndex;  // index into the policy's rules
  std::uint32_t flags = 0;
  std::uint64_t generation = 0;
  std::array<std::uint32_t, kMostTrials> trials = {};  // the first in the order of the policy
  bool allowed() const noexcept { return effect == Effect::kAllow; }
};

// What one rule said, for explain. The words are stable: UX.md section 2.
enum class Outcome : std::uint8_t { kNo = 0, kMay, kMatch };
enum class Mismatch : std::uint8_t {
  kNothing = 0,
  kClient,
  kName,
  kPort,
  kAddress,
  kResolvesTo,
  kGuard,
  kInvisible,
  kMethod,
  kPath
};

struct RuleTrace {
  std::uint32_t rule = 0;
  Outcome outcome = Outcome::kNo;
  Mismatch mismatch = Mismatch::kNothing;  // the first attribute that kept it from matching
};

// A verified, mapped snapshot. Threads: immutable; keep it alive while a Reader uses it.
class Snapshot {
 public:
  // Checks magic, version, checksum and every offset before anything is used. Borrowed bytes must outlive it.
  static Result<std::shared_ptr<const Snapshot>> open(std::span<const std::byte> bytes);
  // A sealed memfd (F_SEAL_WRITE, F_SEAL_SHRINK) is mapped read-only; any other file is read into own memory, since it
  // could still change. The descriptor may be closed afterwards.
  static Result<std::shared_ptr<const Snapshot>> map(int fd);
  ~Snapshot();

  std::uint64_t generation() const noexcept;
  std::string_view source() const noexcept;
  std::string_view file_of(const SourcePosition& where) const noexcept;  // source() or a file that it includes
  std::size_t rules() const noexcept;
  std::string_view rule_name(std::uint32_t rule) const noexcept;  // "" for kNoRuleIndex
  SourcePosition rule_where(std::uint32_t rule) const noexcept;   // of the default for kNoRuleIndex
  Action rule_action(std::uint32_t rule) const noexcept;
  Action default_action() const noexcept;
  // What each client may do by the rule; nothing is bound for kNoRuleIndex.
  LimitsModel rule_limits(std::uint32_t rule) const noexcept;
  bool has_limits() const noexcept;                       // some rule has
  bool rule_on_trial(std::uint32_t rule) const noexcept;  // mode: observe
  bool asks_for_requests() const noexcept;                // some rule has methods or paths
  // Some client, or the whole policy, is on trial: Query::now is read. When the last of these trials ends; 0: none.
  std::int64_t trials_until() const noexcept;
  // The first end of a trial after now; 0: there is none.
  std::int64_t next_trial_end(std::int64_t now) const noexcept;
  // When the trial of these clients ends; 0: they are on none. The trial of the whole policy is everyone's.
  std::int64_t trial_until(std::uint64_t groups) const noexcept;

  // The one decision function, under every Reader. Takes no lock and allocates nothing; any thread.
  Verdict decide(const Query& query) const noexcept;

  // Whether verdicts for these clients depend on Query::now.
  bool may_be_on_trial(std::uint64_t groups) const noexcept;

  // The policy's clients that a cell's name belongs to, or who sends from an address with this user's credentials;
  // bit i is the i-th client. A client with both addresses and credentials needs both; user: empty if none was
  // verified.
  std::uint64_t groups_of_cell(std::string_view cell) const noexcept;
  std::uint64_t groups_of_address(const Address& address, std::string_view user = {}) const noexcept;
  // Clients that a user is by the credentials alone, wherever he sends from (a cell).
  std::uint64_t groups_of_user(std::string_view user) const noexcept;
  // False: there are clients with this user's credentials, and all of them send from elsewhere.
  bool user_may_send_from(std::string_view user, const Address& address) const noexcept;
  std::string_view group_name(unsigned bit) const noexcept;

  // For a name that allow rules give fixed host addresses by resolves_to (/32 and /128 only). Returns how many there
  // are and writes at most out.size(); nothing else is written. Permits nothing: decide() is asked all the same.
  std::size_t host_addresses(const DomainName& name, std::uint64_t groups, std::span<Address> out) const noexcept;

  // How many of the name's last labels are the policy's own words, where `rule` has let it pass: all of them for a name
  // that the policy lists; those of the wildcard's apex (the shallowest of the rule that covers the name); 0: the rule
  // takes any name. What is left of them is whoever asks's own, and may carry his data to whoever serves the apex.
  unsigned listed_labels(const DomainName& name, std::uint32_t rule) const noexcept;

  // The ports of query.proto at which decide() allows this query, as disjoint ranges in order, found by asking it
  // between every two ports at which some rule begins or ends. query.port is not read. Returns how many there are and
  // writes at most out.size().
  struct Ports {
    std::uint16_t first = 0, last = 0;  // both inside
  };
  std::size_t allowed_ports(Query query, std::span<Ports> out) const noexcept;

  // What decide() allows of flows without a name to the destinations that allow rules list in `addresses`, for clients
  // in a network, by address (no credentials): disjoint, none touches the next with the same rest. Found by asking it
  // once in every block that no prefix of the policy or of the guard cuts. Left out, though decide() may allow it:
  // addresses that carry an IPv4 address (names/guard.hpp); interface identifiers that do (ISATAP) are inside ranges
  // all the same, and for the caller to leave out. Nothing: more than `most`.
  struct Literal {
    Address client_first, client_last, first, last;  // all inside
    Ports ports;
  };
  std::optional<std::vector<Literal>> literals(const Prefix& clients, std::uint16_t proto, std::size_t most) const;

 private:
  friend class Reader;
  Snapshot() = default;
  struct View;
  std::unique_ptr<View> view_;
};

// One thread's access to a snapshot.
class Reader {
 public:
  explicit Reader(std::shared_ptr<const Snapshot> snapshot) noexcept;
  ~Reader();

  // While the address is deferred an allow says nothing of the guard: ask again with the address that is dialled.
  Verdict decide(const Query& query) noexcept;

  // The same code path with a trace of every rule up to the deciding one; allocates. trace is replaced.
  Verdict explain(const Query& query, std::vector<RuleTrace>& trace);

  const Snapshot& snapshot() const noexcept { return *snapshot_; }

 private:
  std::shared_ptr<const Snapshot> snapshot_;
};

// Compiles to snapshot bytes; the same model and generation give the same bytes. generation is stamped into every
// verdict. Error::offset is the index of the rule or client at fault.
Result<std::vector<std::byte>> compile(const PolicyModel& model, std::uint64_t generation);

}  // namespace sallyport
