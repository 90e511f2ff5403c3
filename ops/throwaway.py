"""A throwaway PostgreSQL server for the demo and the benches: in a temporary folder, on a free port, stopped at the end."""

import contextlib
import glob
import os
import pwd
import shutil
import socket
import subprocess
import sys

TABLES = ["pgbench_accounts", "pgbench_branches", "pgbench_history", "pgbench_tellers"]


def run(*command, **options):
    done = subprocess.run(command, text=True, capture_output=True, **options)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed ({done.returncode}):\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def tools():
    """The folder of the newest PostgreSQL's programs."""
    folders = glob.glob("/usr/lib/postgresql/*/bin/initdb")
    if not folders:
        sys.exit("no PostgreSQL server here; run ops/setup")
    return os.path.dirname(max(folders, key=lambda path: int(path.split("/")[4])))


def free_port():
    with contextlib.closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Server:
    """A throwaway PostgreSQL, as the user postgres where we are root (it refuses to run as root)."""

    def __init__(self, folder, *settings):
        self.bin, self.data, self.sockets = tools(), os.path.join(folder, "data"), os.path.join(folder, "sockets")
        self.settings = settings
        os.makedirs(self.sockets)
        self.prefix = []
        if os.getuid() == 0:
            owner = pwd.getpwnam("postgres")
            os.chmod(folder, 0o755)
            os.makedirs(self.data)
            for path in (self.data, self.sockets):
                os.chown(path, owner.pw_uid, owner.pw_gid)
            self.prefix = ["runuser", "-u", "postgres", "--"]
        self.port = free_port()
        run(*self.prefix, f"{self.bin}/initdb", "-D", self.data, "-U", "postgres", "-A", "trust", cwd="/")
        self.start()

    @classmethod
    def copy_of(cls, server, folder):
        """A server whose data folder is empty yet: somebody will put a copy of another one's there."""
        copy = cls.__new__(cls)
        copy.bin, copy.prefix, copy.settings = server.bin, server.prefix, server.settings
        copy.data, copy.sockets = os.path.join(folder, "data"), os.path.join(folder, "sockets")
        for path in (copy.data, copy.sockets):
            os.makedirs(path, mode=0o700)
            if server.prefix:
                shutil.chown(path, "postgres", "postgres")
        copy.port = free_port()
        return copy

    def start(self):
        fixed = [f"-p {self.port}", f"-k {self.sockets}", "-c listen_addresses=", "-c wal_level=logical"]
        settings = " ".join(fixed + [f"-c {setting}" for setting in self.settings])
        log = os.path.join(self.sockets, "log")
        run(*self.prefix, f"{self.bin}/pg_ctl", "-D", self.data, "-o", settings, "-l", log, "-w", "start", cwd="/")

    def url(self, database):
        return f"postgres://postgres@localhost:{self.port}/{database}?host={self.sockets}"

    def arguments(self):
        return ["-h", self.sockets, "-p", str(self.port), "-U", "postgres"]

    def sql(self, database, text):
        return run(f"{self.bin}/psql", *self.arguments(), "-d", database, "-XAtqc", text)

    def pgbench(self, *arguments, database="shop"):
        return [f"{self.bin}/pgbench", *self.arguments(), "-n", *arguments, database]

    def checksum(self, database):
        """Rows and an order-free sum of every table, by PostgreSQL itself: no code of ours takes part."""
        one = "SELECT '{0}', count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0) FROM {0} t"
        return self.sql(database, " UNION ALL ".join(one.format(table) for table in TABLES) + " ORDER BY 1")

    def stop(self):
        run(*self.prefix, f"{self.bin}/pg_ctl", "-D", self.data, "-m", "fast", "-w", "stop", cwd="/")
