"""Web, git, ssh, package and echo servers of the small internet, on every address."""

import base64
import collections
import hashlib
import io
import json
import os
import socket
import tarfile
import threading
import time
import zipfile

from . import world
from .dns import _IP_PKTINFO, _destination
from .namespaces import sh

Connection = collections.namedtuple("Connection", "server port client data")
BIG_SIZE = 512 << 20


class Certificates:
    """A certificate authority of this run, and one certificate that lists every web name."""

    def __init__(self, directory):
        self.ca, self._directory = f"{directory}/ca.pem", directory
        self.certificate, self.key = f"{directory}/server.pem", f"{directory}/server.key"
        ca_key = f"{directory}/ca.key"
        sh(
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=small internet CA",
            "-addext",
            "keyUsage=critical,keyCertSign",
            "-keyout",
            ca_key,
            "-out",
            self.ca,
        )
        sh(
            "openssl",
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            "/CN=small internet",
            "-keyout",
            self.key,
            "-out",
            f"{directory}/server.csr",
        )
        with open(f"{directory}/ext", "w") as file:
            file.write(
                "subjectAltName=" + ",".join(f"DNS:{n}" for n in world.WEB_NAMES) + "\nextendedKeyUsage=serverAuth\n"
            )
        sh(
            "openssl",
            "x509",
            "-req",
            "-in",
            f"{directory}/server.csr",
            "-CA",
            self.ca,
            "-CAkey",
            ca_key,
            "-CAcreateserial",
            "-days",
            "2",
            "-extfile",
            f"{directory}/ext",
            "-out",
            self.certificate,
        )
        os.chmod(self.ca, 0o644)


