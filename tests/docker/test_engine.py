"""The engine itself: containers reach the small internet while nothing of ours is there, so that a zero means something."""

from small_internet import world


def test_a_container_reaches_the_outside(engine, witness):
    with witness.watch() as seen:
        run = engine.docker("run", "--rm", "--dns", world.RESOLVER, "agent", "/usr/bin/curl", "-sS", "--cacert", "/etc/ca.pem", "https://evil.test/", check=False)
    assert run.returncode == 0, run
    assert "small internet" in run.stdout
    assert ("tcp", world.EVIL4, 443) in seen.arrived


def test_the_hosts_resolver_can_be_heard_on_an_internal_network(engine, witness):
    """Positive control of NFT-09: without a gate, and with nothing said about DNS, the engine passes questions on to it, and they leave."""
    engine.docker("network", "create", "--internal", "plain")
    try:
        with witness.watch() as seen:
            engine.docker("run", "--rm", "--network", "plain", "agent", "nslookup", "leak.evil.test", check=False)
    finally:
        engine.docker("network", "rm", "plain")
    assert "leak.evil.test" in engine.loopback_resolver.asked and "leak.evil.test" in {q.name for q in seen.asked}, (engine.loopback_resolver.asked, seen.asked)


def test_the_image_is_small_and_has_no_shell(engine):
    size = int(engine.docker("image", "inspect", "-f", "{{.Size}}", "sallyport").stdout)
    assert size < 64 << 20, size
    run = engine.docker("run", "--rm", "--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "sallyport", "version")
    assert run.stdout.startswith("sallyport "), run
    refused = engine.docker("run", "--rm", "--network", "none", "--entrypoint", "/bin/sh", "sallyport", "-c", "true", check=False)
    assert refused.returncode == 127, refused
