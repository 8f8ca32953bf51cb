// Failure: how the steps of a cell's construction say that they could not be done.
//
// Form     Empty is success. Composed with failed("mount /proc", remedy), which adds the words for errno.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "host/cell/cell.hpp"

namespace sallyport::cell {

using Failure = std::optional<CellError>;

// "what: words of `error`".
CellError failed(std::string_view what, int error, std::string_view remedy = {});
// With the present errno.
CellError failed(std::string_view what, std::string_view remedy = {});

// What to do when the kernel refuses a user namespace, found by looking at the switches that usually refuse it.
std::string user_namespace_remedy();

// A clone into new namespaces that failed with `error`.
CellError namespace_failure(std::string_view what, int error, bool privileged);

inline constexpr std::string_view kKernelRemedy =
    "a cell needs Linux 5.12 or newer (unprivileged overlayfs, mount_setattr)";

}  // namespace sallyport::cell