class Servers:
    def __init__(self, namespaces):
        self._namespaces = namespaces
        self._lock = threading.Lock()
        self._connections = []
        state = namespaces.state
        self.share = f"{state}/share"  # what clients may read
        for directory in (self.share, f"{state}/pki", f"{state}/www", f"{state}/ssh"):
            os.makedirs(directory)
        self.certificates = Certificates(f"{state}/pki")
        self.ca = f"{self.share}/ca.pem"
        with open(self.certificates.ca) as source, open(self.ca, "w") as target:
            target.write(source.read())
        self._make_site(f"{state}/www")
        self._start_nginx(state)
        self._start_ssh(state)
        with namespaces.inside(namespaces.net_fd):
            self._start_echo()
        self._wait()

    def connections(self, address=None, port=None):
        """What the echo and raw servers accepted: [Connection(server, port, client, first bytes)]."""
        with self._lock:
            return [c for c in self._connections if address in (None, c.server) and port in (None, c.port)]

    def requests(self):
        """nginx's access log: dicts with host, sni, addr, uri, proto."""
        with open(f"{self._namespaces.state}/access.log") as file:
            return [json.loads(line) for line in file]

    def _make_site(self, www):
        with open(f"{www}/index.html", "w") as file:
            file.write("hello from the small internet\n")
        os.makedirs(f"{www}/upload")
        with open(f"{www}/big", "wb") as file:
            file.truncate(BIG_SIZE)
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": self._namespaces.state,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_NAME": "Lab",
            "GIT_AUTHOR_EMAIL": "lab@example.test",
            "GIT_COMMITTER_NAME": "Lab",
            "GIT_COMMITTER_EMAIL": "lab@example.test",
        }
        work, self.repository = f"{self._namespaces.state}/seed", f"{www}/git/repo.git"
        os.makedirs(work)
        with open(f"{work}/README", "w") as file:
            file.write("a repository of the small internet\n")
        for command in (
            ("init", "-q", "-b", "main", work),
            ("-C", work, "add", "README"),
            ("-C", work, "commit", "-qm", "first"),
            ("clone", "-q", "--bare", work, self.repository),
        ):
            sh("git", *command, env=environment)
        self._make_npm(f"{www}/npm")
        self._make_pypi(f"{www}/pypi")
        self._make_apt(f"{www}/apt")

    @staticmethod
    def _make_npm(directory):
        os.makedirs(f"{directory}/tarballs")
        manifest = {"name": "lab-pad", "version": "1.0.0", "description": "of the small internet", "main": "index.js"}
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            for name, text in (
                ("package.json", json.dumps(manifest)),
                ("index.js", "module.exports = 'lab-pad works';\n"),
            ):
                entry = tarfile.TarInfo(f"package/{name}")
                entry.size = len(text)
                archive.addfile(entry, io.BytesIO(text.encode()))
        with open(f"{directory}/tarballs/lab-pad-1.0.0.tgz", "wb") as file:
            file.write(packed.getvalue())
        manifest["dist"] = {
            "tarball": "https://npm.pkg.test/tarballs/lab-pad-1.0.0.tgz",
            "shasum": hashlib.sha1(packed.getvalue()).hexdigest(),
            "integrity": "sha512-" + base64.b64encode(hashlib.sha512(packed.getvalue()).digest()).decode(),
        }
        with open(f"{directory}/lab-pad", "w") as file:
            json.dump({"name": "lab-pad", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": manifest}}, file)

    @staticmethod
    def _make_apt(directory):
        """A flat repository with one package, unsigned: /apt/ on every name."""
        tree = f"{directory}/tree"
        os.makedirs(f"{tree}/DEBIAN")
        os.makedirs(f"{tree}/usr/share/lab-deb")
        with open(f"{tree}/usr/share/lab-deb/proof", "w") as file:
            file.write("installed from the small internet\n")
        control = "Package: lab-deb\nVersion: 1.0\nArchitecture: all\nMaintainer: Lab <lab@example.test>\nDescription: a package of the lab\n"
        with open(f"{tree}/DEBIAN/control", "w") as file:
            file.write(control)
        name = "lab-deb_1.0_all.deb"
        sh("dpkg-deb", "--root-owner-group", "-b", tree, f"{directory}/{name}")
        with open(f"{directory}/{name}", "rb") as file:
            data = file.read()
        with open(f"{directory}/Packages", "w") as file:
            file.write(f"{control}Filename: ./{name}\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n\n")

    @staticmethod
    def _make_pypi(directory):
        os.makedirs(f"{directory}/simple/lab-wheel")
        name = "lab_wheel-1.0-py3-none-any.whl"
        with zipfile.ZipFile(f"{directory}/{name}", "w") as wheel:
            wheel.writestr("lab_wheel.py", "print('lab-wheel works')\n")
            wheel.writestr("lab_wheel-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: lab-wheel\nVersion: 1.0\n")
            wheel.writestr(
                "lab_wheel-1.0.dist-info/WHEEL",
                "Wheel-Version: 1.0\nGenerator: lab\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            )
            wheel.writestr(
                "lab_wheel-1.0.dist-info/RECORD",
                "lab_wheel.py,,\nlab_wheel-1.0.dist-info/METADATA,,\n"
                "lab_wheel-1.0.dist-info/WHEEL,,\nlab_wheel-1.0.dist-info/RECORD,,\n",
            )
        with open(f"{directory}/simple/lab-wheel/index.html", "w") as file:
            file.write(f'<!DOCTYPE html><html><body><a href="/{name}">{name}</a></body></html>')

    def _start_nginx(self, state):
        listen = (
            "listen 80 {0} reuseport; listen [::]:80 {0} reuseport ipv6only=on; listen 443 ssl http2 {0} reuseport; "
            "listen [::]:443 ssl http2 {0} reuseport ipv6only=on;".format("default_server")
        )
        again = "listen 80; listen [::]:80; listen 443 ssl http2; listen [::]:443 ssl http2;"
        temporary = "".join(
            f"{k}_temp_path {state}/tmp-{k};" for k in ("client_body", "fastcgi", "proxy", "uwsgi", "scgi")
        )
        config = f"""
daemon off; master_process off; user root; pid {state}/nginx.pid; error_log {state}/nginx.log;
events {{ worker_connections 8192; }}
http {{
  log_format lab escape=json '{{"host":"$http_host","sni":"$ssl_server_name","addr":"$server_addr","uri":"$request_uri","proto":"$server_protocol"}}';
  access_log {state}/access.log lab;
  {temporary}
  sendfile on; tcp_nodelay on; default_type application/octet-stream; types {{ text/html html; application/json json; }}
  ssl_certificate {self.certificates.certificate}; ssl_certificate_key {self.certificates.key};
  ssl_protocols TLSv1 TLSv1.1 TLSv1.2 TLSv1.3; ssl_ciphers ALL:@SECLEVEL=0;
  server {{
    {listen}
    server_name _;
    root {state}/www;
    location = /whoami {{ return 200 "host=$http_host sni=$ssl_server_name addr=$server_addr port=$server_port proto=$server_protocol\\n"; }}
    location = /whoami.html {{ return 200 "host=$http_host sni=$ssl_server_name addr=$server_addr proto=$server_protocol\\n"; }}
    location = /http3.html {{  # says that it speaks HTTP/3 too, and asks for more a moment later
      add_header Alt-Svc 'h3=":443"; ma=86400';
      return 200 "<body><script>let n = 0; const more = () => fetch('/whoami?' + n).then(r => r.text()).then(t => {{ document.body.append(t + ' '); if (++n < 5) setTimeout(more, 100); else document.title = 'done' }}); setTimeout(more, 300)</script></body>\n";
    }}
    location = /to-evil {{ return 302 http://evil.test/; }}
    location = /slow {{ alias {state}/www/big; limit_rate 1m; }}
    location = /upload {{ return 200 "got\\n"; client_max_body_size 0; }}
    location /upload/ {{ dav_methods PUT; client_max_body_size 0; }}
    location /git/ {{
      client_max_body_size 0;
      fastcgi_pass unix:{state}/fcgi.sock;
      fastcgi_param SCRIPT_FILENAME /usr/lib/git-core/git-http-backend;
      fastcgi_param GIT_HTTP_EXPORT_ALL 1; fastcgi_param GIT_PROJECT_ROOT {state}/www/git;
      fastcgi_param PATH_INFO $git_path; fastcgi_param QUERY_STRING $query_string; fastcgi_param REQUEST_METHOD $request_method;
      fastcgi_param CONTENT_TYPE $content_type; fastcgi_param CONTENT_LENGTH $content_length; fastcgi_param REMOTE_ADDR $remote_addr;
      fastcgi_param HTTP_CONTENT_ENCODING $http_content_encoding; fastcgi_param HTTP_GIT_PROTOCOL $http_git_protocol;
    }}
  }}
  map $uri $git_path {{ ~^/git(?<rest>/.*)$ $rest; }}
  server {{ {again} server_name npm.pkg.test; root {state}/www/npm; default_type application/json; }}
  server {{ {again} server_name pypi.pkg.test; root {state}/www/pypi; index index.html; }}
}}
"""
        with open(f"{state}/nginx.conf", "w") as file:
            file.write(config)
        environment = {"PATH": os.environ["PATH"], "HOME": state, "GIT_CONFIG_NOSYSTEM": "1"}
        self._namespaces.spawn(
            self._namespaces.net_fd, ["/usr/sbin/fcgiwrap", "-c", "2", "-s", f"unix:{state}/fcgi.sock"], env=environment
        )
        self._namespaces.spawn(self._namespaces.net_fd, ["/usr/sbin/nginx", "-p", state, "-c", f"{state}/nginx.conf"])

    def _start_ssh(self, state):
        directory = f"{state}/ssh"
        sh("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{directory}/host")
        sh("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{directory}/client")
        self.ssh_key = f"{directory}/client"  # runner.py gives each client its own copy: ssh wants it private
        with open(f"{directory}/host.pub") as public, open(f"{self.share}/known_hosts", "w") as known:
            known.write("* " + public.read())
        os.makedirs("/run/sshd", exist_ok=True)
        with open(f"{directory}/config", "w") as file:
            file.write(
                f"Port 22\nHostKey {directory}/host\nAuthorizedKeysFile {directory}/client.pub\nStrictModes no\nUsePAM no\n"
                "PermitRootLogin prohibit-password\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPrintMotd no\n"
                f"PidFile none\nUseDNS no\nMaxStartups 1000\nSetEnv GIT_CONFIG_NOSYSTEM=1 HOME={state}\n"
            )
        self._namespaces.spawn(
            self._namespaces.net_fd, ["/usr/sbin/sshd", "-D", "-E", f"{directory}/log", "-f", f"{directory}/config"]
        )

    def _start_echo(self):
        raw = [
            (family, address, port)
            for family, address in ((socket.AF_INET, world.RAW4), (socket.AF_INET6, world.RAW6))
            for port in (80, 443)
        ]
        anywhere = [
            (family, address, port)
            for family, address in ((socket.AF_INET, ""), (socket.AF_INET6, "::"))
            for port in world.ECHO_PORTS
        ]
        for family, address, port in raw + anywhere:
            listener = socket.socket(family, socket.SOCK_STREAM)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind((address, port))
            listener.listen(256)
            threading.Thread(target=self._accept, args=(listener, port), daemon=True).start()
        for port in world.UDP_ECHO_PORTS:
            for family in (socket.AF_INET, socket.AF_INET6):
                udp = socket.socket(family, socket.SOCK_DGRAM)
                if family == socket.AF_INET:
                    udp.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
                else:
                    udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                    udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
                udp.bind(("::" if family == socket.AF_INET6 else "", port))
                threading.Thread(target=self._echo_udp, args=(udp, family), daemon=True).start()

    def _accept(self, listener, port):
        while True:
            connection, client = listener.accept()
            threading.Thread(target=self._echo, args=(connection, port, client[0]), daemon=True).start()

    def _echo(self, connection, port, client):
        note = len(self._connections)
        with self._lock:
            note = len(self._connections)
            self._connections.append(Connection(connection.getsockname()[0], port, client, b""))
        with connection:
            try:
                if port == world.BANNER_PORT:
                    connection.sendall(world.BANNER)
                while data := connection.recv(65536):
                    with self._lock:
                        seen = self._connections[note]
                        if len(seen.data) < 1 << 20:
                            self._connections[note] = seen._replace(data=seen.data + data)
                    connection.sendall(data)
            except OSError:
                pass

    @staticmethod
    def _echo_udp(udp, family):
        while True:
            message, ancillary, _, client = udp.recvmsg(65535, 256)
            try:
                udp.sendmsg([message], [_destination(family, ancillary)[1]], 0, client)
            except OSError:
                pass

    def _wait(self):
        """Until each real server accepts a connection over both families."""
        deadline = time.monotonic() + 10
        for family, address, port in (
            (f, a, p) for f, a in ((socket.AF_INET, world.GOOD4), (socket.AF_INET6, world.GOOD6)) for p in (22, 80, 443)
        ):
            while True:
                with self._namespaces.inside(self._namespaces.host_fd), socket.socket(family) as client:
                    client.settimeout(0.2)
                    if client.connect_ex((address, port)) == 0:
                        break
                if time.monotonic() > deadline:
                    raise RuntimeError(f"no server on port {port}; see {self._namespaces.state}")
                time.sleep(0.01)
