"""`sallyport init`: what is written is what deploy/ ships, passes every check there is, and writes over nothing."""

import filecmp
import os
import re
import shutil
import stat
import subprocess

import pytest
import yaml

from small_internet.runner import BUILD, SALLYPORT, TREE

POLICYCTL = f"{BUILD}/bin/policyctl"
SHAPES = ["transparent", "proxy", "cells"]
AGENTS = ["one", "two", "three"]
VARIANTS = [
    *[(f"{shape}", ["--shape", shape]) for shape in SHAPES],
    *[(f"{shape}-agents", ["--shape", shape, "--agents", ",".join(AGENTS)]) for shape in SHAPES],
    *[(f"{shape}-apart", ["--shape", shape, "--unprivileged"]) for shape in SHAPES[:2]],
    *[(f"{shape}-apart-agents", ["--shape", shape, "--unprivileged", "--agents", ",".join(AGENTS)]) for shape in SHAPES[:2]],
]


def run(*arguments, cwd, **options):
    return subprocess.run([SALLYPORT, "init", *arguments], cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20, **options)


def files_below(directory):
    return sorted(os.path.relpath(os.path.join(root, name), directory) for root, _, names in os.walk(directory) for name in names)


def read(path):
    with open(path) as file:
        return file.read()


@pytest.fixture
def directory(tmp_path):
    """Below directories that are the caller's alone: what pytest makes may be anybody's."""
    os.chmod(tmp_path, 0o755)
    return str(tmp_path)


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_written_is_what_is_shipped(directory, shape):
    result = run("compose", "--shape", shape, cwd=directory)
    assert result.returncode == 0, result
    shipped = f"{TREE}/deploy/compose/{shape}"
    assert files_below(directory) == files_below(shipped)
    for name in files_below(directory):
        assert filecmp.cmp(f"{directory}/{name}", f"{shipped}/{name}", shallow=False), name
        assert f"wrote {name}" in result.stdout


@pytest.mark.parametrize("arguments", [v for _, v in VARIANTS], ids=[n for n, _ in VARIANTS])
def test_it_passes_check_and_docker_compose(directory, arguments):
    assert run(*arguments, cwd=directory).returncode == 0
    if "cells" in arguments:
        checked = subprocess.run([POLICYCTL, "check", "sallyport/policy.yaml"], cwd=directory, capture_output=True, text=True)
    else:
        checked = subprocess.run([SALLYPORT, "check", "-c", "sallyport/gateway.yaml"], cwd=directory, capture_output=True, text=True)
    assert checked.returncode == 0, checked
    compose = read(f"{directory}/compose.yaml")
    assert "{{" not in compose and "#end" not in compose and "#each" not in compose
    if shutil.which("docker-compose"):
        config = subprocess.run(["docker-compose", "config"], cwd=directory, capture_output=True, text=True)
        assert config.returncode == 0, config
        services = set(re.findall(r"^  ([a-z0-9-]+):$", config.stdout.split("\nservices:\n")[-1].split("\nversion:")[0], re.M))
        for agent in AGENTS if "--agents" in arguments else []:
            assert agent in services, services
        if "--agents" in arguments:
            assert not services & {"agent", "agent2"}, services
        if "cells" in arguments and "--agents" in arguments:
            assert {f"cell-{a}" for a in AGENTS} <= services


@pytest.mark.parametrize("shape", SHAPES[:2])
def test_apart_each_agent_has_a_network_of_its_own_and_the_gateway_no_privilege(directory, shape):
    assert run("--shape", shape, "--unprivileged", "--agents", "one,two", cwd=directory).returncode == 0
    compose = read(f"{directory}/compose.yaml")
    for wrong in ("cap_add", "network_mode", "privileged: true", 'user: "0:0"'):
        assert wrong not in compose, wrong
    assert compose.count("internal: true") == 2
    for agent, n in (("one", 1), ("two", 2)):
        block = compose.split(f"\n  {agent}:\n")[1].split("\n\n")[0]
        assert f"networks: {{ {agent}: {{ ipv4_address: 172.20.{n}.10 }} }}" in block and f"dns: [172.20.{n}.2]" in block
        assert ("http_proxy: http://172.20." in block) is (shape == "proxy")
    assert "one: { addresses: [172.20.1.10] }" in read(f"{directory}/sallyport/policy.yaml")
    # Hardened as the agents of deploy/ are, line for line.
    shipped = read(f"{TREE}/deploy/compose/{shape}/compose.yaml").split("# Hardened")[1].split("depends_on")[0]
    assert shipped == compose.split("# Hardened")[1].split("depends_on")[0]


