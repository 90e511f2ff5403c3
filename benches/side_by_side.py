#!/usr/bin/env python3
"""Holdfast beside PostgreSQL's own tools, both measured in one run on one machine; ratios count, seconds do not.

Usage: benches/side_by_side.py [WORK …] [--tx N] [--scale N] [--holdfast PATH]

WORK is any of: drain base apply restore giant start bytes durable (default: all). Each prints both sides and their ratio.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

from bench import HERE, TABLES, Bench, Server, folder_bytes, run, timed, verdict
from durable import durable

ROUNDS = 3


def drain(bench):
    """Drain of small transactions from a slot: into sealed, durable segments, and into a file by pg_recvlogical."""
    server = bench.server
    bench.load(10)
    configs = [bench.config(f"drain{number}") for number in range(ROUNDS)]
    for number in range(ROUNDS):
        bench.slot(f"peer{number}")
    bench.work(bench.options.tx)
    server.sql("shop", "VACUUM")
    server.sql("shop", "CHECKPOINT")
    ours, theirs = [], []
    for number, config in enumerate(configs):
        out = os.path.join(bench.folder, "stream")
        # Both drain to where the server is when they start: it goes on writing, if only its own checkpoints.
        end = server.sql("shop", "SELECT pg_current_wal_flush_lsn()")
        theirs.append(timed(f"{server.bin}/pg_recvlogical", *server.arguments(), "-d", "shop", f"--slot=peer{number}",
                            "--start", "-f", out, f"--endpos={end}", "--no-loop", "-o", "proto_version=1",
                            "-o", "publication_names=holdfast", "-o", "messages=true"))
        os.remove(out)
        ours.append(timed(bench.holdfast, "-c", config, "-q", "run", "--until-caught-up"))
    print(f"drain of {bench.options.tx} transactions: holdfast {ours}, pg_recvlogical {theirs}")
    verdict("drain", statistics.median(ours), statistics.median(theirs), 1.05)


def base(bench):
    """A full base, beside pg_dump in the directory format with two jobs and compression."""
    bench.load(bench.options.scale)
    config = bench.config("base")
    ours, theirs, dumped = [], [], 0
    for _ in range(ROUNDS):
        folder = os.path.join(bench.folder, "dump")
        theirs.append(timed(f"{bench.server.bin}/pg_dump", *bench.server.arguments(), "-Fd", "-j2", "-Z1", "-f", folder,
                            "shop"))
        dumped = folder_bytes(folder)
        shutil.rmtree(folder)
        ours.append(timed(bench.holdfast, "-c", config, "-q", "backup"))
    print(f"base of pgbench scale {bench.options.scale}: holdfast {ours}, pg_dump {theirs}; "
          f"bytes stored: {bench.store_bytes('base') // ROUNDS}, {dumped}")
    verdict("base", statistics.median(ours), statistics.median(theirs), 1.0)


def subscribe(bench, subscriber):
    """PostgreSQL's own subscription, its copy done, stopped."""
    server = bench.server
    run("createdb", *subscriber.arguments(), "shop")
    run(*subscriber.pgbench("-i", "-s", "10", "-I", "dtp"))
    source = f"host={server.sockets} port={server.port} user=postgres dbname=shop"
    subscriber.sql("shop", f"CREATE SUBSCRIPTION peer CONNECTION '{source}' PUBLICATION peer "
                           "WITH (binary = true, synchronous_commit = off)")
    while subscriber.sql("shop", "SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel") != "t":
        time.sleep(0.1)
    subscriber.sql("shop", "ALTER SUBSCRIPTION peer DISABLE")


def subscription_seconds(bench, subscriber):
    """How long the subscription takes to apply what has been committed by now."""
    server = bench.server
    end = server.sql("shop", "SELECT pg_current_wal_flush_lsn()")
    reached = ("SELECT coalesce(bool_or(replay_lsn >= '%s'), false) FROM pg_stat_replication "
               "WHERE application_name = 'peer'" % end)
    begun = time.monotonic()
    subscriber.sql("shop", "ALTER SUBSCRIPTION peer ENABLE")
    while server.sql("shop", reached) != "t":
        time.sleep(0.05)
    return time.monotonic() - begun


