// serve_gateway(): a gateway from its file to its end. The whole of `sallyport serve` but its command line.
//
// Order    Configuration and policy are good; the kernel is closed; sockets are bound; workers serve; only then does
//          anything listen. A failure on the way leaves the kernel closed and nothing listening.
// Threads  [main], with no other thread in the process: it clones.
// Errors   A text on stderr; status 125.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace sallyport {

// A gateway's configuration that a program made of its command line: the lines of a gateway.yaml, each with the option
// that it comes from. What is wrong with a line is said of its option.
struct ComposedGateway {
  struct Line {
    std::string text, option;  // "--listen ::1"; empty: the program's own
  };
  std::string name;  // of program and gateway; relative paths start at the working directory
  std::vector<Line> lines;

  void add(std::string text, std::string option = {}) { lines.push_back({std::move(text), std::move(option)}); }
  std::string text() const;
  std::vector<std::string> options() const;
};

struct ServeOptions {
  std::string file;                          // -c
  std::string state_directory;               // --state-dir; empty: the usual one (host/gate/status_socket.hpp)
  std::string worker;                        // the worker program; empty: the one that belongs to this program
  std::function<ComposedGateway()> compose;  // instead of a file; asked again at each reload
};

int serve_gateway(const ServeOptions& options);

// Everything of serve but serving. 0: good; 3: not, with diagnostics on stderr.
int check_gateway(const ServeOptions& options);

// Asks a running gateway. 0: healthy; 1: not, or there is none.
int gateway_health(const ServeOptions& options, bool print_json);

// Takes the kernel's tables away. 0, or 125.
int release_gateway(const ServeOptions& options);

}  // namespace sallyport
