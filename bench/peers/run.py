#!/usr/bin/env python3
"""presenced and servers that people would pick instead, side by side: the same job, the same machine, the same run.

    python3 bench/peers/run.py [--presenced target/release/presenced] [--rounds 3] [--seconds 2] [PEER...]

The job: set my presence, read somebody's presence. 64 connections, each waiting for its answer. Rounds alternate between the
servers. Peers come from public packages: Mosquitto and Prosody from Debian (`apt-get install mosquitto prosody`, done here when
this runs as root), Prism from npm, Synapse from PyPI. What cannot be had is said and left out. Everything listens on loopback.

What is not the same: Mosquitto and Prosody keep nothing on disk that presenced keeps on disk before it answers; Prism keeps
nothing at all; Synapse keeps presence in memory. Prosody pushes presence to those on a roster, so there is nothing to ask for.
"""

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
CONNECTIONS = 64
PEOPLE = 1_000
TENANT = "84bd8158-6d4d-4958-8b9f-9d6445542f95"
APP = "22553876-f5ab-4529-bffb-cfe50aa89f87"


class Unavailable(Exception):
    """A peer that cannot be had here, and why."""


def person(number):
    return f"00000000-0000-4000-8000-{number:012}"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode:
        raise Unavailable(f"{' '.join(map(str, command[:3]))}: {(done.stderr or done.stdout).strip()[-300:]}")
    return done.stdout


def program(name, package=None):
    """A program of the system; its package is installed when that is allowed."""
    path = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin")
    if not path and package and os.geteuid() == 0 and shutil.which("apt-get"):
        run("apt-get", "install", "-y", "--no-install-recommends", package,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"})
        path = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin")
    if not path:
        raise Unavailable(f"{name} is not installed")
    return path


class Peer:
    protocol, token, set, get = "http", "", "", ""
    #: How many people are brought online to see what each takes; none where that means nothing.
    online = 0

    def __init__(self, folder, arguments):
        self.folder, self.arguments, self.port = folder, arguments, free_port()
        folder.mkdir(parents=True)

    def start(self, *command, **options):
        log = open(self.folder / "log", "w")
        self.process = subprocess.Popen([str(part) for part in command], stdout=log, stderr=log, **options)
        deadline = time.monotonic() + 90
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise Unavailable((self.folder / "log").read_text()[-300:] or "it does not start")
                time.sleep(0.1)

    def stop(self):
        if getattr(self, "process", None):
            self.process.terminate()
            self.process.wait()

    def processes(self):
        """The server's own and those it has started."""
        found, waiting = [], [self.process.pid]
        while waiting:
            pid = waiting.pop()
            found.append(pid)
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                waiting += map(int, task.read_text().split())
        return found

    def resident(self):
        lines = [line for pid in self.processes() for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
        return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))

    def cpu(self):
        fields = [Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split() for pid in self.processes()]
        return sum(int(field[11]) + int(field[12]) for field in fields) / os.sysconf("SC_CLK_TCK")


class Presenced(Peer):
    """Durable: each set is on disk before it is answered. Tokens are verified."""

    online = 20_000
    set = 'POST|/v1.0/users/{user}/presence/setPresence|{"sessionId":"' + APP + '",{pair},"expirationDuration":"PT1H"}'
    get = "GET|/v1.0/users/{user}/presence|"

    def prepare(self):
        binary = Path(self.arguments.presenced)
        if not binary.exists():
            raise Unavailable(f"{binary} is not there: cargo build --release -p presenced")
        (self.folder / "secret").write_text("a-secret-of-the-benchmark\n")
        users = "".join(f"{person(n)},person{n}@presence.example\n" for n in range(self.online))
        (self.folder / "users.csv").write_text("id,userPrincipalName\n" + users)
        (self.folder / "presenced.toml").write_text(f"""
            data_dir = "data"
            public_url = "http://localhost:{self.port}"
            listen.http = ["127.0.0.1:{self.port}"]
            issuer.embedded = true
            [[tenant]]
            id = "{TENANT}"
            user_files = ["users.csv"]
            [[tenant.application]]
            id = "{APP}"
            secret_file = "secret"
            roles = ["Presence.ReadWrite.All"]
        """)
        self.start(binary, "serve", "--config", self.folder / "presenced.toml", "--log", "warn")
        form = urllib.parse.urlencode({
            "grant_type": "client_credentials", "client_id": APP, "client_secret": "a-secret-of-the-benchmark",
            "scope": "https://graph.microsoft.com/.default"}).encode()
        url = f"http://127.0.0.1:{self.port}/{TENANT}/oauth2/v2.0/token"
        self.token = json.load(urllib.request.urlopen(url, form))["access_token"]


