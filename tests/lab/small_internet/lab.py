"""Lab: the whole small internet of one run, and how to run programs against it."""

from . import world
from .dns import NameServers
from .namespaces import Namespaces
from .runner import Runner
from .servers import Servers
from .witness import Witness


class Lab(Runner):
    def __init__(self):
        self.namespaces = Namespaces()
        try:
            self.dns = NameServers(self.namespaces)
            self.servers = Servers(self.namespaces)
            self.witness = Witness(self.namespaces, self.dns)
        except BaseException:
            self.namespaces.close()
            raise
        super().__init__(self.namespaces, self.servers, world.RESOLVER)

    def close(self):
        self.namespaces.close()
