// A thin program: one plugin, one policy file, a command line: the same gateway as `sallyport serve`, without its file.
//
// Status   As `sallyport serve`: 0 after a signal, 125 if it could not start (a command line that is wrong included).
//          --check: 0 good, 3 not; --health: 0 healthy, 1 not.
// Reload   SIGHUP, or a change of the policy or credentials file; /etc/resolv.conf is read again then.
// Threads  [main], with no other thread in the process.
#pragma once

#include <string>
#include <vector>

#include "thin/compose.hpp"

namespace sallyport::thin {

struct Program {
  const char* name;     // "sallyport-dns": of the program, and of its gateway unless --name says another
  const char* summary;  // after "NAME -p policy.yaml [options]"
  const char* plugin;
  std::vector<std::string> listen;  // unless --listen says where
  bool udp = false;                 // beside TCP; then it is a name server, and never its own upstream
  bool transparent = false;         // has --transparent
  bool credentials = false;         // has --credentials
  std::vector<Option> options;
};

int run(const Program& program, int argc, char** argv);

}  // namespace sallyport::thin
