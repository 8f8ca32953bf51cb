// One row a command: `sallyport NAME ...`. Help, near misses and dispatch all come from the one table in main.cpp.
#pragma once

#include <string>
#include <vector>

namespace sallyport {

struct Command {
  const char* name;
  const char* usage;    // after "sallyport NAME "
  const char* summary;  // one line
  int (*run)(const std::vector<std::string>& arguments);
};

int run_command(const std::vector<std::string>& arguments);
std::string run_help();

int attach_command(const std::vector<std::string>& arguments);
std::string attach_help();

int serve_command(const std::vector<std::string>& arguments);
int check_command(const std::vector<std::string>& arguments);
int health_command(const std::vector<std::string>& arguments);
int release_command(const std::vector<std::string>& arguments);

int init_command(const std::vector<std::string>& arguments);
int doctor_command(const std::vector<std::string>& arguments);

}  // namespace sallyport
