"""The engine itself: containers reach the small internet while nothing of ours is there, so that a zero means something."""

from small_internet import world


def test_a_container_reaches_the_outside(engine, witness):
    with witness.watch() as seen:
        run = engine.docker("run", "--rm", "--dns", world.RESOLVER, "agent", "/usr/bin/curl", "-sS", "--cacert", "/etc/ca.pem", "https://evil.test/", check=False)
    assert run.returncode == 0, run
    assert "small internet" in run.stdout
    assert ("tcp", world.EVIL4, 443) in seen.arrived


def test_the_image_is_small_and_has_no_shell(engine):
    size = int(engine.docker("image", "inspect", "-f", "{{.Size}}", "sallyport").stdout)
    assert size < 64 << 20, size
    run = engine.docker("run", "--rm", "--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "sallyport", "version")
    assert run.stdout.startswith("sallyport "), run
    refused = engine.docker("run", "--rm", "--network", "none", "--entrypoint", "/bin/sh", "sallyport", "-c", "true", check=False)
    assert refused.returncode == 127, refused
