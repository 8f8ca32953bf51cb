"""sallyport-dns, -proxy, -sni and -monitor -i, each from one policy file, through real processes; the witness is at zero for each deny."""

import subprocess
import time

import pytest

from small_internet import world
from small_internet.gate import GATE4
from small_internet.namespaces import sh
from thin import Thin

CLIENTS = "clients:\n  agents: { addresses: [172.20.0.0/16] }\n"
POLICY = f"""version: 1
{CLIENTS}rules:
  - {{ name: api, action: allow, clients: [agents], domains: [api.example.test], ports: [443] }}
  - {{ name: pkg, action: allow, clients: [agents], domains: [pkg.test], ports: [80] }}
"""
MORE = POLICY + "  - { name: www, action: allow, clients: [agents], domains: [www.example.test], ports: [80, 443] }\n"
UPSTREAM = ("--upstream", world.RESOLVER)
DNS = ("--listen", f"{GATE4}:5353", *UPSTREAM)
PROXY = ("--listen", f"{GATE4}:3128", *UPSTREAM)
SNI = ("--listen", f"{GATE4}:443", "--listen", f"{GATE4}:80", *UPSTREAM)
PROGRAMS = {"dns": DNS, "proxy": PROXY, "sni": SNI}


@pytest.fixture(autouse=True)
def low_ports(lab, agents):
    """What a container engine sets for its containers: low ports need no privilege."""
    sh("ip", "netns", "exec", lab.namespaces.host, "sysctl", "-qw", "net.ipv4.ip_unprivileged_port_start=0")


def dig(work, name, *arguments):
    return work.dig("-p", "5353", name, *arguments).out.decode()


class TestDns:
    def test_allowed_name(self, thin, work, witness):
        program = thin("dns", POLICY, *DNS)
        with witness.expect_only("api.example.test"):
            assert dig(work, "api.example.test", "+short").split() == [world.GOOD4]
            assert dig(work, "api.example.test", "+short", "+tcp").split() == [world.GOOD4]
        record = program.wait_audit(name="api.example.test")[0]
        assert record["gateway"] == "sallyport-dns" and record["client"]["group"] == "agents" and record["effective"] == "allow"
        assert program.uids() == {"65534"}

    @pytest.mark.parametrize("transport", ["+notcp", "+tcp"])
    def test_denied_name(self, thin, work, witness, transport):
        program = thin("dns", POLICY, *DNS)
        with witness.expect_zero():
            answer = dig(work, "evil.com", transport)
        assert "status: NXDOMAIN" in answer and "EDE: 15" in answer, answer
        assert program.wait_audit(name="evil.com")[0]["verdict"] == "deny"

    def test_a_client_that_the_policy_does_not_name(self, thin, work, witness):
        thin("dns", POLICY.replace("172.20.0.0/16", "172.20.0.8"), *DNS)
        with witness.expect_zero():
            assert "status: REFUSED" in dig(work, "api.example.test")

    def test_a_gateway_address_for_sallyport_sni(self, thin, work):
        thin("dns", POLICY, *DNS, "--gateway-address", GATE4, "--blocked-answer", "refused")
        assert dig(work, "api.example.test", "+short").split() == [GATE4]
        assert "status: REFUSED" in dig(work, "evil.com")

    def test_an_edit_is_live_without_a_signal_and_a_bad_one_changes_nothing(self, thin, work, witness):
        program = thin("dns", POLICY, *DNS)
        with witness.expect_zero():
            assert "NXDOMAIN" in dig(work, "www.example.test")
        program.write(MORE)
        program.await_live(2)
        assert dig(work, "www.example.test", "+short").split() == [world.GOOD4]
        program.write(MORE.replace("action: allow", "action: perhaps"))
        program.wait_log("stays live; nothing was changed")
        assert "policy.yaml:5:" in program.log()
        assert dig(work, "www.example.test", "+short").split() == [world.GOOD4]

    def test_a_signal_reloads(self, thin, work):
        program = thin("dns", POLICY, *DNS)
        program.hang_up()
        program.await_live(2)
        assert dig(work, "api.example.test", "+short").split() == [world.GOOD4]