BASE = """version: "3.8"
x-base: &base
  image: busybox
  networks: [bots]
services:
  web:
    <<: *base
    depends_on: [db]
  db:
    image: busybox
    networks: { bots: { aliases: [data] }, other: {} }
  batch:
    image: busybox
  lone:
    image: busybox
    network_mode: host
networks:
  bots:
    labels: { team: x }
  other: {}
"""
OVERLAY = ["compose.sallyport.yaml", "sallyport/gateway.yaml", "sallyport/policy.yaml"]


class TestOverlay:
    """`init compose --network`: a gateway for a network of somebody's compose file, which stays as it is."""

    @staticmethod
    def write(directory, text, name="docker-compose.yml"):
        with open(f"{directory}/{name}", "w") as file:
            file.write(text)

    @staticmethod
    def merged(directory, base="docker-compose.yml"):
        if not shutil.which("docker-compose"):
            pytest.skip("docker-compose is not installed")
        config = subprocess.run(["docker-compose", "-f", base, "-f", OVERLAY[0], "config"], cwd=directory, capture_output=True, text=True)
        assert config.returncode == 0, config
        return yaml.safe_load(config.stdout)

    @staticmethod
    def checks(directory):
        checked = subprocess.run([SALLYPORT, "check", "-c", "sallyport/gateway.yaml"], cwd=directory, capture_output=True, text=True)
        assert checked.returncode == 0, checked

    @pytest.mark.parametrize("shape", SHAPES[:2])
    def test_the_services_on_it_are_behind_the_gateway(self, directory, shape):
        self.write(directory, BASE)
        result = run("compose", "--network", "bots", "--shape", shape, cwd=directory)
        assert result.returncode == 0 and "-f docker-compose.yml -f compose.sallyport.yaml up -d" in result.stdout, result
        assert files_below(directory) == sorted([*OVERLAY, "docker-compose.yml"]) and read(f"{directory}/docker-compose.yml") == BASE
        for who in ("`db` is on network `other`", "`lone` has network_mode host"):
            assert who in result.stderr, result
        self.checks(directory)
        config = self.merged(directory)
        network = config["networks"]["bots"]
        assert network["internal"] is True and network["driver_opts"] == {"com.docker.network.bridge.name": "br-bots"}
        assert network["labels"] == {"team": "x"} and network["ipam"]["config"] == [{"subnet": "172.20.0.0/16", "gateway": "172.20.0.1"}]
        assert "interfaces: [br-bots]" in read(f"{directory}/sallyport/gateway.yaml")
        gateway = config["services"]["sallyport"]
        assert gateway["network_mode"] == "host" and gateway["read_only"] and gateway["cap_drop"] == ["ALL"]
        for name in ("web", "db"):
            service = config["services"][name]
            assert service["dns"] == ["172.20.0.1"] and service["depends_on"]["sallyport"] == {"condition": "service_healthy"}, service
            assert (service.get("environment", {}).get("https_proxy") == "http://172.20.0.1:3128") is (shape == "proxy")
        assert "db" in config["services"]["web"]["depends_on"], "its own stays"
        for name in ("batch", "lone"):
            assert "dns" not in config["services"][name] and "sallyport" not in config["services"][name].get("depends_on", {})

    @pytest.mark.parametrize("name", ["compose.yaml", "compose.yml", "docker-compose.yaml"])
    def test_its_own_addresses_and_name_are_taken(self, directory, name):
        """The default network too, whose services name none; addresses of both families, and the bridge that the file says."""
        self.write(directory, """services:
  one: { image: busybox, privileged: true }
  two: { image: busybox, cap_add: [SYS_ADMIN] }
networks:
  default:
    enable_ipv6: true
    driver_opts: { com.docker.network.bridge.name: br0-bots, com.docker.network.driver.mtu: "1400" }
    ipam: { config: [{ subnet: "fd00:30::/64" }, { subnet: 10.9.8.0/24 }] }
""", name)
        result = run("--network", "default", cwd=directory)
        assert result.returncode == 0 and "`one` is privileged" in result.stderr and "`two` has cap_add SYS_ADMIN" in result.stderr, result
        gateway, policy = read(f"{directory}/sallyport/gateway.yaml"), read(f"{directory}/sallyport/policy.yaml")
        assert "addresses: [fd00:30::/64, 10.9.8.0/24], interfaces: [br0-bots]" in gateway and "10.9.8.1:53" in gateway and "172.20" not in gateway
        assert "agents: { addresses: [fd00:30::/64, 10.9.8.0/24] }" in policy
        self.checks(directory)
        network = yaml.safe_load(read(f"{directory}/{OVERLAY[0]}"))["networks"]["default"]
        assert network["driver_opts"]["com.docker.network.driver.mtu"] == "1400"  # a string, or the engine refuses it
        assert network["ipam"]["config"] == [{"subnet": "fd00:30::/64"}, {"subnet": "10.9.8.0/24", "gateway": "10.9.8.1"}]
        config = self.merged(directory, name)
        assert config["networks"]["default"]["enable_ipv6"] is True and {"one", "two", "sallyport"} == set(config["services"])

    def test_only_the_services_that_are_named(self, directory):
        self.write(directory, BASE)
        assert run("--network", "bots", "--agents", "web", cwd=directory).returncode == 0
        assert set(yaml.safe_load(read(f"{directory}/{OVERLAY[0]}"))["services"]) == {"sallyport", "web"}

    @pytest.mark.parametrize(
        "text, arguments, status, word",
        [
            (None, ("--network", "bots"), 1, "no compose.yaml or docker-compose.yml in ."),
            (BASE, ("--network", "bot"), 2, "there is no network `bot`; there are default, bots, other"),
            (BASE, ("--network", "bots", "--agents", "web,wbe"), 2, "there is no service `wbe`; there are web, db, batch, lone"),
            (BASE.replace("  lone:", "  sallyport:"), ("--network", "bots"), 2, "service `sallyport` is there already"),
            (BASE.replace("  other: {}\n", "  other: {}\n  none: {}\n"), ("--network", "none"), 2, "no service is on network `none`"),
            (BASE.replace("labels: { team: x }", "external: true"), ("--network", "bots"), 2, "is external"),
            (BASE.replace("labels: { team: x }", "driver: macvlan"), ("--network", "bots"), 2, "driver `macvlan`"),
            (BASE.replace("labels: { team: x }", "ipam: { config: [{ subnet: '${NET}' }] }"), ("--network", "bots"), 2, "subnet `${NET}`"),
            (BASE.replace("labels: { team: x }", "ipam: { config: [{ subnet: 10.0.0.0/33 }] }"), ("--network", "bots"), 2, "subnet `10.0.0.0/33`"),
            (BASE.replace("labels: { team: x }", "ipam: { config: [{ subnet: 'fd00::/64' }] }"), ("--network", "bots"), 2, "no IPv4 subnet"),
            (BASE.replace("labels: { team: x }", "ipam: { config: [{ subnet: 10.0.0.0/8, gateway: here }] }"), ("--network", "bots"), 2, "gateway `here`"),
            (BASE.replace("labels: { team: x }", "enable_ipv6: true"), ("--network", "bots"), 2, "name them under ipam"),
            (BASE.replace("labels: { team: x }", "driver_opts: { com.docker.network.bridge.name: a-name-of-16-oct }"), ("--network", "bots"), 2, "no name of an interface"),
            ("services: [\n", ("--network", "bots"), 2, "docker-compose.yml:2:"),
            ("just text\n", ("--network", "bots"), 2, "there is no network `bots`; there is `default`"),
            (BASE, ("--network", "bots", "--shape", "cells"), 2, "leave --network out"),
            (BASE, ("--network", "bots", "--unprivileged"), 2, "takes a gateway with NET_ADMIN"),
            (BASE, ("systemd", "--network", "bots"), 2, "is for compose"),
            (BASE, ("--network", ""), 2, "--network is empty"),
        ],
    )
    def test_errors(self, directory, text, arguments, status, word):
        if text is not None:
            self.write(directory, text)
        result = run(*arguments, cwd=directory)
        assert result.returncode == status and word in result.stderr, result
        assert files_below(directory) == (["docker-compose.yml"] if text is not None else [])


