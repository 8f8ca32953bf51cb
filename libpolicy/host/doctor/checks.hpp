// The probes, by what they look at. Each adds its findings.
#pragma once

#include <optional>
#include <string>

#include "host/doctor/finding.hpp"
#include "host/gate/prepared.hpp"

namespace sallyport::doctor {

// What is known of the gateway in question; without -c: nothing of it, and any gateway is meant.
struct Examined {
  std::string file;
  std::optional<Prepared> prepared;
  bool runs = false;  // it answers at its status socket
};

// kernel_checks.cpp
void check_cell(Findings& out);
void check_sandbox(Findings& out);
void check_kernel_tables(const Examined& examined, Findings& out);
void check_capture(const Examined& examined, Findings& out);

// network_checks.cpp
void check_ports(const Examined& examined, Findings& out);
void check_forwarding(Findings& out);
void check_networks(const Examined& examined, Findings& out);

// program_checks.cpp
void check_programs(Findings& out);
void check_configuration(const Examined& examined, const Diagnostics& diagnostics, Findings& out);
void check_attach(Findings& out);
bool has_capability(int capability);  // of this process, effective

}  // namespace sallyport::doctor
