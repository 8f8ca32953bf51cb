// AuditDetail: what a plugin adds to a record, as the JSON texts that go into its line.
//
// Form     A plugin's detail is one JSON object. Members that are not on the list, or not of their type, are left out,
//          and `whole` says so; so are the parts of a request's target unless they are asked for. The texts are ASCII:
//          what is not is \u-escaped, and octets that are no UTF-8 are no JSON.
// Trust    The text comes from a worker that may be taken over: nothing of it goes on that was not looked at.
// Lifetime The views are into the text that was given, or into this; it is neither copied nor moved.
// Threads  One thread at a time.
#pragma once

#include <forward_list>
#include <string>
#include <string_view>

namespace sallyport {

class AuditDetail {
 public:
  AuditDetail(std::string_view text, bool log_paths);
  AuditDetail(const AuditDetail&) = delete;
  AuditDetail& operator=(const AuditDetail&) = delete;

  // JSON; empty: not given.
  std::string_view tls, dns, http, bytes, duration_ms, flow;
  // The strings themselves; a data() of nullptr: not given.
  std::string_view raw, cause;
  bool dns_has_qtype = false;
  bool whole = true;

 private:
  bool read_plain(std::string_view text, bool log_paths);
  void read_any(std::string_view text, bool log_paths);
  void clear() noexcept;

  std::forward_list<std::string> kept_;
};

}  // namespace sallyport
