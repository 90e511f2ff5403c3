"""From a commit to its being durable in a bucket, as the source's own server sees it."""

import os
import signal
import statistics
import subprocess
import time

from bench import verdict
from throwaway_cloud import Cloud

# How far the server had committed, and what of it was told to be durable, looked at every 2 ms. Both are read from the
# server's memory, whatever the transaction's own snapshot says.
SAMPLES = """
CREATE OR REPLACE FUNCTION samples(slot name, seconds int)
RETURNS TABLE (at float8, committed pg_lsn, durable pg_lsn) LANGUAGE plpgsql VOLATILE AS $$
DECLARE until timestamptz := clock_timestamp() + seconds * interval '1 second';
BEGIN
    WHILE clock_timestamp() < until LOOP
        at := extract(epoch FROM clock_timestamp());
        committed := pg_current_wal_flush_lsn();
        durable := (SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = slot);
        RETURN NEXT;
        PERFORM pg_sleep(0.002);
    END LOOP;
END $$"""
RATE, SEGMENT_AGE, ALLOWED, LAST_SECONDS = 2000, 1.0, 0.3, 5


def durable(bench):
    """From a commit to its being durable in a bucket, with 2,000 transactions a second: the 99th of 100."""
    server, seconds = bench.server, bench.options.seconds
    bench.load(10)
    cloud = Cloud(bench.folder, print)
    daemon = None
    try:
        os.environ.update(cloud.environment)
        config = bench.config("durable", cloud)
        server.sql("shop", SAMPLES)
        daemon = subprocess.Popen([bench.holdfast, "-c", config, "-q", "run"])
        # The load begins before the first look and ends behind the last one: there is always a next commit.
        load = subprocess.Popen(server.pgbench("-c", "16", "-j", "2", "-R", str(RATE), "-T", str(seconds + 10)), text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        time.sleep(5)
        told = server.sql("shop", f"SELECT at, committed, durable FROM samples('holdfast_durable', {seconds})")
        done = load.communicate()[0]
        reached = float(next(line for line in done.splitlines() if line.startswith("tps")).split()[2])
        delays = commit_to_durable([line.split("|") for line in told.splitlines()])
    finally:
        if daemon:
            daemon.send_signal(signal.SIGTERM)
            daemon.wait()
        cloud.stop()
    cuts = statistics.quantiles(delays, n=100)
    print(f"{reached:.0f} transactions/s for {seconds} s, {len(delays)} looks: commit to durable in a bucket "
          f"p50 {cuts[49]:.3f} s, p90 {cuts[89]:.3f} s, p99 {cuts[98]:.3f} s, most {max(delays):.3f} s; a segment is "
          f"cut after {SEGMENT_AGE:g} s")
    if reached < RATE * 0.95:
        return print(f"durable: the load reached {reached:.0f} of {RATE} transactions/s, which says nothing: MISSED")
    return verdict("durable", cuts[98], SEGMENT_AGE + ALLOWED, 1.0)


def commit_to_durable(looks):
    """For each look, the time until what was committed then was durable.

    The looks of the last seconds only serve as answers. What they do not answer either waited at least until the end.
    """
    looks = [(float(at), position(committed), position(durable)) for at, committed, durable in looks]
    end, delays, later = looks[-1][0], [], 0
    for at, committed, _ in (look for look in looks if look[0] < end - LAST_SECONDS):
        while later < len(looks) and looks[later][2] < committed:
            later += 1
        delays.append((looks[later][0] if later < len(looks) else end) - at)
    return delays


def position(lsn):
    high, low = lsn.split("/")
    return int(high, 16) << 32 | int(low, 16)