def apply(bench):
    """Applying the log, beside PostgreSQL's own subscription worker, in changed rows a second."""
    server = bench.server
    bench.load(10)
    server.sql("shop", f"CREATE PUBLICATION peer FOR TABLE {', '.join(TABLES)}")
    config = bench.config("apply")
    timed(bench.holdfast, "-c", config, "-q", "run", "--until-caught-up")
    timed(bench.holdfast, "-c", config, "-q", "backup")
    subscriber = Server(os.path.join(bench.folder, "subscriber"), "max_wal_size=8GB", "shared_buffers=512MB")
    try:
        subscribe(bench, subscriber)
        bench.work(bench.options.tx)
        theirs = subscription_seconds(bench, subscriber)
        subscriber.sql("shop", "DROP SUBSCRIPTION peer")
    finally:
        subscriber.stop()
    timed(bench.holdfast, "-c", config, "-q", "run", "--until-caught-up")
    report = os.path.join(bench.folder, "report.json")
    into = f"apply={server.url('restored')}"
    whole = timed(bench.holdfast, "-c", config, "restore", "--to", "latest", "--into", into, "--yes", "--report", report)
    with open(report, encoding="utf-8") as file:
        told = json.load(file)
    rows = bench.options.tx * 4
    ours = applied_seconds(told)
    print(f"apply of {rows} changed rows: holdfast {ours:.2f} s of a restore of {whole:.2f} s, subscription {theirs:.2f} s")
    verdict("apply", rows / ours, rows / theirs, 2.0, "rows/s", smaller_is_better=False)


def restore(bench):
    """A restore to a time with many transactions after the base, beside pgBackRest's restore and WAL replay to it."""
    server = bench.server
    bench.load(10)
    settings, session = pgbackrest_settings(bench, server.data), pgbackrest_session(bench)
    push = " ".join(["pgbackrest", *settings, "--compress-type=lz4", "archive-push", "%p"])
    run(*server.prefix, "pgbackrest", *settings, *session, "stanza-create", cwd="/")
    server.sql("shop", f"ALTER SYSTEM SET archive_command = '{push}'")
    server.sql("shop", "SELECT pg_reload_conf()")
    while server.sql("shop", "SHOW archive_command") != push:
        time.sleep(0.05)
    run(*server.prefix, "pgbackrest", *settings, *session, "--compress-type=lz4", "--process-max=2", "--start-fast",
        "--repo1-retention-full=9", "backup", cwd="/")
    config = bench.config("restore")
    timed(bench.holdfast, "-c", config, "-q", "run", "--until-caught-up")
    timed(bench.holdfast, "-c", config, "-q", "backup")
    bench.work(bench.options.tx)
    target = server.sql("shop", "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS')")
    bench.work(800)
    timed(bench.holdfast, "-c", config, "-q", "run", "--until-caught-up")
    server.sql("shop", "SELECT pg_switch_wal()")
    while server.sql("shop", "SELECT last_archived_wal >= pg_walfile_name(pg_current_wal_lsn() - 1) "
                             "FROM pg_stat_archiver") != "t":
        time.sleep(0.2)
    into = f"restore={server.url('restored')}"
    ours = timed(bench.holdfast, "-c", config, "restore", "--to", f"{target}Z", "--into", into, "--yes")
    theirs, summed = pgbackrest_restore(bench, target)
    if summed != server.checksum("restored"):
        sys.exit("the two restores differ")
    print(f"restore to {target}Z: holdfast {ours:.2f} s, pgBackRest {theirs:.2f} s, and both hold the same rows")
    verdict("restore", ours, theirs, 0.7)


def pgbackrest_settings(bench, data):
    """What every call of pgBackRest is given: a repository of its own in the bench's folder."""
    repository = os.path.join(bench.folder, "pgbackrest")
    os.makedirs(repository, exist_ok=True)
    shutil.chown(repository, "postgres", "postgres")
    return ["--stanza=bench", f"--pg1-path={data}", f"--repo1-path={repository}", "--log-level-file=off",
            "--log-level-console=error", f"--lock-path={repository}/lock"]


def pgbackrest_session(bench):
    """How the commands that ask the server reach it; the others refuse these."""
    return [f"--pg1-socket-path={bench.server.sockets}", f"--pg1-port={bench.server.port}", "--pg1-user=postgres"]


def pgbackrest_restore(bench, target):
    """Seconds until a copy of the cluster has replayed to the target and takes writes, and its tables' sums."""
    copy = Server.copy_of(bench.server, os.path.join(bench.folder, "copy"))
    settings = pgbackrest_settings(bench, copy.data)
    begun = time.monotonic()
    until = target.replace("T", " ") + "+00"
    run(*copy.prefix, "pgbackrest", *settings, "--process-max=2", "--type=time", f"--target={until}",
        "--target-action=promote", "restore", cwd="/")
    copy.start()
    try:
        while copy.sql("postgres", "SELECT pg_is_in_recovery()") != "f":
            time.sleep(0.05)
        seconds = time.monotonic() - begun
        return seconds, copy.checksum("shop")
    finally:
        copy.stop()


