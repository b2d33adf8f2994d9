"""Thousands of malformed requests at ``dacodec serve`` on this machine, while another client uses it.

    python scripts/attack_service.py [--requests 2000] [--attackers 4] [--seed 0]

Fails on a 500, on a wrong answer to the other client, on requests, memory or threads that the server still holds
afterwards, on anything in its log, and on memory that is still growing: more by the last half of the requests than by
the half before.
"""

from __future__ import annotations

import argparse
import collections
import statistics
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "serve"))

from malformed import ALLOWED, Attacker  # noqa: E402
from serving import SPEECH, command, metric, post  # noqa: E402

STEPS = 8  # at which memory is measured
SLACK_MIB = 8  # of growth that counts as none
HELD = ("dacodec_requests_open", "dacodec_streams_open", "dacodec_held_bytes", "dacodec_waiting")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--attackers", type=int, default=4, help="at a time")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with command() as (process, address):
        sys.exit(attack(process, address, arguments))


def attack(process, address, arguments):
    """Print what happened; returns an error message or None."""
    dacz = post(address, "/v1/encode", SPEECH.read_bytes()).body
    alone = [encode(address, dacz) for _ in range(5)]
    attackers = [Attacker(address, dacz, seed=1000 * arguments.seed + n) for n in range(arguments.attackers)]
    over, waits, statuses, memory = threading.Event(), [], collections.Counter(), []
    other = threading.Thread(target=use, args=(address, dacz, over, waits))
    other.start()
    for _ in range(STEPS):
        each = arguments.requests // STEPS // len(attackers)
        threads = [threading.Thread(target=run, args=(a, each, statuses)) for a in attackers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        memory.append(resident_mib(process))
        print(f"{sum(statuses.values()):6} requests, {memory[-1]:.0f} MiB", flush=True)
    for attacker in attackers:
        attacker.close()
    over.set()
    other.join()
    held = settled(address)
    print(f"answers (None: the connection ended): {dict(sorted(statuses.items(), key=str))}")
    print(
        f"the other client: {len(waits)} requests, all answered correctly; slowest {max(waits):.2f} s, median "
        f"{statistics.median(waits):.2f} s; before the attack {statistics.median(alone):.2f} s"
    )
    print(f"threads at the end: {n_threads(process)}; held: {held}")
    wrong = sorted(status for status in statuses if status not in ALLOWED | {None})
    if wrong:
        return f"statuses {wrong}"
    if any(held.values()):
        return f"still held: {held}"
    half = STEPS // 2
    late, early = memory[-1] - memory[half], memory[half] - memory[0]
    if late > max(early, 0) + SLACK_MIB:
        return f"memory still grows: {early:.0f} MiB, then {late:.0f} MiB"
    process.terminate()
    log = process.stderr.read()
    if process.wait(60) or log:
        return f"exit code {process.returncode}, log: {log[-2000:]}"
    return None


def run(attacker, n, statuses):
    for _ in range(n):
        statuses[attacker.attack()] += 1


def use(address, dacz, over, waits):
    while not over.is_set():
        waits.append(encode(address, dacz))


def encode(address, dacz):
    """Seconds that a request takes which must give ``dacz``."""
    began = time.monotonic()
    assert post(address, "/v1/encode", SPEECH.read_bytes()).body == dacz
    return time.monotonic() - began


def settled(address):
    """What the server still holds. Waits up to 70 s for it to be nothing: longer than the time limit for bodies."""
    end = time.monotonic() + 70
    while True:
        held = {name: metric(address, name) for name in HELD}
        if not any(held.values()) or time.monotonic() > end:
            return held
        time.sleep(0.2)


def resident_mib(process):
    return int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * 4096 / (1 << 20)


def n_threads(process):
    return len(list(Path(f"/proc/{process.pid}/task").iterdir()))


if __name__ == "__main__":
    main()
