/* policy/abi.h: the plugin ABI. C11 and C++17, LP64 little-endian Linux. Draft until 1.0 freezes it (docs/plugins.md).
 *
 * RULES 1 Append only: never reorder, retype, reuse. What minor n adds sits behind #if POLICY_ABI_LEVEL >= n.
 *       2 A struct's allocator sets struct_size; readers touch only what POLICY_HAS() confirms; absent reads as 0.
 *       3 Nothing allocated on one side is freed on the other. Views live for the call unless stated.
 *       4 A plugin throws nothing across; no fork, atexit, setuid, setlocale, signal handler, detached thread.
 *       5 0 = deny = unset = strictest, in every field: a zeroed or half-filled struct can never permit anything.
 * THREADS [main] the host's control thread, one call at a time, may block until its deadline; [worker] the OS thread
 * that owns the policy_thread, never blocks; [any] concurrent; [leaf] must not call the host, only wake its own loop */
#ifndef POLICY_ABI_H
#define POLICY_ABI_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define POLICY_ABI_MAGIC UINT64_C(0x1a49424159414c53)
#define POLICY_ABI_MAJOR 1
#ifndef POLICY_ABI_LEVEL
#define POLICY_ABI_LEVEL 1 /* the minor a plugin is written for; -D a lower one to run on older hosts */
#endif
#define POLICY_HAS(p, f) ((p)->struct_size >= offsetof(__typeof__(*(p)), f) + sizeof((p)->f))
#define POLICY_EXPORT __attribute__((visibility("default")))

typedef uint32_t policy_code; /* unknown values read as POLICY_INTERNAL */
enum {
  POLICY_OK,
  POLICY_INVALID,
  POLICY_DENIED,
  POLICY_NOT_FOUND,
  POLICY_UNAVAILABLE,
  POLICY_TIMEOUT,
  POLICY_EXHAUSTED,
  POLICY_UNSUPPORTED,
  POLICY_WRONG_THREAD,
  POLICY_WRONG_STATE,
  POLICY_INTERNAL
};

typedef struct {
  const char* ptr;
  size_t len;
} policy_str; /* UTF-8, no NUL promised */

typedef struct {
  uint32_t struct_size;
  policy_code code;
  uint32_t line, column;
  char pointer[128], text[512]; /* JSON Pointer into the plugin's config; one line, lower case, no full stop */
} policy_error;

typedef struct policy_host policy_host;     /* one per instance, valid until destroy() returned */
typedef struct policy_thread policy_thread; /* one per OS thread: snapshot pin, audit ring */
typedef struct policy_flow policy_flow;     /* host-owned ticket of one long-lived flow */

/* Canonical objects come only from policy.edge/1; decide() takes nothing else. seal catches hand-made ones. */
typedef struct {
  uint64_t seal;
  uint64_t suffix_hash[16]; /* of the last 1 to 16 labels; for the host */
  uint8_t len, labels;
  uint8_t suffix_len[6]; /* of the last 1 to 6 labels; for the host */
  char text[256];        /* ASCII lower case, no trailing dot, no NUL promised */
} policy_name;

enum { POLICY_IPV4 = 4, POLICY_IPV6 = 6 };
typedef struct {
  uint64_t seal;
  uint8_t ip[16]; /* network order; IPv4 in the first four octets */
  uint32_t scope;
  uint16_t port, family; /* host order; POLICY_IPV4 or POLICY_IPV6 */
} policy_addr;

/* Layers: which plugin asks. */
enum { POLICY_LAYER_NONE, POLICY_LAYER_DNS, POLICY_LAYER_TCP, POLICY_LAYER_TLS, POLICY_LAYER_HTTP, POLICY_LAYER_DIAL };

/* Attribute bits of policy_query.known and .deferred; a bit in neither is invisible: allow rules that need it do not
 * match, deny rules do. The host refuses `deferred` where no later enforcing layer runs: at POLICY_LAYER_DIAL all but
 * method and path, which whoever dials before the client has spoken must read, and ask again with. */
enum {
  POLICY_KNOW_NAME = 1 << 0,
  POLICY_KNOW_ADDRESS = 1 << 1, /* dest: the final destination */
  POLICY_KNOW_PORT = 1 << 2,    /* port and proto */
  POLICY_KNOW_METHOD = 1 << 3,
  POLICY_KNOW_PATH = 1 << 4
};

/* A client is an id that the host issues: with a cell's listener, or by policy.clients/1 for whoever sends from an
 * address at a gate. `client` is that address then, and must be set; inside a cell a peer address is no identity, and
 * it is NULL. credential: the user that policy.clients/1 verified, or empty. */
typedef struct {
  uint32_t struct_size;
  uint16_t layer, qtype;
  uint16_t proto, port; /* IP protocol number (6, 17); destination port, host order */
  uint32_t known, deferred;
  uint64_t client_id;
  const policy_addr *client, *dest;
  const policy_name* name;
  policy_str credential, method, path;
} policy_query;

enum {
  POLICY_DENY = 0,
  POLICY_ALLOW = 1,
  POLICY_CONTINUE = 2
}; /* continue: a later layer will know; not yet an allow */
enum { POLICY_FLAG_TUNNEL_ANY = 1 << 0 }; /* the rule says `tunnel: any` */
#if POLICY_ABI_LEVEL >= 1
/* A trial (mode: observe): reason and rule are those of a denial, which is audited, and the verdict lets it pass. Pass
 * the verdict on as it is. */
