"""What every bench stands on: a throwaway server, a configuration of Holdfast for it, and how a ratio is told."""

import os
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(HERE, "ops"))
from throwaway import TABLES, Server, run  # noqa: E402

__all__ = ["HERE", "TABLES", "Bench", "Server", "folder_bytes", "run", "timed", "verdict"]


def timed(*command, **options):
    begun = time.monotonic()
    done = subprocess.run(command, text=True, capture_output=True, **options)
    if done.returncode != 0:
        sys.exit(f"{command[0]} failed ({done.returncode}):\n{done.stdout}{done.stderr}")
    return time.monotonic() - begun


def verdict(name, ours, theirs, aim, unit="s", smaller_is_better=True):
    ratio = ours / theirs
    kept = ratio <= aim if smaller_is_better else ratio >= aim
    sign = "<=" if smaller_is_better else ">="
    print(f"{name}: holdfast {ours:.3g} {unit}, beside {theirs:.3g} {unit}: ratio {ratio:.3f} "
          f"(aim {sign} {aim}) {'kept' if kept else 'MISSED'}", flush=True)


class Bench:
    def __init__(self, options, folder):
        self.options, self.folder, self.holdfast = options, folder, os.path.abspath(options.holdfast)
        self.server = Server(folder, "max_wal_size=8GB", "max_replication_slots=20", "max_wal_senders=20",
                             "shared_buffers=512MB", "checkpoint_timeout=30min", "archive_mode=on")
        run("createdb", *self.server.arguments(), "shop")

    def load(self, scale):
        run(*self.server.pgbench("-i", "-s", str(scale), "-q"))

    def work(self, transactions):
        run(*self.server.pgbench("-c", "8", "-t", str(transactions // 8)))

    def config(self, name, place=None):
        """A configuration with a store of its own, initialised. All runs share one database."""
        key = place.key if place else f'file = "{self.folder}/key-{name}"'
        store = place.store if place else f'folder = "{self.folder}/store-{name}"'
        path = os.path.join(self.folder, f"{name}.toml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"""[service]
state_dir = "{self.folder}/state-{name}"
[key]
{key}
[[store]]
{store}
[[source]]
name = "{name}"
postgres = "{self.server.url('shop')}"
""")
        timed(self.holdfast, "-c", path, "init")
        return path

    def slot(self, name):
        self.server.sql("shop", f"SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')")

    def store_bytes(self, name):
        return folder_bytes(os.path.join(self.folder, f"store-{name}"))


def folder_bytes(folder, suffix=""):
    total = 0
    for path, _, files in os.walk(folder):
        total += sum(os.path.getsize(os.path.join(path, file)) for file in files if file.endswith(suffix))
    return total
