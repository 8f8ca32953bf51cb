// attach(): a running container without a network becomes a cell, until it ends or this program is told to. The whole
// of `sallyport attach` but its command line.
//
// Threads  [main], with no other thread in the process: it forks.
// Signals  SIGINT, SIGTERM, SIGHUP, SIGQUIT detach.
// Errors   A text on stderr, status 125, and the namespace as it was.
#pragma once

#include <sys/types.h>

#include <string>

#include "host/warden/run.hpp"

namespace sallyport {

struct AttachOptions {
  pid_t pid = 0;          // --pid; 0: none
  std::string container;  // --container; exactly one of the two
  RunOptions service;     // policy_file, allow, name, resolver, audit_file, plugin_directory, report, quiet
  bool named = false;     // --name was given; else a container's own name stands
};

// The exit status: 0 after a detachment, 125 own failure.
int attach(const AttachOptions& options);

}  // namespace sallyport
