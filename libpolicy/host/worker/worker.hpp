// The worker process: one message loop on [main], plugins with threads of their own.
//
// Messages from the warden ("type"):
//   setup     {plugins: [{name, manifest, config, needed: [soname]}], clients: [{id, cell}], uid?, log?}
//             with descriptors: snapshot, audit ring, audit wake-up, synthetic table, then one a plugin
//   listener  {name, client} with the socket
//   stop      the run is over: plugins are stopped and destroyed, last one first, and the process ends
//   ping      answered by pong at once: a sign of life
//   start     everything is there: load, create, start
// Messages to it: serving; pong; failed {text}; log {plugin, level, text, fields}; crashed {text}.
#pragma once

namespace sallyport {

// Returns the exit status; ends when the channel does. Called once, from main().
int run_worker(int channel_fd);

}  // namespace sallyport
