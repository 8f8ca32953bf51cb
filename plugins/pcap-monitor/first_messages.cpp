// The first message of a flow: ClientHello, HTTP request, QUIC Initial, DNS over TCP.
#include "names/address.hpp"
#include "pcap-monitor/reading.hpp"
#include "wire/first_flight.hpp"

namespace sallyport::monitor {

void Monitor::unparsed(const FlowId& id, std::string_view what, std::string_view why) {
  ++counters_.unparsed;
  sink_.unparsed({id, now_ns_, what, why});
}

void Monitor::drop_reading(Flow& flow) {
  if (flow.reading) stream_octets_ -= flow.reading->weighed;
  flow.reading.reset();
}

void Monitor::weigh_reading(Flow& flow) {
  if (!flow.reading) return;
  const std::size_t now = flow.reading->memory();
  stream_octets_ += now - flow.reading->weighed;
  flow.reading->weighed = now;
  if (stream_octets_ <= options_.stream_octets) return;
  ++counters_.streams_lost;
  flow.read_all = true;
  drop_reading(flow);
}

void Monitor::tcp_payload(const FlowId& id, Flow& flow, bool up, std::uint64_t offset,
                          std::span<const std::uint8_t> octets) {
  constexpr std::size_t kDownFirst = 16;
  if (!up && offset == flow.down_first.size() && flow.down_first.size() < kDownFirst) {
    flow.down_first.append(reinterpret_cast<const char*>(octets.data()),
                           std::min(octets.size(), kDownFirst - flow.down_first.size()));
  }
  const bool dns = id.port == 53;
  if (flow.read_all || (!up && !dns)) return;
  if (!flow.reading) flow.reading = std::make_unique<Reading>();
  StreamHead& head = up ? flow.reading->up : flow.reading->down;
  const bool contradicted = head.conflict();
  const std::size_t grown = head.add(offset, octets);
  if (head.conflict() && !contradicted) unparsed(id, "tcp", "the same octets were sent twice, and differ");
  if (grown > 0) {
    if (dns) {
      read_dns_stream(id, flow, up);
    } else {
      read_first_message(id, flow);
    }
  }
  weigh_reading(flow);
}

void Monitor::read_first_message(const FlowId& id, Flow& flow) {
  Reading& reading = *flow.reading;
  const std::string_view text = reading.up.text();
  if (flow.protocol.empty()) {
    switch (wire::first_flight(text)) {
      case wire::FirstFlight::kNeedMore:
      case wire::FirstFlight::kOtherSoFar:
        if (text.size() < StreamHead::kMost) return;
        [[fallthrough]];
      case wire::FirstFlight::kOther:
        flow.protocol = text.starts_with("SSH-") ? "ssh" : "other";
        break;
      case wire::FirstFlight::kTls:
        flow.protocol = "tls";
        break;
      case wire::FirstFlight::kHttp:
        flow.protocol = text.starts_with("SSH-") ? "ssh" : "http";
        break;
      case wire::FirstFlight::kHttp2:
        flow.protocol = "http2";
        break;
    }
  }
  const std::string_view fresh = text.substr(reading.up_read);
  reading.up_read = text.size();
  if (flow.protocol == "tls") {
    const auto state = reading.hello.feed(fresh);
    if (state == wire::ClientHelloReader::State::kNeedMore && text.size() < StreamHead::kMost) return;
    if (state == wire::ClientHelloReader::State::kDone) {
      read_hello(id, flow, reading.hello.hello(), "tls", 0);
    } else {
      flow.name_state = NameState::kMalformed;
      unparsed(id, "tls", state == wire::ClientHelloReader::State::kFailed ? reading.hello.message() : "too large");
      named(id, flow);
    }
  } else if (flow.protocol == "http") {
    const auto state = reading.request.feed(fresh);
    if (state == wire::HttpState::kNeedMore && text.size() < StreamHead::kMost) return;
    if (state == wire::HttpState::kDone) {
      read_request(id, flow, reading.request.head());
    } else {
      flow.name_state = NameState::kMalformed;
      unparsed(id, "http", state == wire::HttpState::kFailed ? to_string(reading.request.fault()) : "too large");
      named(id, flow);
    }
  }
  flow.read_all = true;
  drop_reading(flow);
}

void Monitor::read_hello(const FlowId& id, Flow& flow, const wire::ClientHello& hello, std::string_view kind,
                         std::uint32_t version) {
  NameEvent event{id, now_ns_, kind, hello.sni, "malformed", hello.ech || hello.esni, {}, {}, version};
  flow.name_state = NameState::kMalformed;
  if (hello.sni_state == wire::SniState::kAbsent) {
    event.state = "absent";
    flow.name_state = NameState::kAbsent;
  } else if (hello.sni_state == wire::SniState::kPresent) {
    const Result<DomainName> name = DomainName::parse(hello.sni);
    if (name.ok()) {
      event.state = "present";
      flow.name_state = NameState::kPresent;
      flow.name = *name;
    }
  }
  sink_.name(event);
  named(id, flow);
}

void Monitor::read_request(const FlowId& id, Flow& flow, const wire::HttpRequestHead& head) {
  const bool in_target = head.form == wire::TargetForm::kAbsolute || head.form == wire::TargetForm::kAuthority;
  NameEvent event{id, now_ns_, "http", {}, "absent", false, head.method, head.target, 0};
  flow.name_state = NameState::kAbsent;
  if (in_target || head.has_host) {
    const wire::Authority& authority = in_target ? head.target_authority : head.host;
    event.name = authority.host;
    if (in_target) flow.name_port = authority.port.value_or(head.scheme == "https" ? 443 : 80);
    const Result<DomainName> name = DomainName::parse(authority.host);
    if (authority.kind != wire::HostKind::kName) {
      event.state = "address";
      flow.name_state = NameState::kAddress;
    } else if (name.ok()) {
      event.state = "present";
      flow.name_state = NameState::kPresent;
      flow.name = *name;
    } else {
      event.state = "malformed";
      flow.name_state = NameState::kMalformed;
    }
  }
  sink_.name(event);
  named(id, flow);
}

// A flow that was judged before it said its name is judged again.
void Monitor::named(const FlowId& id, Flow& flow) {
  if (flow.judged && flow.standing != Standing::kAlarm && flow.standing != Standing::kUnwatched) judge(id, flow);
}

void Monitor::quic(const FlowId& id, Flow& flow, std::span<const std::uint8_t> datagram) {
  if (flow.read_all) {
    // Another connection on the same ports begins with a long header; only then is it worth a look.
    const auto header = wire::read_quic_long_header(datagram);
    if (flow.protocol != "quic" || !header || header->kind != wire::QuicPacketKind::kInitial || !flow.reading) return;
  }
  if (!flow.reading) flow.reading = std::make_unique<Reading>();
  QuicInitials& initials = flow.reading->quic;
  switch (initials.add(datagram)) {
    case QuicInitials::Outcome::kNotQuic:
      if (flow.protocol.empty()) {
        const bool meant = id.port == 443 && !datagram.empty() && (datagram[0] & 0xc0) == 0xc0;  // a long header
        flow.protocol = meant ? "quic" : "other";
        if (meant) unparsed(id, "quic", "a long header that breaks its format");
        flow.read_all = true;
        drop_reading(flow);
        return;
      }
      break;
    case QuicInitials::Outcome::kNothingNew:
    case QuicInitials::Outcome::kMore:
      if (initials.version() != 0) flow.protocol = "quic";
      break;
    case QuicInitials::Outcome::kHello:
      flow.protocol = "quic";
      flow.read_all = true;
      read_hello(id, flow, initials.hello(), "quic", initials.version());
      break;
    case QuicInitials::Outcome::kUnparsed:
      // An unauthentic or unknown Initial may be anybody's; on 443 it is meant as QUIC.
      if (flow.protocol.empty()) flow.protocol = id.port == 443 || initials.version() != 0 ? "quic" : "other";
      if (flow.protocol == "other") {
        flow.read_all = true;
        drop_reading(flow);
        return;
      }
      unparsed(id, "quic", "no Initial of a version that is known here, or not authentic");
      break;
  }
  weigh_reading(flow);
}

void Monitor::read_dns_stream(const FlowId& id, Flow& flow, bool up) {
  flow.protocol = "dns";
  for (;;) {
    if (!flow.reading) return;
    const std::string_view text = (up ? flow.reading->up : flow.reading->down).text();
    std::size_t& read = up ? flow.reading->up_read : flow.reading->down_read;
    const std::string_view left = text.substr(read);
    if (text.size() >= StreamHead::kMost) {  // longer than what is kept of a stream
      ++counters_.streams_lost;
      flow.read_all = true;
      drop_reading(flow);
      return;
    }
    if (left.size() < 2) return;
    const auto* octets = reinterpret_cast<const std::uint8_t*>(left.data());
    const std::size_t size = static_cast<std::size_t>(octets[0] << 8 | octets[1]);
    if (left.size() < 2 + size) return;
    read += 2 + size;
    dns_message(id, flow, up, {octets + 2, size});
  }
}

}  // namespace sallyport::monitor
