#!/usr/bin/env python3
"""What one, two and three nodes over one redis-server cost: CPU of presenced and of the engine for each request, and requests a second.

    cargo build --release -p presenced
    python3 bench/nodes/run.py [--presenced target/release/presenced] [--nodes 1 2 3] [--fsync everysec always] [--seconds 5]
    python3 bench/nodes/run.py --replica               # every write waits for one replica (WAIT)
    python3 bench/nodes/run.py --tls                   # nodes talk to the engine by TLS
    python3 bench/nodes/run.py --memory 1000000        # instead: bytes a person in the engine, everybody with one session

Everything is on loopback and on the same cores, the load program wrk included: what counts is CPU, not speed-up. 16 connections for
each node, each of which waits for its answer. With `everysec` presenced is told that the last second may be lost
(`accept_loss = "second"`), unless there is a replica; with `always` nothing is. The engine's CPU is that of the master and its replica. CPU is that of the whole process while the load runs, so following the log, leases and the
append-only file are in it, divided by the requests answered.
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path

TENANT = "84bd8158-6d4d-4958-8b9f-9d6445542f95"
APP = "22553876-f5ab-4529-bffb-cfe50aa89f87"
SECRET = "a-secret-of-the-benchmark"
CONNECTIONS = 16
PEOPLE = 2_000
BATCH = 650
TICKS = os.sysconf("SC_CLK_TCK")
#: An authority, and a certificate of it for this machine.
CERTIFICATES = """
key="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
openssl req -x509 $key -keyout ca.key -out ca.pem -days 2 -subj /CN=benchmark
openssl req $key -keyout server.key -out server.csr -subj /CN=redis
printf 'subjectAltName=IP:127.0.0.1\\n' >server.ext
openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -extfile server.ext -out server.pem -days 2
"""
#: Wire names of presence, alternating: each write of a person is a visible change.
PAIRS = [("Available", "Available"), ("Busy", "InACall")]

GET = """
local number = 0
request = function()
  number = number + 1
  return wrk.format("GET", string.format("/v1.0/users/00000000-0000-4000-8000-%012d/presence", number % PEOPLE))
