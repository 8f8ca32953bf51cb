// sallyport-monitor: composition only.
#include <iostream>
#include <string>
#include <vector>

#include "monitor/command.hpp"
#include "monitor/live.hpp"

int main(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  return sallyport::monitor::run_monitor(std::vector<std::string>(argv + 1, argv + argc), std::cout, std::cerr,
                                         sallyport::monitor::run_live);
}