class Mosquitto(Peer):
    """A retained message for each person, acknowledged (QoS 1), in memory."""

    protocol, online = "mqtt", 20_000

    def prepare(self):
        binary = program("mosquitto", "mosquitto")
        (self.folder / "mosquitto.conf").write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence false\nset_tcp_nodelay true\n")
        self.start(binary, "-c", self.folder / "mosquitto.conf")


class Prosody(Peer):
    """XMPP, anonymous, no TLS, in memory; a person is a connection. Setting is a presence stanza and its own reflection."""

    protocol, online = "xmpp", 1_000
    get = None

    def prepare(self):
        binary = program("prosody", "prosody")
        (self.folder / "prosody.cfg.lua").write_text(f"""
            run_as_root = true; daemonize = false; pidfile = "{self.folder}/pid"; data_path = "{self.folder}"
            modules_enabled = {{ "roster", "saslauth", "disco", "presence" }}; modules_disabled = {{ "s2s", "offline" }}
            c2s_ports = {{ {self.port} }}; c2s_interfaces = {{ "127.0.0.1" }}; s2s_ports = {{}}; http_ports = {{}}; https_ports = {{}}
            c2s_require_encryption = false; allow_unencrypted_plain_auth = true; storage = "memory"
            limits = {{}}; log = {{ error = "*console" }}
            VirtualHost "localhost"
                authentication = "anonymous"
        """)
        self.start(binary, "--config", self.folder / "prosody.cfg.lua", "-F")


class Prism(Peer):
    """A mock of an OpenAPI description of the two operations. It keeps nothing."""

    set = 'POST|/users/{user}/presence/setPresence|{"sessionId":"x",{pair},"expirationDuration":"PT1H"}'
    get = "GET|/users/{user}/presence|"

    def prepare(self):
        npm, node = program("npm"), program("node")
        place = self.arguments.cache / "prism"
        if not (place / "node_modules/@stoplight/prism-cli").exists():
            place.mkdir(parents=True, exist_ok=True)
            run(npm, "install", "--prefix", place, "--no-audit", "--no-fund", "@stoplight/prism-cli@5.14.2")
        string = {"type": "string"}
        presence = {"type": "object", "properties": {"id": string, "availability": string, "activity": string},
                    "example": {"id": person(1), "availability": "Available", "activity": "Available"}}
        user = {"name": "user", "in": "path", "required": True, "schema": string}
        answers = {"200": {"description": "ok", "content": {"application/json": {"schema": presence}}}}
        body = {"content": {"application/json": {"schema": {"type": "object"}}}}
        (self.folder / "api.json").write_text(json.dumps({
            "openapi": "3.0.3", "info": {"title": "presence", "version": "1"}, "paths": {
                "/users/{user}/presence": {"get": {"parameters": [user], "responses": answers}},
                "/users/{user}/presence/setPresence": {
                    "post": {"parameters": [user], "requestBody": body, "responses": {"200": {"description": "ok"}}}}}}))
        self.start(node, place / "node_modules/@stoplight/prism-cli/dist/index.js", "mock", "-h", "127.0.0.1", "-p", self.port,
                   "-v", "error", self.folder / "api.json")


class Synapse(Peer):
    """Matrix, one process with SQLite, which is what it comes with; limits of requests raised. One person sets and reads."""

    def prepare(self):
        place = self.arguments.cache / "synapse"
        python = place / "bin/python"
        if not python.exists():
            run(sys.executable, "-m", "venv", place)
            run(python, "-m", "pip", "install", "-q", "matrix-synapse==1.163.2")
        run(python, "-m", "synapse.app.homeserver", "--server-name", "localhost", "--config-path", "homeserver.yaml",
            "--generate-config", "--report-stats=no", cwd=self.folder)
        config = self.folder / "homeserver.yaml"
        limit = "{per_second: 1000000, burst_count: 1000000}"
        config.write_text(config.read_text().replace("port: 8008", f"port: {self.port}") + f"""
enable_registration: true
enable_registration_without_verification: true
presence: {{enabled: true}}
rc_message: {limit}
rc_registration: {limit}
rc_presence: {{per_user: {limit}}}
rc_login: {{address: {limit}, account: {limit}, failed_attempts: {limit}}}
""")
        self.start(python, "-m", "synapse.app.homeserver", "-c", config, cwd=self.folder)
        body = json.dumps({"username": "ana", "password": "a-password", "auth": {"type": "m.login.dummy"}}).encode()
        url = f"http://127.0.0.1:{self.port}/_matrix/client/v3/register"
        self.token = json.load(urllib.request.urlopen(url, body))["access_token"]
        status = "/_matrix/client/v3/presence/%40ana%3Alocalhost/status"
        self.set = f'PUT|{status}|{{"presence":"online","status_msg":"{{n}}"}}'
        self.get = f"GET|{status}|"


