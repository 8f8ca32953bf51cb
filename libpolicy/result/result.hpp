// Result<T>: a value or the reason there is none. For names/, wire/ and engine/, which use the standard library alone.
//
// Errors   Data, not text to be parsed: a code, a static message (never freed), and where in the input it was seen.
//          Making one allocates nothing.
// Threads  Plain values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

namespace sallyport {

enum class ErrorCode : std::uint8_t {
  kMalformed = 1,  // breaks the format
  kTooLong,        // over a limit of the format
  kIncomplete,     // a longer input may be valid
  kTooBroad,       // a pattern that covers more than one organisation
  kUnsupported,    // valid, and refused by choice
  kCorrupt,        // a snapshot that fails its own checks
  kExhausted,      // no room
};

struct Error {
  ErrorCode code = ErrorCode::kMalformed;
  const char* message = "";  // static; lower case, no full stop
  std::size_t offset = 0;    // octets into the input
};

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}  // NOLINT: a value is a result
  Result(Error error) : error_(error) {}         // NOLINT: an error is a result

  bool ok() const noexcept { return value_.has_value(); }
  explicit operator bool() const noexcept { return ok(); }

  // Only when ok(); anything else is a broken invariant and aborts in std::optional's debug checks.
  T& operator*() & noexcept { return *value_; }
  const T& operator*() const& noexcept { return *value_; }
  T&& operator*() && noexcept { return *std::move(value_); }
  T* operator->() noexcept { return &*value_; }
  const T* operator->() const noexcept { return &*value_; }

  // Only when !ok().
  const Error& error() const noexcept { return error_; }

 private:
  std::optional<T> value_;
  Error error_;
};

}  // namespace sallyport