class TestProxy:
    def test_connect(self, thin, work, witness):
        program = thin("proxy", POLICY, *PROXY)
        with witness.expect_only("api.example.test", ports=[(world.GOOD4, 443), (world.GOOD6, 443)]):
            run = work.curl("-x", f"http://{GATE4}:3128", "https://api.example.test/")
        assert run.status == 0 and b"small internet" in run.out, run
        assert program.wait_audit(name="api.example.test", kind="close")[0]["client"]["group"] == "agents"
        assert program.uids() == {"65534"}

    def test_absolute_form(self, thin, work, witness):
        thin("proxy", POLICY, *PROXY)
        with witness.expect_only("pkg.test", ports=[(world.PKG4, 80), (world.PKG6, 80)]):
            run = work.curl("-x", f"http://{GATE4}:3128", "http://pkg.test/")
        assert run.status == 0, run

    @pytest.mark.parametrize("url", ["https://evil.com/", "http://evil.com/", "https://pkg.test/", f"https://{world.EVIL4}/"])
    def test_denied(self, thin, work, witness, url):
        thin("proxy", POLICY, *PROXY)
        with witness.expect_zero():
            run = work.curl("-i", "-x", f"http://{GATE4}:3128", url)
        assert b"403" in run.out + run.err, run

    def test_credentials_are_required_once_there_are_any(self, thin, work, witness):
        program = thin("proxy", POLICY, *PROXY, "--credentials", "users", wait=False)
        # mkpasswd's form; the password is `secret`.
        made = subprocess.run(["openssl", "passwd", "-6", "-stdin"], input="secret\n", capture_output=True, text=True, check=True)
        with open(f"{program.directory}/users", "w") as file:
            file.write(f"bot:{made.stdout.strip()}\n")
        program.start()
        with witness.expect_zero():
            assert b"407" in work.curl("-i", "-x", f"http://{GATE4}:3128", "http://pkg.test/").out
        assert work.curl("-x", f"http://bot:secret@{GATE4}:3128", "http://pkg.test/").status == 0


class TestSni:
    def test_resolve(self, thin, work, witness):
        program = thin("sni", POLICY, *SNI)
        with witness.expect_only("api.example.test", ports=[(world.GOOD4, 443), (world.GOOD6, 443)]):
            run = work.curl("--resolve", f"api.example.test:443:{GATE4}", "https://api.example.test/")
        assert run.status == 0 and b"small internet" in run.out, run
        assert program.wait_audit(name="api.example.test", kind="close")
        assert program.uids() == {"65534"}

    def test_clear_http_by_host(self, thin, work):
        thin("sni", POLICY, *SNI)
        assert work.curl("--connect-to", f"pkg.test:80:{GATE4}:80", "http://pkg.test/").status == 0

    def test_denied(self, thin, work, witness):
        program = thin("sni", POLICY, *SNI)
        with witness.expect_zero():
            assert work.curl("--connect-to", f"evil.com:443:{GATE4}:443", "https://evil.com/").status != 0
            run = work.curl("-i", "--connect-to", f"evil.com:80:{GATE4}:80", "http://evil.com/")
        assert b"403" in run.out and b"Proxy-Status" in run.out, run
        assert program.wait_audit(name="evil.com")[0]["reason"] == "sni_not_allowed"

    def test_together_with_dns_it_is_a_transparent_gateway(self, thin, work, witness):
        """Two programs and one policy file each: what `answers: gateway` does in one."""
        thin("dns", MORE, "--listen", f"{GATE4}:53", *UPSTREAM, "--gateway-address", GATE4)
        thin("sni", MORE, *SNI)
        run = work.curl("https://www.example.test/")
        assert run.status == 0 and b"small internet" in run.out, run
        with witness.expect_zero():
            assert work.curl("https://evil.com/").status == 6