end
"""
# `change`: what is set alternates with each round through all people; `refresh`: it stays.
SET = """
local threads = 0
function setup(thread) thread:set("first", threads); threads = threads + 1 end
local number = 0
local bodies = {BODIES}
request = function()
  local at = first + number * STEP
  number = number + 1
  local round = math.floor(at / PEOPLE)
  local user = string.format("/v1.0/users/00000000-0000-4000-8000-%012d/presence/setPresence", at % PEOPLE)
  return wrk.format("POST", user, nil, bodies[round % #bodies + 1])
end
"""
COUNT = """
done = function(summary)
  local errors = summary.errors
  io.write(string.format("COUNT %d %d\\n", summary.requests,
    errors.status + errors.connect + errors.read + errors.write + errors.timeout))
end
"""
BATCHES = """
request = function()
  return wrk.format("POST", "/v1.0/communications/getPresencesByUserId", nil, BODY)
end
"""


def person(number):
    return f"00000000-0000-4000-8000-{number:012}"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def until(what, is_true, seconds=60):
    for _ in range(seconds * 20):
        try:
            if is_true():
                return
        except OSError:
            pass
        time.sleep(0.05)
    sys.exit(f"waited in vain for {what}")


def count_of(load):
    """Requests of a load that has ended, and those that failed."""
    lines = load.communicate()[0].splitlines()
    return next([int(count) for count in line.split()[1:]] for line in lines if line.startswith("COUNT"))


def cpu(processes):
    """Seconds of CPU of these processes so far."""
    total = 0
    for process in processes:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


class Fleet:
    """An engine, and nodes over it."""

    def __init__(self, presenced, count, fsync, people, replica=False, tls=False):
        self.folder = Path(tempfile.mkdtemp(prefix="presenced-nodes-"))
        self.processes = []
        self.people = people
        self.tls = tls
        if tls:
            subprocess.run(["sh", "-ec", CERTIFICATES], cwd=self.folder, check=True, capture_output=True)
        # What they are asked at here, and what the nodes use.
        self.engine_port, self.node_ports, self.engine = free_port(), [], []
        self.redis(self.engine_port, fsync)
        if replica:
            self.redis(free_port(), fsync, "--replicaof", f"127.0.0.1 {self.engine_port}", "--repl-diskless-sync-delay", "0")
            until("the replica", lambda: "state=online" in self.info("replication").get("slave0", ""))
        self.accepts = fsync == "everysec" and not replica
        users = "".join(f"{person(number)},p{number}@example.org,P{number}\n" for number in range(people))
        (self.folder / "users.csv").write_text("id,userPrincipalName,displayName\n" + users)
        self.ports = [free_port() for _ in range(count)]
        self.nodes = [self.node(presenced, number) for number in range(count)]
        form = urllib.parse.urlencode({
            "grant_type": "client_credentials", "client_id": APP, "client_secret": SECRET,
            "scope": "https://graph.microsoft.com/.default"}).encode()
        url = f"http://127.0.0.1:{self.ports[0]}/{TENANT}/oauth2/v2.0/token"
        self.token = json.load(urllib.request.urlopen(url, form))["access_token"]

    def redis(self, port, fsync, *settings):
        home = self.folder / f"redis-{port}"
        home.mkdir()
        tls_port = free_port()
        tls = ["--tls-port", str(tls_port), "--tls-cert-file", str(self.folder / "server.pem"), "--tls-key-file", str(self.folder / "server.key"),
               "--tls-ca-cert-file", str(self.folder / "ca.pem"), "--tls-auth-clients", "no"] if self.tls else []
        self.engine.append(self.start(
            "redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(home), "--save", "", "--appendonly", "yes",
            "--appendfsync", fsync, "--auto-aof-rewrite-percentage", "0", *tls, *settings))
        self.node_ports.append(tls_port if self.tls else port)
        until("redis-server", lambda: subprocess.run(
            ["redis-cli", "-p", str(port), "PING"], capture_output=True, text=True).stdout.strip() == "PONG")

    def start(self, *command):
        with open(self.folder / f"log-{len(self.processes)}", "w") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def node(self, presenced, number):
        home = self.folder / f"node-{number}"
        home.mkdir()
        accept = 'accept_loss = "second"' if self.accepts else ""
        authority = f'authority = "{self.folder}/ca.pem"' if self.tls else ""
        engine = ("rediss://" if self.tls else "redis://") + ",".join(f"127.0.0.1:{port}" for port in self.node_ports)
        (home / "secret").write_text(SECRET)
        (home / "presenced.toml").write_text(f"""
data_dir = "data"
store = "{engine}"
public_url = "http://127.0.0.1:{self.ports[0]}"
[redis]
node = "node-{number}"
{accept}
{authority}
[listen]
http = ["127.0.0.1:{self.ports[number]}"]
[issuer]
embedded = true
[[tenant]]
id = "{TENANT}"
user_files = ["../users.csv"]
[[tenant.application]]
id = "{APP}"
secret_file = "secret"
roles = ["Presence.ReadWrite.All"]
""")
        if number:
            # All sign with the keys of the first.
            shutil.copytree(self.folder / "node-0/data/keys", home / "data/keys")
        process = self.start(presenced, "serve", "--config", str(home / "presenced.toml"), "--log", "warn")
        url = f"http://127.0.0.1:{self.ports[number]}/readyz"
        until(f"node {number}: see {self.folder}", lambda: urllib.request.urlopen(url).status == 200)
        return process

    def ask(self, *command):
        return subprocess.run(["redis-cli", "-p", str(self.engine_port), *command],
                              capture_output=True, text=True).stdout.strip()

    def info(self, section):
        lines = self.ask("INFO", section).splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def load(self, script, seconds):
        """Load on all nodes. Answers requests, those that failed, CPU of nodes and engine, and commands of the engine."""
        path = self.folder / "load.lua"
        head = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        lines = "".join(f'wrk.headers["{name}"] = "{value}"\n' for name, value in head.items())
        path.write_text(lines + script + COUNT)
        before = [cpu(self.nodes), cpu(self.engine), int(self.info("stats")["total_commands_processed"])]
        begun = time.monotonic()
        loads = [subprocess.Popen(
            ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(path), f"http://127.0.0.1:{port}"],
            stdout=subprocess.PIPE, text=True) for port in self.ports]
        counts = [count_of(load) for load in loads]
        took = time.monotonic() - begun
        after = [cpu(self.nodes), cpu(self.engine), int(self.info("stats")["total_commands_processed"])]
        requests, failed = (sum(count[place] for count in counts) for place in (0, 1))
        return requests, failed, took, *(late - early for late, early in zip(after, before))

    def stop(self):
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def body(availability, activity):
    return json.dumps({"sessionId": APP, "availability": availability, "activity": activity, "expirationDuration": "PT1H"})


def set_script(people, pairs, step=1):
    bodies = ", ".join(f"'{body(*pair)}'" for pair in pairs)
    return SET.replace("BODIES", bodies).replace("PEOPLE", str(people)).replace("STEP", str(step))


def scripts(people):
    ids = json.dumps({"ids": [person(number) for number in range(BATCH)]})
    return {
        "getPresence": GET.replace("PEOPLE", str(people)),
        "setPresence, refresh": set_script(people, PAIRS[:1]),
        "setPresence, change": set_script(people, PAIRS),
        f"{BATCH} people": BATCHES.replace("BODY", f"'{ids}'"),
    }


def costs(options):
    print("| engine | nodes | request | requests/s | failed | presenced, CPU | engine, CPU | commands |")
    print("|---|---|---|---|---|---|---|---|")
    for fsync in options.fsync:
        for count in options.nodes:
            fleet = Fleet(options.presenced, count, fsync, PEOPLE, options.replica, options.tls)
            engine_is = fsync + (", replica" if options.replica else "") + (", TLS" if options.tls else "")
            try:
                # Everybody has a session, and all is warm.
                fleet.load(set_script(PEOPLE, PAIRS[:1]), 2)
                time.sleep(1)
                before, begun = (cpu(fleet.nodes), cpu(fleet.engine)), time.monotonic()
                time.sleep(options.seconds)
                took = time.monotonic() - begun
                idle = [100 * (now - then) / took for now, then in zip((cpu(fleet.nodes), cpu(fleet.engine)), before)]
                for name, script in scripts(PEOPLE).items():
                    requests, failed, took, nodes, engine, commands = fleet.load(script, options.seconds)
                    print(f"| {engine_is} | {count} | {name} | {requests / took:,.0f} | {failed} | {nodes / requests * 1e6:.0f} µs "
                          f"| {engine / requests * 1e6:.0f} µs | {commands / requests:.1f} |", flush=True)
                print(f"| {engine_is} | {count} | nothing | | | {idle[0]:.1f} % of a core | {idle[1]:.1f} % of a core | |", flush=True)
            finally:
                fleet.stop()


def memory(options):
    """What the engine keeps of each person, after each has set a presence once."""
    people = options.memory
    fleet = Fleet(options.presenced, 1, "everysec", people)
    try:
        before = int(fleet.info("memory")["used_memory"])
        begun = time.monotonic()
        half = people // 2
        script = set_script(people, PAIRS[1:]).replace("local at = first", "local at = FIRST")
        head = f'wrk.headers["Authorization"] = "Bearer {fleet.token}"\nwrk.headers["Content-Type"] = "application/json"\n'
        # Two loads, one half of the people each, which go on where they were.
        at = [0, 0]
        while min(at) < half and time.monotonic() - begun < options.limit:
            loads = []
            for number in range(2):
                name = fleet.folder / f"load-{number}.lua"
                name.write_text(head + script.replace("FIRST", str(number * half + at[number])) + COUNT)
                loads.append(subprocess.Popen(
                    ["wrk", "-t1", "-c32", f"-d{options.seconds}s", "-s", str(name), f"http://127.0.0.1:{fleet.ports[0]}"],
                    stdout=subprocess.PIPE, text=True))
            for number, load in enumerate(loads):
                at[number] += count_of(load)[0]
            print(f"{sum(at)} of {people}", file=sys.stderr)
        keys = fleet.ask("--scan", "--pattern", "presenced:*:users").splitlines()
        there = sum(int(fleet.ask("HLEN", key)) for key in keys)
        after = int(fleet.info("memory")["used_memory"])
        sizes = {}
        for kind in ("users", "wakes", "log", "meta"):
            named = fleet.ask("--scan", "--pattern", f"presenced:*:{kind}").splitlines()
            sizes[kind] = sum(int(fleet.ask("MEMORY", "USAGE", key, "SAMPLES", "0") or 0) for key in named)
        entries = sum(int(fleet.ask("XLEN", key)) for key in fleet.ask("--scan", "--pattern", "presenced:*:log").splitlines())
        print(f"{there} people with one session each, {entries} entries of the log, after {time.monotonic() - begun:.0f} s")
        print(f"used_memory grew by {(after - before) / there:.0f} B a person")
        for kind, size in sizes.items():
            per = f"{size / entries:.0f} B an entry" if kind == "log" else f"{size / there:.0f} B a person"
            print(f"  {kind}: {per}")
    finally:
        fleet.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presenced", default="target/release/presenced")
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--fsync", nargs="+", choices=["everysec", "always"], default=["everysec", "always"])
    parser.add_argument("--replica", action="store_true", help="an engine with a replica, which every write waits for")
    parser.add_argument("--tls", action="store_true", help="nodes talk to the engine by TLS")
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--memory", type=int, metavar="PEOPLE", help="measure bytes a person instead")
    parser.add_argument("--limit", type=int, default=150, help="seconds that --memory goes on writing")
    options = parser.parse_args()
    for tool in ("redis-server", "redis-cli", "wrk"):
        if not shutil.which(tool):
            sys.exit(f"missing: {tool} (Debian's packages redis-server, redis-tools, wrk)")
    if options.tls and not shutil.which("openssl"):
        sys.exit("missing: openssl (Debian's package openssl)")
    options.presenced = str(Path(options.presenced).resolve())
    memory(options) if options.memory else costs(options)


if __name__ == "__main__":
    main()
