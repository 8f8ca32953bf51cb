// policy/plugin.hpp: the C++ SDK for plugins. Header-only; needs abi.h and the standard library (C++17 on).
//
//   class Mine final : public policy::Plugin { using Plugin::Plugin; policy::Status configure(std::string_view json)
//   ...; }; POLICY_PLUGIN(Mine,
//   R"({"name":"mine","version":"1.0.0","needs":["policy.edge/1"],"privileges":{},"config":{...}})");
//
// Catches every exception at the border; the entry is constant-initialised; all of it has hidden visibility.
#pragma once

#include <policy/abi.h>
#include <policy/ext/audit.h>
#include <policy/ext/decision.h>
#include <policy/ext/edge.h>
#include <policy/ext/limits.h>
#include <policy/ext/log.h>
#include <policy/ext/sockets.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <string>
#include <string_view>

#pragma GCC visibility push(hidden)
namespace policy {

inline policy_str str(std::string_view text) { return {text.data(), text.size()}; }
inline std::string_view view(policy_str text) { return {text.ptr, text.len}; }
inline std::string_view view(const policy_name& name) { return {name.text, name.len}; }

// {} is success. Implicit from a code and text.
struct Status {
  policy_code code = POLICY_OK;
  std::string text;
  std::string pointer;  // JSON Pointer into the config, if the config is at fault

  Status() = default;
  Status(policy_code c, std::string t, std::string p = {}) : code(c), text(std::move(t)), pointer(std::move(p)) {}
  bool ok() const { return code == POLICY_OK; }

  policy_code write(policy_error* error) const {
    if (error && !ok()) {
      error->code = code;
      std::snprintf(error->text, sizeof error->text, "%s", text.c_str());
      std::snprintf(error->pointer, sizeof error->pointer, "%s", pointer.c_str());
    }
    return code;
  }
};

// What the host gave this instance. Copyable; valid until destroy() returned.
class Host {
 public:
  Host(policy_host* host, const policy_host_api* api) : host_(host), api_(api) {}
  policy_host* raw() const { return host_; }

  // nullptr if the host does not offer it. Names in the manifest's `needs` are always there.
  template <typename Extension>
  const Extension* get(const char* id) const {
    return static_cast<const Extension*>(api_->get(host_, id));
  }

  void log(std::int32_t level, std::string_view text, std::string_view fields_json = "{}") const {
    const auto* log = get<policy_log_v1>(POLICY_LOG_ID);
    if (log && level <= *log->threshold) log->write(host_, level, str(text), str(fields_json));
  }

 private:
  policy_host* host_;
  const policy_host_api* api_;
};

// What became of a record.
struct Audited {
  bool kept = true;  // false: it could not be kept, and the operator wants the flow refused then
  std::string ref;   // for the one who is told; empty if there is none
  explicit operator bool() const { return kept; }
};

// A policy_thread, for the thread that made it. Every failure reads as deny.
class Reader {
 public:
  explicit Reader(const Host& host)
      : decision_(host.get<policy_decision_v1>(POLICY_DECISION_ID)),
        audit_(host.get<policy_audit_v1>(POLICY_AUDIT_ID)) {
    if (!decision_ || decision_->open(host.raw(), &thread_) != POLICY_OK) thread_ = nullptr;
  }
  ~Reader() {
    if (thread_) decision_->close(thread_);
  }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  policy_thread* raw() const { return thread_; }

  policy_verdict decide(policy_query query) {
    policy_verdict verdict{};
    verdict.struct_size = sizeof verdict;
    query.struct_size = sizeof query;
    if (!thread_ || decision_->decide(thread_, &query, &verdict) != POLICY_OK) {
      verdict.verdict = POLICY_DENY;
      verdict.rule = POLICY_NO_RULE;
    }
    return verdict;
  }

  // raw: refused input, as it came, for a query without a name.
  Audited audit(policy_query query, const policy_verdict& verdict, std::string_view detail_json = {},
                std::string_view raw = {}) {
    Audited out;
    query.struct_size = sizeof query;
    if (!audit_ || !thread_) return out;
    policy_ref ref{};
    out.kept = audit_->write(thread_, &query, &verdict, str(detail_json), str(raw), &ref) != POLICY_EXHAUSTED;
    out.ref.assign(ref.text, ::strnlen(ref.text, sizeof ref.text));
    return out;
  }

  // The record of a flow's end. It cannot be refused any more.
  void audit_closed(policy_query query, const policy_verdict& verdict, std::string_view detail_json = {}) {
    query.struct_size = sizeof query;
    if (audit_ && thread_ && POLICY_HAS(audit_, closed)) audit_->closed(thread_, &query, &verdict, str(detail_json));
  }

 private:
  const policy_decision_v1* decision_ = nullptr;
  const policy_audit_v1* audit_ = nullptr;
  policy_thread* thread_ = nullptr;
};

// What became of a charge. Every failure but "this host has no limits" reads as a refusal.
struct Charged {
  bool ok = true;
  std::uint32_t exceeded = POLICY_LIMIT_NONE;
  std::uint64_t wait_ns = 0;  // until it may go on, or until it is worth trying again
  explicit operator bool() const { return ok; }
};

// The limits of one connection (policy.limits/1), for the thread that opened it. Without one, nothing is bound.
class Meter {
 public:
  Meter() = default;
  Meter(Meter&& other) noexcept : api_(other.api_), meter_(other.meter_) { other.meter_ = nullptr; }
  Meter& operator=(Meter&& other) noexcept {
    if (this != &other) {
      close();
      api_ = other.api_;
      meter_ = other.meter_;
      other.meter_ = nullptr;
    }
    return *this;
  }
  ~Meter() { close(); }