enum { POLICY_FLAG_OBSERVED = 1 << 1 };
/* In policy_verdict.trials: the rule would allow. */
#define POLICY_TRIAL_ALLOWS (UINT32_C(1) << 31)
#endif
#define POLICY_NO_RULE UINT32_C(0xffffffff)

typedef struct {
  uint32_t struct_size;
  uint16_t verdict, reason; /* at the last layer anything but POLICY_ALLOW is a refusal */
  uint32_t rule, flags;     /* rule: index into the policy, POLICY_NO_RULE for the default */
  uint64_t generation;
#if POLICY_ABI_LEVEL >= 1
  uint32_t trials[2]; /* rules on trial that the decision met, 1 + index each, for the audit; 0: none */
#endif
} policy_verdict;

/* One closed list, with the words users see (lower case, underscores). */
enum {
  POLICY_REASON_NO_RULE,
  POLICY_REASON_OK,
  POLICY_REASON_NAME_NOT_ALLOWED,
  POLICY_REASON_PORT_DENIED,
  POLICY_REASON_IP_LITERAL_DENIED,
  POLICY_REASON_ADDR_FORBIDDEN,
  POLICY_REASON_GUARD_METADATA,
  POLICY_REASON_ANSWER_FORBIDDEN_ADDR,
  POLICY_REASON_QTYPE_DENIED,
  POLICY_REASON_NAME_MALFORMED,
  POLICY_REASON_TUNNEL_SUSPECT,
  POLICY_REASON_SPOOF_SUSPECT,
  POLICY_REASON_AUTHORITY_MALFORMED,
  POLICY_REASON_PATTERN_TOO_BROAD,
  POLICY_REASON_POLICY_INVALID,
  POLICY_REASON_HOST_MISMATCH,
  POLICY_REASON_FRAMING_AMBIGUOUS,
  POLICY_REASON_NOT_TLS,
  POLICY_REASON_SNI_MISMATCH,
  POLICY_REASON_SNI_MISSING,
  POLICY_REASON_SNI_MALFORMED,
  POLICY_REASON_SNI_NOT_ALLOWED,
  POLICY_REASON_LOOP_DETECTED,
  POLICY_REASON_AUTH_REQUIRED,
  POLICY_REASON_AUTH_MISMATCH,
  POLICY_REASON_DST_NOT_BOUND,
  POLICY_REASON_HELLO_TOO_LARGE,
  POLICY_REASON_TLS_MALFORMED,
  POLICY_REASON_ECH_DENIED,
  POLICY_REASON_ECH_PRESENT,
  POLICY_REASON_HELLO_TIMEOUT,
  POLICY_REASON_QUIC_DENIED,
  POLICY_REASON_RULESET_TAMPERED,
  POLICY_REASON_UNPARSED,
  POLICY_REASON_AUDIT_DROPPED,
  POLICY_REASON_ADDRESS_DENIED,
  POLICY_REASON_UPSTREAM_FAILED,
  POLICY_REASON_CLIENT_UNKNOWN,
  POLICY_REASON_REVOKED,
  POLICY_REASON_LIMIT_EXCEEDED,
  POLICY_REASON_SOURCE_SPOOFED,
  POLICY_REASON_NOT_GATEWAY,
  POLICY_REASON_UDP_DENIED,
  POLICY_REASON_NO_DECISION,
  POLICY_REASON_UPLOAD_VOLUME,
  POLICY_REASON_TIMED_OUT
};

/* What the host offers an instance: extensions by string id ("policy.edge/1"; policy/ext/NAME.h). */
typedef struct {
  uint32_t struct_size, abi_minor;
  const void* (*get)(policy_host*, const char* id); /* [any] NULL if absent; valid as long as policy_host */
} policy_host_api;

/* create -> start -> reload* -> drain -> stop -> destroy; a call in the wrong state returns POLICY_WRONG_STATE. */
typedef struct {
  uint32_t struct_size, pad; /* [main] except health */
  policy_code (*create)(policy_host*, const policy_host_api*, policy_str config, void** self,
                        policy_error*); /* no I/O */
  policy_code (*start)(void*, policy_error*);
  policy_code (*reload)(void*, policy_str config, uint32_t dry_run, policy_error*);       /* all or nothing */
  policy_code (*drain)(void*, uint64_t deadline_ns, uint64_t* flows_left, policy_error*); /* accept nothing new */
  policy_code (*stop)(void*, policy_error*); /* threads joined, flows closed, callbacks cancelled */
  void (*destroy)(void*);
  policy_code (*health)(void*, char* json, size_t cap, size_t* len); /* [any][leaf] */
  const void* (*get)(void*, const char* id);                         /* the plugin's own extensions */
} policy_instance_api;

typedef struct {
  uint64_t magic;
  uint16_t major, minor;
  uint32_t struct_size; /* these 16 bytes never change, in any major */
  policy_str manifest;  /* the bytes of ELF section .policy.manifest: JSON, docs/plugins.md */
  const policy_instance_api* instance;
} policy_plugin;

extern POLICY_EXPORT const policy_plugin policy_plugin_entry; /* data, constant-initialised */

#ifdef __cplusplus
}
#endif
#endif