class TestMonitor:
    @pytest.fixture
    def wire(self, lab, agents):
        """A veth between the lab's host and a namespace of its own: a network that no gate holds."""
        host, space = lab.namespaces.host, agents.namespaces["a"]
        sh("ip", "-n", host, "link", "add", "wire0", "type", "veth", "peer", "name", "wire1", "netns", space)
        sh("ip", "-n", host, "addr", "add", "172.30.0.1/24", "dev", "wire0")
        sh("ip", "-n", host, "link", "set", "wire0", "up")
        sh("ip", "-n", space, "addr", "add", "172.30.0.7/24", "dev", "wire1")
        sh("ip", "-n", space, "link", "set", "wire1", "up")
        for address in (world.RESOLVER, world.GOOD4, world.EVIL4):
            sh("ip", "-n", space, "route", "add", f"{address}/32", "via", "172.30.0.1", "src", "172.30.0.7")
        yield "wire0"
        sh("ip", "-n", host, "link", "del", "wire0")

    POLICY = POLICY.replace("172.20.0.0/16", "172.30.0.0/24")

    def test_alarms_of_an_interface(self, thin, work, wire):
        program = thin("monitor", self.POLICY, "-i", wire, "--resolver", world.RESOLVER, root=True)
        assert work.curl("https://api.example.test/", "-4", resolver=world.RESOLVER).status == 0
        work.curl("https://evil.test/", "-4", resolver=world.RESOLVER)
        alarms = program.wait_audit(timeout=20, name="evil.test", addr=world.EVIL4)
        assert alarms[0]["verdict"] == "deny" and alarms[0]["plugin"] == "pcap-monitor"
        assert alarms[0]["client"]["group"] == "agents" and alarms[0]["client"]["addr"] == "172.30.0.7"
        # What the policy allows is none, though no enforcer of this program has decided it.
        assert not program.audit(name="api.example.test"), program.audit()

    def test_other_clients_after_an_edit(self, thin, work, wire):
        """The workloads are the policy's clients, also of the next policy."""
        program = thin("monitor", self.POLICY.replace("172.30.0.0/24", "10.1.0.0/16"), "-i", wire, "--resolver", world.RESOLVER, root=True)
        work.curl("https://evil.test/", "-4", resolver=world.RESOLVER)
        program.write(self.POLICY)
        program.await_live(2)
        assert not program.audit(), program.audit()
        work.curl("https://evil.test/", "-4", resolver=world.RESOLVER)
        program.wait_audit(timeout=20, name="evil.test", addr=world.EVIL4)

    def test_without_the_right_to_look(self, thin, wire):
        program = thin("monitor", self.POLICY, "-i", wire, wait=False)
        run = program.run()
        assert run.returncode == 125 and "nothing listens" in run.stderr, run

    def test_an_interface_that_is_not_there(self, thin):
        run = thin("monitor", self.POLICY, "-i", "nothere0", root=True, wait=False).run()
        assert run.returncode == 125 and "nothere0" in run.stderr, run