  // limits may be nullptr: a host without them. Closes what was open before.
  Charged open(const policy_limits_v1* limits, policy_thread* thread, policy_query query,
               const policy_verdict& verdict) {
    close();
    api_ = limits;
    if (!api_) return {};
    query.struct_size = sizeof query;
    return result([&](policy_charge* out) { return api_->open(thread, &query, &verdict, &meter_, out); });
  }
  bool is_open() const { return meter_ != nullptr; }
  Charged charge(std::uint32_t kind, std::uint64_t amount) {
    if (!meter_) return {};
    return result([&](policy_charge* out) { return api_->draw(meter_, kind, amount, out); });
  }
  // The most octets to read before the next charge; never 0.
  std::uint64_t room(std::uint32_t kind) const { return meter_ ? api_->room(meter_, kind) : UINT64_MAX; }
  void close() {
    if (meter_) api_->close(meter_);
    meter_ = nullptr;
  }

 private:
  template <typename Call>
  static Charged result(Call call) {
    policy_charge out{};
    out.struct_size = sizeof out;
    const policy_code code = call(&out);
    return {code == POLICY_OK, out.exceeded, out.wait_ns};
  }

  const policy_limits_v1* api_ = nullptr;
  policy_meter* meter_ = nullptr;
};

// The base of a plugin. All on [main] but health(), which must not call the host.
class Plugin {
 public:
  explicit Plugin(Host h) : host(h) {}
  virtual ~Plugin() = default;
  Plugin(const Plugin&) = delete;
  Plugin& operator=(const Plugin&) = delete;

  virtual Status configure(std::string_view /*json*/) { return {}; }  // no I/O
  virtual Status start() { return {}; }
  virtual Status reload(std::string_view /*json*/, bool /*dry_run*/) {
    return {POLICY_UNSUPPORTED, "this plugin does not reload"};
  }
  virtual Status drain(std::uint64_t /*deadline_ns*/, std::uint64_t& flows_left) {
    flows_left = 0;
    return {};
  }
  virtual Status stop() { return {}; }
  virtual std::string health() { return R"({"ok":true})"; }
  virtual const void* get(const char* /*id*/) { return nullptr; }

  const Host host;
};

namespace detail {

template <typename Body>
policy_code guarded(policy_error* error, Body body) noexcept {
  try {
    return body().write(error);
  } catch (const std::exception& e) {
    return Status(POLICY_INTERNAL, std::string("exception: ") + e.what()).write(error);
  } catch (...) {
    return Status(POLICY_INTERNAL, "exception of unknown type").write(error);
  }
}

template <typename T>
struct Instance {
  static T& of(void* self) { return *static_cast<T*>(self); }
  static policy_code create(policy_host* host, const policy_host_api* api, policy_str config, void** self,
                            policy_error* error) {
    return guarded(error, [&]() -> Status {
      auto made = std::make_unique<T>(Host(host, api));
      Status status = made->configure(view(config));
      if (status.ok()) *self = made.release();
      return status;
    });
  }
  static policy_code start(void* self, policy_error* error) {
    return guarded(error, [&] { return of(self).start(); });
  }
  static policy_code reload(void* self, policy_str config, std::uint32_t dry_run, policy_error* error) {
    return guarded(error, [&] { return of(self).reload(view(config), dry_run != 0); });
  }
  static policy_code drain(void* self, std::uint64_t deadline_ns, std::uint64_t* flows_left, policy_error* error) {
    return guarded(error, [&] { return of(self).drain(deadline_ns, *flows_left); });
  }
  static policy_code stop(void* self, policy_error* error) {
    return guarded(error, [&] { return of(self).stop(); });
  }
  static void destroy(void* self) { delete static_cast<T*>(self); }
  static policy_code health(void* self, char* json, std::size_t cap, std::size_t* len) {
    return guarded(nullptr, [&]() -> Status {
      const std::string text = of(self).health();
      *len = text.size();
      if (cap < text.size()) return {POLICY_EXHAUSTED, "buffer too small"};
      std::memcpy(json, text.data(), text.size());
      return {};
    });
  }
  static const void* get(void* self, const char* id) { return of(self).get(id); }

  static constexpr policy_instance_api kApi = {
      sizeof(policy_instance_api), 0, create, start, reload, drain, stop, destroy, health, get};
};

}  // namespace detail
}  // namespace policy
#pragma GCC visibility pop

#if __cplusplus >= 202002L
#define POLICY_CONSTINIT constinit
#else
#define POLICY_CONSTINIT /* the initialiser is constant all the same; only the check is missing */
#endif

// Defines the one exported symbol and the manifest in its ELF section, which the host reads before any code here runs.
#define POLICY_PLUGIN(Type, ManifestJson)                                                                      \
  __attribute__((section(".policy.manifest"), used)) static const char policy_manifest_bytes[] = ManifestJson; \
  extern "C" POLICY_EXPORT POLICY_CONSTINIT const policy_plugin policy_plugin_entry = {                        \
      POLICY_ABI_MAGIC,                                                                                        \
      POLICY_ABI_MAJOR,                                                                                        \
      POLICY_ABI_LEVEL,                                                                                        \
      sizeof(policy_plugin),                                                                                   \
      {policy_manifest_bytes, sizeof policy_manifest_bytes - 1},                                               \
      &policy::detail::Instance<Type>::kApi}