class TestSystemd:
    @pytest.mark.parametrize("shape, unit", [("transparent", "sallyport.service"), ("proxy", "sallyport.service"), ("cells", "sallyport-attach@.service")])
    def test_units(self, directory, shape, unit):
        result = run("systemd", "--shape", shape, "--dir", "etc", cwd=directory)
        assert result.returncode == 0, result
        text = read(f"{directory}/etc/systemd/system/{unit}")
        # It starts the program that wrote it.
        assert text.replace(SALLYPORT, "/usr/bin/sallyport") == read(f"{TREE}/deploy/systemd/{unit}")
        if shape == "cells":
            assert filecmp.cmp(f"{directory}/etc/sallyport/agent.yaml", f"{TREE}/deploy/compose/cells/sallyport/policy.yaml", shallow=False)
            return
        for name in ("gateway.yaml", "policy.yaml"):
            assert filecmp.cmp(f"{directory}/etc/sallyport/{name}", f"{TREE}/deploy/compose/{shape}/sallyport/{name}", shallow=False)
        checked = subprocess.run([SALLYPORT, "check", "-c", "etc/sallyport/gateway.yaml"], cwd=directory, capture_output=True, text=True)
        assert checked.returncode == 0, checked

    @pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
    @pytest.mark.parametrize("shape", SHAPES)
    def test_systemd_takes_them(self, directory, shape):
        run("systemd", "--shape", shape, cwd=directory)
        units = f"{directory}/systemd/system"
        names = [n.replace("@.", "@one.") for n in os.listdir(units)]
        for name in os.listdir(units):
            if "@" in name:
                os.rename(f"{units}/{name}", f"{units}/{name.replace('@.', '@one.')}")
        result = subprocess.run(["systemd-analyze", "verify", *(f"{units}/{n}" for n in names)], capture_output=True, text=True)
        wrong = [line for line in result.stderr.splitlines() if any(n in line for n in names)]
        assert not wrong, wrong

    def test_a_policy_for_each_cell(self, directory):
        assert run("systemd", "--shape", "cells", "--agents", "one,two", cwd=directory).returncode == 0
        assert {"sallyport/one.yaml", "sallyport/two.yaml"} <= set(files_below(directory))


