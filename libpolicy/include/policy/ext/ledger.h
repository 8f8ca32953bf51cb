/* policy.ledger/1: which client was told which address for which name, until when (dns, `answers: real`). In shared
 * memory that the warden owns; bounded, in all and for each client; on the boot clock. Enforcers that keep rules of
 * their own (nftables) follow it, and an answer waits for them. */
#ifndef POLICY_EXT_LEDGER_H
#define POLICY_EXT_LEDGER_H
#include <policy/abi.h>
#ifdef __cplusplus
extern "C" {
#endif

#define POLICY_LEDGER_ID "policy.ledger/1"
typedef struct {
  uint32_t struct_size, ttl_ms; /* ttl_ms: from now; 0 in a record() takes the floor of 30 s; capped at 1 h */
  uint64_t client_id;
  policy_addr client; /* the client's own address; seal 0 for a cell */
  policy_addr addr;
  policy_name name;
} policy_binding;

typedef void (*policy_applied_fn)(void* user, policy_code); /* [any][leaf] OK, or POLICY_TIMEOUT */
typedef void (*policy_recorded_fn)(void* user);             /* [any][leaf] */
typedef struct {
  uint32_t struct_size;
  /* Records n bindings at once; *seq is that of the last. A client's share is full: its own that ends first goes.
   * POLICY_EXHAUSTED: the table is full; answer SERVFAIL and give no address out. [worker] */
  policy_code (*record)(policy_thread*, const policy_binding*, size_t stride, size_t n, uint64_t* seq);
  /* Live bindings of (client, addr). In: room in *n; out: how many were written. POLICY_NOT_FOUND: none. [worker] */
  policy_code (*find)(policy_thread*, uint64_t client_id, const policy_addr*, policy_binding*, size_t stride,
                      size_t* n);
  /* Bindings recorded after *cursor (0: all that live), oldest first; moves the cursor. *n 0: nothing more now.
   * POLICY_EXHAUSTED: some were overwritten before they were read; read again from 0. [worker] */
  policy_code (*next)(policy_thread*, uint64_t* cursor, policy_binding*, size_t stride, size_t* n);
  /* An enforcer tells that everything up to seq is in force. [worker] */
  policy_code (*applied)(policy_thread*, uint64_t seq);
  /* Calls back once every enforcer has applied seq, or with POLICY_TIMEOUT at deadline_ns (CLOCK_MONOTONIC). Returns
   * POLICY_OK: it will call. POLICY_NOT_FOUND: nothing to wait for (no enforcer keeps rules, or they are in already):
   * go on at once, no call comes. [worker] */
  policy_code (*when_applied)(policy_thread*, uint64_t seq, uint64_t deadline_ns, policy_applied_fn, void* user);
  /* Wakes an enforcer after new records. One subscriber a plugin; nullptr ends it. [main] */
  policy_code (*on_recorded)(policy_host*, policy_recorded_fn, void* user);
  /* As record(), for a question that came age_ms ago. POLICY_NOT_FOUND: the client's address was forgotten since, so
   * whoever asked is no longer there; give no answer. [worker] */
  policy_code (*record_asked)(policy_thread*, const policy_binding*, size_t stride, size_t n, uint32_t age_ms,
                              uint64_t* seq);
  /* Whoever had this address is gone (its port of a bridge went): its bindings end, and none comes for what it asked
   * before. For an enforcer, before anybody else can have the address. [worker] */
  policy_code (*forget)(policy_thread*, const policy_addr* client);
  /* A flow of this client to this address is open: the bindings that let it in stay for so long (two minutes at most),
   * however full the table is; renew while it lives. Once they have ended they admit nothing new: find() passes them
   * over, next() gives them with ttl_ms 0. POLICY_NOT_FOUND: they have gone before. For an enforcer. [worker] */
  policy_code (*pin)(policy_thread*, uint64_t client_id, const policy_addr* client, const policy_addr* addr,
                     uint32_t for_ms);
} policy_ledger_v1;

#ifdef __cplusplus
}
#endif
#endif