def giant(bench):
    """Peak memory of the daemon while one transaction of 2 GB passes, as the kernel accounts it."""
    bench.server.sql("shop", "CREATE TABLE giant (id int PRIMARY KEY, body text)")
    config = bench.config("giant")
    bench.server.sql("shop", "INSERT INTO giant SELECT g, repeat(md5(g::text), 32) FROM generate_series(1, 2000000) g")
    begun = time.monotonic()
    child = subprocess.Popen([bench.holdfast, "-c", config, "-q", "run", "--until-caught-up"])
    _, status, usage = os.wait4(child.pid, 0)
    if status != 0:
        sys.exit("the daemon failed")
    print(f"one transaction of 2 GB in {time.monotonic() - begun:.1f} s, {bench.store_bytes('giant')} bytes stored")
    verdict("giant", usage.ru_maxrss / 1024, 256, 1.0, "MiB")


def start(bench):
    """From the start of the daemon to its first acknowledged position."""
    config = bench.config("start")
    slot = "SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = 'holdfast_start'"
    seconds = []
    for _ in range(ROUNDS):
        bench.server.sql("shop", "SELECT pg_logical_emit_message(true, 'bench', '')")
        before = bench.server.sql("shop", slot)
        begun = time.monotonic()
        daemon = subprocess.Popen([bench.holdfast, "-c", config, "-q", "run"], stderr=subprocess.DEVNULL)
        while bench.server.sql("shop", slot) == before:
            if time.monotonic() - begun > 30:
                sys.exit("nothing was acknowledged within 30 s")
        seconds.append(time.monotonic() - begun)
        daemon.send_signal(signal.SIGTERM)
        daemon.wait()
    print(f"start to first acknowledged position: {seconds}")
    verdict("start", statistics.median(seconds), 1.0, 1.0)


def stored_bytes(bench):
    """Bytes in the store per change, beside pgBackRest's lz4 archive of the write-ahead log of the same load."""
    server = bench.server
    bench.load(10)
    config = bench.config("bytes")
    timed(bench.holdfast, "-c", config, "-q", "run", "--until-caught-up")
    before = bench.store_bytes("bytes")
    begin = server.sql("shop", "SELECT pg_walfile_name(pg_switch_wal())")
    bench.work(bench.options.tx)
    end = server.sql("shop", "SELECT pg_walfile_name(pg_switch_wal())")
    ours_before = time.monotonic()
    timed(bench.holdfast, "-c", config, "-q", "run", "--until-caught-up")
    print(f"drained in {time.monotonic() - ours_before:.1f} s")
    ours = bench.store_bytes("bytes") - before
    theirs = archived_bytes(bench, begin, end)
    changes = bench.options.tx * 4
    print(f"bytes per change: holdfast {ours / changes:.1f}, pgBackRest's lz4 archive {theirs / changes:.1f}")
    verdict("bytes", ours, theirs, 0.3, "bytes")


def archived_bytes(bench, begin, end):
    """What pgBackRest stores for the segments behind `begin`, up to `end`."""
    data = bench.server.data
    settings = pgbackrest_settings(bench, data)
    run(*bench.server.prefix, "pgbackrest", *settings, *pgbackrest_session(bench), "stanza-create", cwd="/")
    for name in sorted(os.listdir(os.path.join(data, "pg_wal"))):
        if len(name) == 24 and begin < name <= end:
            run(*bench.server.prefix, "pgbackrest", *settings, "--compress-type=lz4", "archive-push", f"pg_wal/{name}",
                cwd=data)
    return folder_bytes(os.path.join(bench.folder, "pgbackrest", "archive"), ".lz4")


WORKS = {"drain": drain, "base": base, "apply": apply, "restore": restore, "giant": giant, "start": start,
         "bytes": stored_bytes, "durable": durable}


def applied_seconds(report):
    """The phase in which the log was applied, as the report tells it."""
    return float(dict(report["reports"][0]["phases"])["log"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", nargs="*", choices=[*WORKS, []], default=[])
    parser.add_argument("--tx", type=int, default=200_000)
    parser.add_argument("--scale", type=int, default=50)
    parser.add_argument("--seconds", type=int, default=60, help="how long `durable` looks")
    parser.add_argument("--holdfast", default=os.path.join(HERE, "target/release/holdfast"))
    options = parser.parse_args()
    for name in options.work or WORKS:
        folder = tempfile.mkdtemp(prefix="holdfast-bench-")
        bench = None
        try:
            bench = Bench(options, folder)
            print(f"\n== {name}: {' '.join(WORKS[name].__doc__.split())}", flush=True)
            WORKS[name](bench)
        finally:
            if bench:
                bench.server.stop()
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