class TestWriting:
    def test_nothing_is_written_over(self, directory):
        os.makedirs(f"{directory}/sallyport")
        with open(f"{directory}/sallyport/policy.yaml", "w") as file:
            file.write("mine\n")
        result = run(cwd=directory)
        assert result.returncode == 1 and "already there: sallyport/policy.yaml\n" in result.stderr and "--force" in result.stderr, result
        assert files_below(directory) == ["sallyport/policy.yaml"] and read(f"{directory}/sallyport/policy.yaml") == "mine\n"

    def test_all_that_is_there_is_named(self, directory):
        assert run(cwd=directory).returncode == 0
        result = run(cwd=directory)
        for name in files_below(directory):
            assert name in result.stderr, result

    def test_force(self, directory):
        with open(f"{directory}/compose.yaml", "w") as file:
            file.write("old\n")
        assert run("--force", cwd=directory).returncode == 0
        assert filecmp.cmp(f"{directory}/compose.yaml", f"{TREE}/deploy/compose/transparent/compose.yaml", shallow=False)
        assert not [n for n in files_below(directory) if n.endswith(".new")]

    def test_not_through_a_symbolic_link(self, directory):
        """Not even with --force: the link is replaced, and what it leads to is as it was."""
        with open(f"{directory}/elsewhere", "w") as file:
            file.write("mine\n")
        os.symlink("elsewhere", f"{directory}/compose.yaml")
        assert run(cwd=directory).returncode == 1
        assert run("--force", cwd=directory).returncode == 0
        assert read(f"{directory}/elsewhere") == "mine\n" and not os.path.islink(f"{directory}/compose.yaml")

    def test_a_directory_in_the_way(self, directory):
        os.makedirs(f"{directory}/compose.yaml")
        result = run("--force", cwd=directory)
        assert result.returncode == 1 and files_below(directory) == [], result

    def test_modes_do_not_depend_on_the_umask(self, directory):
        for mask in (0o000, 0o077):
            where = f"{directory}/{mask:o}"
            assert run("--dir", where, cwd=directory, preexec_fn=lambda mask=mask: os.umask(mask)).returncode == 0
            for name in files_below(where):
                assert stat.S_IMODE(os.stat(f"{where}/{name}").st_mode) == 0o644, name
            checked = subprocess.run([SALLYPORT, "check", "-c", f"{where}/sallyport/gateway.yaml"], capture_output=True, text=True)
            assert checked.returncode == 0, checked

    def test_as_a_user_it_says_whose_the_files_have_to_be(self, directory):
        os.chown(directory, 65534, 65534)
        result = run(cwd=directory, preexec_fn=lambda: (os.setgid(65534), os.setuid(65534)))
        assert result.returncode == 0 and "sudo chown -R root:root sallyport" in result.stdout, result
        assert "chown" not in run("--dir", "roots", cwd=directory).stdout

    def test_a_directory_that_cannot_be_written(self, directory):
        result = run(cwd=directory, preexec_fn=lambda: (os.setgid(65534), os.setuid(65534)))
        assert result.returncode == 1 and "Permission denied" in result.stderr, result


