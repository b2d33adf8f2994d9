"""Thousands of malformed requests at a service, while others use it: no 500, nothing held, nobody stalled, no leak.

    python scripts/attack_service.py [--requests 2000] [--seed 0]

It starts a server of its own. Beside the attack one client encodes a clip again and again and checks every answer.
"""

from __future__ import annotations

import argparse
import collections
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "serve"))

from malformed import ALLOWED, Attacker  # noqa: E402
from serving import SPEECH, post, service_of, serving  # noqa: E402

from dacodec import Codec  # noqa: E402


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    codec = Codec.from_pretrained("builtin")
    codec.chunk_seconds = 1.0
    with serving([codec]) as server:
        address, service = server.address, service_of(server)
        dacz = post(address, "/v1/encode", SPEECH.read_bytes()).body
        over, waits = threading.Event(), []
        other = threading.Thread(target=use, args=(address, dacz, over, waits))
        other.start()
        attacker = Attacker(address, dacz, arguments.seed)
        statuses = collections.Counter()
        for n in range(arguments.requests):
            if n == arguments.requests // 4:
                memory, threads = resident(), threading.active_count()
            statuses[attacker.attack()] += 1
        over.set()
        other.join()
        time.sleep(1)
        grown = resident() - memory
        print(
            f"{arguments.requests} requests: {dict(sorted(statuses.items(), key=str))} (None: the connection ended)"
        )
        print(f"another client meanwhile: {len(waits)} requests, all right, the slowest {max(waits):.2f} s")
        print(
            f"memory after a quarter of them and at the end: {memory >> 20} and {(memory + grown) >> 20} MiB"
        )
        print(f"threads: {threads} and {threading.active_count()}")
        held = service.admission
        wrong = [status for status in statuses if status not in ALLOWED | {None}]
        if wrong or held.requests or held.sessions or held.held_bytes or threading.active_count() > threads:
            sys.exit(f"wrong: {wrong}, held: {held.requests} {held.sessions} {held.held_bytes}")


def use(address, dacz, over, waits):
    while not over.is_set():
        began = time.monotonic()
        assert post(address, "/v1/encode", SPEECH.read_bytes()).body == dacz
        waits.append(time.monotonic() - began)


def resident():
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * 4096


if __name__ == "__main__":
    main()
