"""Private services and replicas of Keydesk, started in a temporary directory and stopped by process id."""

import base64
import glob
import http.client
import os
import pwd
import random
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import time

# Linux gives outgoing connections ports from 32768 on; a stopped replica must find its port free again.
PORTS = range(18000, 30000)
READY_WITHIN = 15
STOP_WITHIN = 20


def free_port():
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def signal_pid(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


class Postgres:
    """A private PostgreSQL. Root hands it to the user postgres, because it refuses to run as root."""

    def __init__(self, work):
        self.bin = sorted(glob.glob("/usr/lib/postgresql/*/bin"))[-1]
        self.data, self.port = f"{work}/postgres", free_port()
        self.url = f"postgres://keydesk@127.0.0.1:{self.port}/postgres"
        os.chmod(work, 0o711)
        os.mkdir(self.data)
        self.prefix = []
        if os.getuid() == 0:
            os.chown(self.data, pwd.getpwnam("postgres").pw_uid, -1)
            self.prefix = ["runuser", "-u", "postgres", "--"]
        self._run(
            "initdb", "-D", self.data, "-U", "keydesk", "--auth=trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"
        )
        self.start()

    def _run(self, tool, *arguments):
        subprocess.run([*self.prefix, f"{self.bin}/{tool}", *arguments], check=True, stdout=subprocess.DEVNULL, cwd="/")

    def start(self):
        # Without fsync a crash of PostgreSQL still loses nothing, because the machine does not crash.
        options = (
            f"-c listen_addresses=127.0.0.1 -c port={self.port} -c unix_socket_directories= "
            "-c max_connections=200 -c fsync=off -c log_lock_waits=on -c log_line_prefix='%m [%p] '"
        )
        self._run("pg_ctl", "-D", self.data, "-w", "-t", "60", "-l", f"{self.data}/log", "-o", options, "start")

    def crash(self):
        self._run("pg_ctl", "-D", self.data, "-w", "-m", "immediate", "stop")

    def children(self):
        with open(f"{self.data}/postmaster.pid") as file:
            postmaster = int(file.readline())
        pids = []
        for stat in glob.glob("/proc/[0-9]*/stat"):
            try:
                with open(stat) as file:
                    name_end = file.read().rsplit(")", 1)
            except OSError:
                continue
            if int(name_end[1].split()[1]) == postmaster:
                pids.append(int(stat.split("/")[2]))
        return pids

    def query(self, sql):
        command = [
            f"{self.bin}/psql",
            "-h",
            "127.0.0.1",
            "-p",
            str(self.port),
            "-U",
            "keydesk",
            "-d",
            "postgres",
            "-At",
            "-F",
            "\t",
            "-c",
            sql,
        ]
        output = subprocess.run(command, check=True, capture_output=True, text=True, cwd="/").stdout
        return [line.split("\t") for line in output.splitlines()]

    def stop(self):
        if os.path.exists(f"{self.data}/postmaster.pid"):
            for pid in self.children():
                signal_pid(pid, signal.SIGCONT)
            self.crash()


class Valkey:
    """A private Valkey or Redis that keeps nothing on disk."""

    def __init__(self, work):
        self.binary = shutil.which("valkey-server") or shutil.which("redis-server")
        if not self.binary:
            raise SystemExit("Install valkey-server or redis-server.")
        self.work, self.port, self.process = work, free_port(), None
        self.url = f"redis://127.0.0.1:{self.port}"
        self.start()

    def start(self):
        command = [
            self.binary,
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
            "--dir",
            self.work,
        ]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def kill(self):
        signal_pid(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def pause(self, seconds):
        signal_pid(self.process.pid, signal.SIGSTOP)
        time.sleep(seconds)
        signal_pid(self.process.pid, signal.SIGCONT)


class Replica:
    """One Keydesk process, which keeps its number, port and directory through restarts."""

    def __init__(self, cluster, number):
        self.cluster, self.number, self.port = cluster, number, free_port()
        self.process = None
        # When each process that answered on this port was started.
        self.starts = []

    def start(self):
        environment = self.cluster.environment(self.number)
        environment["KEYDESK_LISTEN"] = f"127.0.0.1:{self.port}"
        log = open(f"{self.cluster.work}/replica-{self.number}.log", "ab")
        self.starts.append(time.monotonic())
        self.process = subprocess.Popen([self.cluster.binary, "serve"], env=environment, stdout=log, stderr=log)
        log.close()

    def signal(self, number):
        signal_pid(self.process.pid, number)

    def kill(self):
        self.signal(signal.SIGKILL)
        self.process.wait()

    def terminate(self):
        """Stops it by SIGTERM. Returns its exit status and how long that took."""
        began = time.monotonic()
        self.signal(signal.SIGTERM)
        try:
            status = self.process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            self.kill()
            status = "none, so it was killed"
        return status, time.monotonic() - began

    def is_ready(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except OSError:
            return False
        except http.client.HTTPException:
            return False
        finally:
            connection.close()

    def await_ready(self, patience):
        """Returns after how many seconds it was ready; None if it was not in time."""
        began = time.monotonic()
        while time.monotonic() - began < patience:
            if self.is_ready():
                return time.monotonic() - began
            time.sleep(0.05)
        return None


class Cluster:
    """A database, a Valkey and the replicas."""

    def __init__(self, binary, database, replicas):
        self.binary, self.database = binary, database
        self.work = tempfile.mkdtemp(prefix="keydesk-faults-")
        self.sqlite_file = f"{self.work}/data/keydesk.sqlite3"
        self.secret = base64.b64encode(os.urandom(32)).decode()
        self.postgres = self.valkey = None
        self.replicas = [Replica(self, number) for number in range(replicas)]

    def start(self):
        if self.database == "postgres":
            self.postgres = Postgres(self.work)
        self.valkey = Valkey(self.work)
        owner = ["--org", "Faults", "--name", "Ada", "--email", "ada@example.com", "--password-stdin"]
        self.command("setup", *owner, input="correct horse battery staple 42")
        made = ["--org", "faults", "--name", "load", "--scope", "admin", "--requests-per-minute", "1000000"]
        admin = self.command("key", "create", *made).stdout.strip()
        for replica in self.replicas:
            replica.start()
        for replica in self.replicas:
            if replica.await_ready(60) is None:
                raise SystemExit(f"Replica {replica.number} does not become ready; see {self.work}.")
        return admin

    def environment(self, number):
        directory = f"{self.work}/data" if self.database == "sqlite" else f"{self.work}/data-{number}"
        settings = {
            "KEYDESK_DATA_DIR": directory,
            "KEYDESK_SECRET": self.secret,
            "KEYDESK_VALKEY_URL": self.valkey.url,
            "KEYDESK_DRAIN": "0s",
            "KEYDESK_STOP_TIMEOUT": "5s",
            "KEYDESK_LOG": os.environ.get("KEYDESK_LOG", "warn"),
        }
        if self.postgres:
            settings["KEYDESK_DATABASE_URL"] = self.postgres.url
        kept = {name: value for name, value in os.environ.items() if not name.startswith("KEYDESK_")}
        return kept | settings

    def command(self, *arguments, input=None, check=True):
        environment = self.environment("command")
        return subprocess.run(
            [self.binary, *arguments], env=environment, input=input, check=check, capture_output=True, text=True
        )

    def query(self, sql):
        """Rows of texts. `HEX(column)` stands for the hexadecimal digits of an identifier, in capitals."""
        if self.postgres:
            return self.postgres.query(re.sub(r"HEX\((\w+)\)", r"upper(encode(\1, 'hex'))", sql))
        connection = sqlite3.connect(self.sqlite_file, timeout=10)
        try:
            return [[str(value) for value in row] for row in connection.execute(sql)]
        finally:
            connection.close()

    def stop(self):
        for replica in self.replicas:
            if replica.process and replica.process.poll() is None:
                replica.kill()
        if self.valkey and self.valkey.process.poll() is None:
            self.valkey.kill()
        if self.postgres:
            self.postgres.stop()

    def remove(self):
        shutil.rmtree(self.work, ignore_errors=True)