@pytest.mark.parametrize(
    "arguments, word",
    [
        (("helm",), "expected compose or systemd"),
        (("compose", "systemd"), "one of compose and systemd"),
        (("--shape", "round"), "expected transparent, proxy or cells"),
        (("--shape", "cells", "--unprivileged"), "needs privilege"),
        (("systemd", "--unprivileged"), "is for compose"),
        (("--agents", "one,one"), "is there twice"),
        (("--agents", "one,"), "is no name"),
        (("--agents", "One"), "is no name"),
        (("--agents", "a: b"), "is no name"),
        (("--agents", "gateway"), "choose another"),
        (("--agents", ""), "--agents is empty"),
        (("--unprivileged", "--agents", ",".join(f"a{i}" for i in range(15))), "at most 14"),
        (("--dir", ""), "--dir is empty"),
        (("--agent", "a"), "did you mean --agents?"),
    ],
    ids=lambda value: "_".join(value)[:40] if isinstance(value, tuple) else "",
)
def test_errors(directory, arguments, word):
    result = run(*arguments, cwd=directory)
    assert result.returncode == 2 and word in result.stderr, result
    assert files_below(directory) == []


def test_the_most_networks_pass_check(directory):
    assert run("--unprivileged", "--agents", ",".join(f"agent-{i:018}" for i in range(14)), cwd=directory).returncode == 0
    checked = subprocess.run([SALLYPORT, "check", "-c", "sallyport/gateway.yaml"], cwd=directory, capture_output=True, text=True)
    assert checked.returncode == 0, checked


def test_help():
    result = run("--help", cwd="/")
    assert result.returncode == 0 and "usage: sallyport init [compose|systemd]" in result.stdout and "kind" not in result.stdout
