// The worker process: one message loop on [main], plugins with threads of their own.
//
// Messages from the warden ("type"):
//   setup     {plugins: [{name, manifest, config, needed: [soname]}], clients: [{id, cell}], uid?, log?}
//             with descriptors: snapshot, audit ring, audit wake-up, synthetic table, then one a plugin. A gate adds
//             fd_names: what the first descriptors are: "snapshot", "audit", "audit_wake"; and any of "synthetic",
//               "ledger", "ledger_recorded", "ledger_applied", "journal", "metrics"
//             gate: {topology, sources: [prefix], enforcers, first_enforcer?, flow_layer, credentials: [{user, hash}],
//               client_key, applied_fds: N}; N descriptors, the ledger_applied of every worker, come before the
//               plugins'
//             privileges: {capabilities: [word], sockets: [word]}: what the plugins keep (jail.hpp)
//             jail: "namespaces" (default) | "plain"
//   listener  {name, client} with the socket; before start, or later
//   unlisten  {name, client}
//   start     everything is there: load, create, start. -> serving | failed {text}
//   publish   {generation, sources?, credentials?} with a snapshot. -> published {generation} |
//             failed_publish {generation, text}, and the old one stays. Sources and credentials replace the gate's.
//   drain     {deadline_ms}: plugins accept nothing new; ends when no flow is left, or at the deadline.
//             -> draining {flows_left}, now and when it changes
//   stop      the run is over: plugins are stopped and destroyed, last one first, and the process ends
//   ping      -> pong at once: a sign of life; at a gate {health: {plugin: JSON}}
// Messages to it besides: log {plugin, level, text, fields}; crashed {text}.
#pragma once

namespace sallyport {

// Returns the exit status; ends when the channel does. Called once, from main().
int run_worker(int channel_fd);

}  // namespace sallyport
