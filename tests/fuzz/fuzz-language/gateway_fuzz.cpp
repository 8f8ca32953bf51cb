// Any bytes are a gateway.yaml or a list of errors, never both. REL-10.
#include <cstddef>
#include <cstdint>
#include <string>

#include "diagnostic_check.hpp"
#include "language/gateway/gateway_load.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const sallyport::GatewayOutcome outcome =
      sallyport::load_gateway(std::string(reinterpret_cast<const char*>(data), size), "/nowhere/gateway.yaml");
  sallyport::fuzz::check_diagnostics(outcome.model.has_value(), outcome.diagnostics, [](std::string_view code) {
    const std::string_view of_gateway = sallyport::explain_gateway_code(code);
    return of_gateway.empty() ? sallyport::explain_code(code) : of_gateway;
  });
  return 0;
}
