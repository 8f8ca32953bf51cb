// A probe in a process of its own: what it enters, restricts or breaks ends with it.
//
// Errors   The probe's own words, and what it wrote to standard error; "it was killed by signal 31", "it does not end"
// (5 s). Threads  It forks: the caller has one thread.
#pragma once

#include <functional>
#include <optional>
#include <string>

namespace sallyport::doctor {

using Fault = std::optional<std::string>;  // nothing: the probe has succeeded

Fault in_child(const std::function<Fault()>& probe);

// The same for what is to be read: what the child gave, or nothing. Bounded.
std::optional<std::string> read_in_child(const std::function<std::optional<std::string>()>& read);

// "what: words of errno".
std::string errno_text(const char* what);

// In the child: into an empty network namespace, through a user namespace where there is no privilege.
Fault enter_empty_network();

}  // namespace sallyport::doctor