class TestCommandLine:
    @pytest.mark.parametrize("name", PROGRAMS)
    def test_help_and_version(self, lab, name):
        program = Thin(lab, name, POLICY, ())
        run = program.run("--help")
        assert run.returncode == 0 and f"usage: sallyport-{name} -p policy.yaml" in run.stdout and not run.stderr
        run = program.run("--version")
        assert run.returncode == 0 and run.stdout.startswith(f"sallyport-{name} ")

    @pytest.mark.parametrize("name", PROGRAMS)
    def test_check_and_health(self, thin, name):
        program = thin(name, POLICY, *PROGRAMS[name])
        run = program.run("--check")
        assert run.returncode == 0 and f"sallyport-{name}: good; 1 listeners, 2 rules" in run.stdout, run
        assert program.run("--health").returncode == 0
        assert program.stop() == 0
        run = program.run("--health")
        assert run.returncode == 1 and "no gateway answers" in run.stderr

    # Each names the option, and no line of a file that the user never wrote.
    @pytest.mark.parametrize(
        "arguments, words",
        [
            (("--listen", "172.20.0.1"), ["--> --listen 172.20.0.1\n", "an address without a port"]),
            (("--listen", "localhost:53"), ["--> --listen localhost:53\n"]),
            (("--listen", "172.20.0.1:5353", "--drain", "5x"), ["--> --drain 5x\n"]),
            (("--user", "root"), ["--> --user root\n"]),
            (("--user", "no-such-user"), ["--> --user no-such-user\n"]),
            (("--client", "172.20.0.5/16"), ["--> --client 172.20.0.5/16\n"]),
            (("--name", "two words"), ["--> --name two words\n"]),
            (("--plugin-dir", "plugins"), ["--> --plugin-dir plugins\n"]),
            (("--plugin-dir", "/nowhere"), ["--> --plugin-dir /nowhere\n"]),
            (("--audit", "a", "--audit", "a"), ["--> --audit "]),
            (("--answers", "perhaps"), ["--> --answers perhaps\n"]),
            (("--set", "cache_entires=5"), ["--> --set cache_entires=5\n", "unknown option"]),
            (("--set", "workers=many"), ["--> --set workers=many\n"]),
            (("--set", 'x: y, "z": 1=5'), ["--> --set x: y"]),
        ],
        ids=lambda value: "_".join(value).replace("/", "") if isinstance(value, tuple) else "",
    )
    def test_errors_of_values(self, lab, agents, arguments, words):
        run = Thin(lab, "dns", POLICY, (*UPSTREAM, *arguments)).run("--check")
        assert run.returncode == 3, run
        for word in words:
            assert word in run.stderr, run
        for wrong in ("gateway.yaml", "sallyport-dns:", "listeners"):
            assert wrong not in run.stderr, run

    @pytest.mark.parametrize(
        "arguments, word",
        [
            (("--lisen", "127.0.0.1:53"), "did you mean --listen?"),
            (("evil.com",), "options alone"),
            (("--upstream", "dns.example"), "is not a resolver"),
            (("--upstream", ""), "--upstream is empty"),
            (("--listen", "127.0.0.1:53", "--upstream", "127.0.0.1"), "it would ask itself"),
            (("--listen", "0.0.0.0:53", "--upstream", GATE4), "it would ask itself"),
            (("--set", "workers"), "expected KEY=VALUE"),
            (("--audit",), "--audit"),
        ],
        ids=lambda value: "_".join(value) if isinstance(value, tuple) else "",
    )
    def test_errors_of_usage(self, lab, agents, arguments, word):
        run = Thin(lab, "dns", POLICY, ()).run(*arguments)
        assert run.returncode == 125 and word in run.stderr and "usage: sallyport-dns" in run.stderr, run

    def test_a_policy_that_is_not_good(self, lab, agents):
        run = Thin(lab, "dns", POLICY.replace("domains", "domain"), DNS).run()
        assert run.returncode == 125 and "policy.yaml:5:" in run.stderr and "did you mean" in run.stderr, run

    def test_a_policy_that_others_can_write(self, lab, agents):
        program = Thin(lab, "dns", POLICY, DNS)
        subprocess.run(["chmod", "666", program.policy_file], check=True)
        run = program.run()
        assert run.returncode == 125 and "writable by" in run.stderr, run

    def test_a_port_that_is_taken(self, thin, lab):
        thin("proxy", POLICY, *PROXY)
        run = Thin(lab, "proxy", POLICY, (*PROXY, "--name", "second")).run()
        assert run.returncode == 125 and f"--> --listen {GATE4}:3128\n" in run.stderr and "Address already in use" in run.stderr, run

    def test_a_low_port_without_privilege(self, lab, agents):
        sh("ip", "netns", "exec", lab.namespaces.host, "sysctl", "-qw", "net.ipv4.ip_unprivileged_port_start=1024")
        run = Thin(lab, "dns", POLICY, ("--listen", f"{GATE4}:53", *UPSTREAM)).run()
        assert run.returncode == 125 and f"--> --listen {GATE4}:53\n" in run.stderr and "CAP_NET_BIND_SERVICE" in run.stderr, run

    def test_one_name_is_one_gateway(self, thin):
        program = thin("proxy", POLICY, *PROXY)
        run = program.run("--listen", f"{GATE4}:3129")
        assert run.returncode == 125 and "--name" in run.stderr, run

    def test_it_comes_back_on_the_same_ports_at_once(self, thin, work):
        program = thin("proxy", POLICY, *PROXY)
        for _ in range(3):
            assert work.curl("-x", f"http://{GATE4}:3128", "http://pkg.test/").status == 0
            began = time.monotonic()
            assert program.stop() == 0
            assert time.monotonic() - began < 8
            program.start()
