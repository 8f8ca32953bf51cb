// The .proto files as protoc's FileDescriptorSet with source info, built into the program: what protoc compiles for C++
// has lost the comments.
//
// Lifetime Static.
#pragma once

#include <string_view>

namespace sallyport {

std::string_view policy_descriptors() noexcept;
std::string_view gateway_descriptors() noexcept;

}  // namespace sallyport
