"""A small internet in two network namespaces, and a witness that counts what arrives there.

`host`  the machine that runs Sallyport: one public-looking address of each family, a default route, a resolver.
`net`   everything else: every address there is answers; DNS, web, ssh, git, npm, PyPI and echo servers listen on all of them.

Only a test that could reach a server without Sallyport proves something when it can't with it: each suite has a positive
control that reaches the forbidden place from the bare host and sees the witness count it.
"""