PEERS = {"presenced": Presenced, "mosquitto": Mosquitto, "prosody": Prosody, "prism": Prism, "synapse": Synapse}


def load(binary, peer, kind, people, seconds):
    command = [binary, peer.protocol, f"127.0.0.1:{peer.port}", kind, CONNECTIONS, seconds, people, peer.token, peer.set or "",
               peer.get or ""]
    return [str(part) for part in command]


def bring_online(binary, peer):
    """Bytes of the server's memory for each of many people who are online."""
    before = peer.resident()
    filler = subprocess.Popen(load(binary, peer, "fill", peer.online, 0), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    filled = json.loads(filler.stdout.readline())
    time.sleep(0.5)
    each = (peer.resident() - before) / peer.online
    filler.communicate("")
    return each if not filled["failed"] else None


def measure(arguments, binary, root):
    peers, found = {}, {}
    try:
        for name in arguments.peers:
            peer = PEERS[name](root / name, arguments)
            try:
                peer.prepare()
            except (Unavailable, OSError) as reason:
                peer.stop()
                print(f"{name} is left out: {reason}", flush=True)
                continue
            peers[name] = peer
            found[name] = {"idle": peer.resident(), "each": None, "set": [], "get": []}
        for name, peer in peers.items():
            if peer.online:
                found[name]["each"] = bring_online(binary, peer)
        for _ in range(arguments.rounds):
            for name, peer in peers.items():
                for kind in ("set", "get"):
                    if kind == "get" and peer.get is None:
                        continue
                    before = peer.cpu()
                    one = json.loads(run(*load(binary, peer, kind, PEOPLE, arguments.seconds)).splitlines()[-1])
                    one["cpu"] = (peer.cpu() - before) * 1e6 / max(one["operations"], 1)
                    found[name][kind].append(one)
    finally:
        for peer in peers.values():
            peer.stop()
    return found


def cell(rounds):
    if not rounds:
        return "-"
    rates = [one["operations"] / one["secs"] for one in rounds]
    failed = sum(one["failed"] + one["broken"] for one in rounds)
    text = f"{statistics.median(rates):,.0f} [{min(rates):,.0f}-{max(rates):,.0f}]"
    text += f" | {statistics.median(one['p99'] for one in rounds) / 1000:.1f} ms | {statistics.median(one['cpu'] for one in rounds):.0f} µs"
    return text + (f" ({failed} failed)" if failed else "")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("peers", nargs="*", metavar="PEER", help=f"of {', '.join(PEERS)}; all without")
    parser.add_argument("--presenced", default="target/release/presenced")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "presenced-peers",
                        help="where what npm and pip install stays")
    arguments = parser.parse_args()
    arguments.peers = arguments.peers or list(PEERS)
    with tempfile.TemporaryDirectory() as root:
        root = Path(root)
        binary = root / "load"
        subprocess.run(["rustc", "--edition", "2024", "-O", HERE / "load.rs", "-o", binary], check=True)
        print(f"load before: {os.getloadavg()[0]:.1f}; {os.cpu_count()} processors, {CONNECTIONS} connections, "
              f"{arguments.rounds} rounds of {arguments.seconds} s", flush=True)
        found = measure(arguments, binary, root)
    print("| server | set/s | p99 | CPU each | read/s | p99 | CPU each | idle | a person online |\n|---|---|---|---|---|---|---|---|---|")
    for name, row in found.items():
        each = "-" if row["each"] is None else f"{row['each']:,.0f} B"
        read = cell(row["get"]) if row["get"] else "- | - | -"
        print(f"| {name} | {cell(row['set'])} | {read} | {row['idle'] / 2**20:.0f} MiB | {each} |")


if __name__ == "__main__":
    main()
