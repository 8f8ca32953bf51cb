// The closed list of codes. A code's meaning never changes; a retired one is not given out again.
#include <algorithm>

#include "language/diagnostic.hpp"

namespace sallyport {
namespace {

constexpr CodeText kCodes[] = {
    {"P001", "the file cannot be used",
     "A policy is read only from a regular file that nobody but root and the caller could have written: no symbolic "
     "link on\n"
     "the path, no directory or file on it that is writable by others (a sticky directory such as /tmp may be), every "
     "owner\n"
     "root or the caller, at most 64 MiB. Whoever can change the policy can leave the gate, so this is checked, not "
     "assumed."},
    {"P002", "not valid YAML",
     "The text is not UTF-8, holds NUL or hidden control characters, or is not one YAML document. Names that start "
     "with `*`\n"
     "need quotes: \"*.example.com\". Tabs may not indent. Anchors and aliases work; tags and merge keys do not."},
    {"P003", "unknown key",
     "The key is not part of the language. A misspelt key is an error, since a rule that silently lost one would mean\n"
     "something else. docs/policy-language.md lists all keys."},
    {"P004", "not supported by this version yet",
     "The key belongs to the policy language, and this version does not enforce it. It is refused rather than passed "
     "over."},
    {"P005", "wrong type",
     "A list, mapping, number, or true or false is expected here. Lists are written [a, b], or one `- a` a line. Only "
     "`true`\n"
     "and `false` are booleans: `yes` and `on` mean different things to different programs."},
    {"P006", "something is missing",
     "`version: 1` is mandatory, and so are `name` and `action` in each rule. A file with `version: 1` alone is valid "
     "and\n"
     "denies everything; an empty file is an error, since a file that was cut off must not pass for a policy."},
    {"P007", "expected a domain, found something else",
     "`domains` takes names. Write the parts of a URL or of host:port where they belong:\n"
     "  https://api.example.com:8443/  ->  domains: [api.example.com], ports: [8443]\n"
     "  203.0.113.9                    ->  addresses: [203.0.113.9]"},
    {"P008", "not a domain",
     "A name has labels of 1 to 63 letters, digits, `-` and `_`, and 253 octets at most. `*.` stands for whole labels "
     "and\n"
     "only in front: `*.a.b` is every name below a.b, `.a.b` these and a.b itself. Unicode names are mapped by UTS "
     "#46."},
    {"P009", "host bits set",
     "The address has bits beyond the prefix length, so it names both a network and a host. Write the one you mean."},
    {"P010", "not an address",
     "Addresses are dotted quads of four decimal numbers without leading zeros, or IPv6 without brackets and zone; "
     "blocks\n"
     "end in /bits. Ranges, wildcards and IPv4-mapped forms are refused."},
    {"P011", "not a port", "Ports are 443, 22/tcp, 123/udp or 8000-8010. A bare port is TCP."},
    {"P012", "said twice",
     "YAML allows one value for a key; which of two would count differs between programs. An entry twice in a list is "
     "harmless\n"
     "and only warned about."},
    {"P013", "a name used twice",
     "Each rule has a name of its own: audit, metrics and explain tell rules apart by it."},
    {"P014", "covers a public suffix",
     "A public suffix, such as com, co.uk or a whole top-level name, is where anyone can register. Allowing what lies "
     "below\n"
     "one allows everyone. Name the organisation (*.example.co.uk), or set allow_public_suffix: true on the rule.\n"
     "Reason word: pattern_too_broad."},
    {"P015", "shared by many tenants",
     "On github.io, s3.amazonaws.com and others of the public suffix list's private section anyone can have a name, so "
     "data\n"
     "can leave to anyone. Name the tenant (yours.github.io), or set multi_tenant: true on the rule.\n"
     "Reason word: pattern_too_broad."},
    {"P016", "unknown client", "Rules name clients that the `clients` mapping defines."},
    {"P017", "unknown value",
     "The key takes one of a few words, in lower case: action: allow or deny, tunnel: checked or any."},
    {"P018", "single label",
     "A name without a dot has no meaning outside one network, and is never asked for outside. With resolves_to of "
     "host\n"
     "addresses the gateway answers it itself."},
    {"P019", "nothing to match",
     "An allow rule says what it allows, by domains or addresses; with addresses it says the ports too. A client has "
     "addresses,\n"
     "cells or credentials. An empty list is refused where leaving the key out would mean everything."},
    {"P020", "keys that do not go together",
     "resolves_to narrows domains; tunnel, allow_metadata and limits are for allow rules."},
    {"P021", "can never take effect",
     "The first rule that matches decides. A rule, all of whose flows an earlier rule decides, does nothing, and most "
     "often\n"
     "its author thinks it does. The same holds for a metadata address without allow_metadata: true. Put narrow rules "
     "before\n"
     "wide ones. A deny rule of names also stops destinations without a name, which might be any."},
    {"P022", "UDP in a cell",
     "Cells carry TCP and their own DNS. A UDP port that only cells could use would never be open."},
    {"P023", "version", "This program reads version 1 of the policy language."},
    {"P024", "too many", "A policy has at most 64 clients."},
    {"P025", "not a name", "Names of rules, clients and cells are letters, digits, `-`, `_` and `.`, at most 64."},
    {"P026", "more errors", "After the first thousand only the number is shown."},
    {"P027", "cannot be included",
     "`include` names further policy files, relative to the one that says so. Each is read as the policy itself is "
     "(P001), once,\n"
     "at most 64 of them and 8 deep; a file that includes itself, by whatever way, is refused. Their rules stand "
     "before "
     "those of\n"
     "the file that includes them."},
    {"P028", "a test fails",
     "`tests` say what must be allowed or denied. They are asked of the function that decides, as policyctl explain "
     "asks it,\n"
     "and as if no trial (mode: observe) were on. A policy that fails one is not used: the one before stays."},
    {"P029", "unknown preset",
     "A preset stands for the names of a well-known service; policyctl preset lists them and shows what is in one."},
    {"P030", "no inspection",
     "`inspect: true` would have TLS decrypted, so that methods and paths are known. No plugin of this version offers "
     "that, and\n"
     "a rule that counted on it would not do what it says."},
    {"P031", "lines of a list not understood",
     "A list holds names in its format's own way. A line that means nothing to a gateway, or that is damaged, is an "
     "error:\n"
     "a list that silently lost lines would not do what it says. The first one is shown. Convert or remove such lines, "
     "or "
     "say\n"
     "by `max_invalid` how many may be passed over; an invalid line adds no name."},
    {"P032", "the file of a list cannot be used",
     "A list is read from a file that is trusted as the policy is: regular, no symbolic link on the path, writable by "
     "nobody\n"
     "but root and the caller, at most 512 MiB, and not written while it is read. Names of files are relative to the "
     "policy."},
    {"P033", "unknown list", "Rules name lists that the `lists` mapping defines."},
    {"P034", "unused list", "A list that no rule names does nothing, and its file is not read."},
    {"P035", "a list says the opposite of its rule",
     "dnsmasq and RPZ say of each name whether it passes: server=/name/9.9.9.9 and rpz-passthru let it, "
     "address=/name/0.0.0.0\n"
     "and CNAME . do not. An allow rule takes lists of names that pass, a deny rule those of names that do not."},
    {"P036", "a list without names",
     "The file has comments at most: it may have been cut off. A deny rule of it would deny nothing, which is an "
     "error; an "
     "allow\n"
     "rule of it allows nothing by it, which is a warning."},
    {"P040", "unused client", "A client that no rule names gets what rules without `clients` give to all."},
    {"P041", "wide block",
     "addresses and resolves_to lift the address guard for what they name: private networks, loopback, link-local. A "
     "block\n"
     "this wide lifts it almost everywhere. Cloud metadata stays refused without allow_metadata: true."},
    {"P042", "partly shadowed",
     "The first rule that matches decides. An earlier rule decides all flows of this entry the other way; or, of a "
     "deny "
     "rule,\n"
     "an earlier allow rule takes some of its ports: below `allow .example.com` on 80 and 443, `deny www.example.com` "
     "stops\n"
     "neither http nor https. Put the deny rule first."},
    {"P043", "no line feed at the end", "The file may have been cut off. Text files end with a line feed."},
    {"P044", "only in the policy itself",
     "`default`, `mode` and `until` speak of the whole policy, so they stand in the file that includes the others."},
    {"P045", "a trial without an end",
     "With `mode: observe` what a client (or everyone) is denied is audited and passes, so a trial says when it ends: "
     "until:\n"
     "2027-01-01, or 2027-01-01T12:00:00Z. The address guard holds all the same. On a rule, mode: observe takes no "
     "until: such\n"
     "a rule decides nothing."},
    {"P046", "a trial that has ended",
     "The policy is enforced. That is a warning and no error, since a gateway must be able to start again after the "
     "end."},
    {"P047", "not a method", "Methods are words in upper case, GET or PROPFIND. Leave the key out for all of them."},
    {"P048", "not a path",
     "Paths start with `/` and are compared without their query; `*` is any run of characters, slashes too. What "
     "servers read\n"
     "in different ways (.., //, ;, encoded slashes) is no path: a request with such a one is matched by no allow rule "
     "of paths."},
    {"P049", "requests that nobody sees",
     "Methods and paths are seen in clear HTTP. Inside TLS they are invisible: an allow rule that asks for them does "
     "not match\n"
     "there, and a deny rule does."},
    {"P050", "not a test",
     "A test says `allow` or `deny` and a destination, as policyctl explain takes it, and may say client or cell, "
     "method "
     "and\n"
     "resolved: { deny: \"http://api.example.com/admin\", client: agents, method: POST }."},
    {"P056", "not a limit",
     "requests is a number and a period, 600/m. bandwidth, upload and download are octets and a period, 10MB/s: the "
     "units "
     "are\nB, kB, MB, GB, TB (powers of 1000) and KiB, MiB, GiB, TiB; the periods s, m, h, day. connections is a "
     "number "
     "alone."},
    {"P057", "limit out of range",
     "A limit of 0 would allow nothing: that is a deny rule. The largest are 1000000000 requests and 4TB of a quota in "
     "one\nperiod, 1TB/s, and 50000 connections."},
    {"P058", "limits of UDP",
     "Limits are kept where the bytes flow through a plugin: http-proxy, sni-filter and, for questions, dns. UDP is "
     "forwarded\nby the kernel, which keeps none, so a rule with limits has TCP ports alone."},
    {"P059", "limits of what the kernel forwards",
     "Without a transparent TCP listener the nftables plugin opens the addresses of allowed names in the kernel, and "
     "no "
     "plugin\nsees their bytes. A rule with limits would bind nothing there, so such a gateway is refused."},
    {"P060", "no canonical form",
     "fmt writes a policy anew, with its comments. Anchors and aliases (which a new order of keys could part), block "
     "scalars,\n"
     "tags and directives have no place in the form that it writes: the file is left as it is. It may be valid all the "
     "same."},
    {"P061", "formatting would change it",
     "What fmt writes is read again and compared with the file, values and comments alike, before it replaces "
     "anything. "
     "The\n"
     "two differed, so nothing was written. This is a fault of fmt."},
    {"P062", "a file of tests",
     "policyctl test POLICY TESTS adds the tests of another file to the policy's own. Such a file has `version: 1` and "
     "`tests`,\n"
     "and nothing that would change what is tested."},
    {"P063", "limits that a connection passes by",
     "A tunnel or a transparent connection is charged by the first rule that may allow it; its requests are decided "
     "one by\n"
     "one. So a rule with limits cannot stand behind one that asks for methods or paths of the same names and ports: "
     "its\n"
     "requests would come on connections of the other. Put it first."},
};

}  // namespace

std::string_view explain_code(std::string_view code) noexcept {
  const auto found =
      std::find_if(std::begin(kCodes), std::end(kCodes), [&](const CodeText& c) { return c.code == code; });
  return found == std::end(kCodes) ? std::string_view{} : found->text;
}

std::span<const CodeText> codes() noexcept { return kCodes; }

}  // namespace sallyport
