"""The service under load: lost requests, latency, throughput beside the engine's own, memory; then killed and restarted.

    python bench/serve.py [--seconds 120] [--clients 64] [--smoke]

Each client posts FLAC recordings of 1 to 6 s to ``dacodec serve``, the next one as soon as the last is answered. Clients
and server share this machine. The engine's own throughput is that of ``Codec.encode_batch`` on the same recordings, 16 at
a time, in a process of its own, before and after. Results go to bench/results, except those of --smoke: 8 clients, 10 s.
"""

from __future__ import annotations

import argparse
import collections
import datetime
import io
import random
import re
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

from run import ROOT, hardware_name

from dacodec.audio import read, write
from dacodec.serve.client import Client

CLIPS = sorted((ROOT / "tests" / "data" / "clips").glob("*.flac"))
Answer = collections.namedtuple("Answer", "client seconds")

N_RECORDINGS = 40
BATCH = 16


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument(
        "--engine-seconds", type=float, default=None, help="to measure the engine alone, twice"
    )
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--alone", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.alone:
        print(engine_alone(arguments.alone))
        return
    if arguments.smoke:
        arguments.seconds, arguments.clients = 10, 8
    alone_seconds = arguments.engine_seconds or max(5, arguments.seconds / 8)
    recordings = make_recordings()
    before = measured_alone(alone_seconds)
    load = under_load(recordings, arguments.clients, arguments.seconds)
    after = measured_alone(alone_seconds)
    killed = kill_and_restart(recordings, arguments.clients, min(20, arguments.seconds))
    text = report(load, before, after, killed, arguments)
    print(text)
    if not arguments.smoke:
        name = re.sub(r"\W+", "-", hardware_name().lower()).strip("-")
        path = ROOT / "bench" / "results" / f"serve_{name}_{datetime.date.today()}.md"
        path.write_text(text + "\n")


def make_recordings():
    """FLAC files."""
    chance, made = random.Random(0), []
    for n in range(N_RECORDINGS):
        samples, rate = read(CLIPS[n % len(CLIPS)])
        length = min(samples.shape[1], round(chance.uniform(1, 6) * rate))
        start = chance.randrange(samples.shape[1] - length + 1)
        file = io.BytesIO()
        write(file, samples[:, start : start + length], rate, format="flac")
        made.append(file.getvalue())
    return made


def engine_alone(seconds):
    """Seconds of audio per second of Codec.encode_batch, summed over channels."""
    from dacodec import Codec

    codec = Codec.from_pretrained("builtin")
    audio = [read(io.BytesIO(data)) for data in make_recordings()]
    codec.encode_batch([a.samples for a in audio[:4]], [a.sampling_rate for a in audio[:4]])
    done, n, began = 0.0, 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        batch = [audio[(n + i) % len(audio)] for i in range(BATCH)]
        codec.encode_batch([a.samples for a in batch], [a.sampling_rate for a in batch])
        done += sum(a.samples.size / a.sampling_rate for a in batch)
        n += BATCH
    return done / (time.perf_counter() - began)


def measured_alone(seconds):
    command = [sys.executable, __file__, "--alone", str(seconds)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


class Server:
    """``dacodec serve`` in a process of its own."""

    def __init__(self, port=0):
        command = [sys.executable, "-m", "dacodec", "serve", "--port", str(port)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.address = re.search(r"http://\S+:\d+", self._process.stdout.readline())[0]
        self.port = int(self.address.rsplit(":", 1)[1])

    @property
    def memory_mib(self):
        return int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]) * 4096 / (1 << 20)

    @property
    def audio_seconds(self):
        """Coded so far, summed over channels, including parts of unfinished requests."""
        with urllib.request.urlopen(self.address + "/metrics", timeout=60) as response:
            return float(
                re.search(r"^dacodec_audio_seconds_total (\S+)", response.read().decode(), re.MULTILINE)[1]
            )

    def end(self):
        """Stop it gracefully; gives the exit code."""
        self._process.terminate()
        return self._process.wait(60)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()


class Clients:
    """Post recordings, each client in a thread, until :meth:`stop`."""

    def __init__(self, address, recordings, n):
        self.answers, self.failed, self.wrong = [], [], []
        self._address, self._recordings = address, recordings
        self._over, self._lock = threading.Event(), threading.Lock()
        self._threads = [threading.Thread(target=self._work, args=(i,)) for i in range(n)]
        for thread in self._threads:
            thread.start()

    def warm_up(self):
        """Wait until every client has had an answer, and forget these."""
        end = time.monotonic() + 300
        while len({answer.client for answer in self.answers}) < len(self._threads):
            assert time.monotonic() < end, (self.failed, self.wrong)
            time.sleep(0.1)
        with self._lock:
            self.answers.clear()

    def stop(self):
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _work(self, number):
        client, chance = Client(self._address, retries=100), random.Random(number)
        while not self._over.is_set():
            data = chance.choice(self._recordings)
            began = time.perf_counter()
            try:
                dacz = client.encode(data)
            except OSError as error:
                with self._lock:
                    self.failed.append(type(error).__name__)
                time.sleep(0.2)
                continue
            except Exception as error:
                with self._lock:
                    self.wrong.append(str(error))
                continue
            with self._lock:
                self.answers.append(Answer(number, time.perf_counter() - began))
                if not dacz.startswith(b"\x89DAC"):
                    self.wrong.append("not a .dacz file")


def under_load(recordings, n_clients, seconds):
    with Server() as server:
        return measured(server, recordings, n_clients, seconds)


def measured(server, recordings, n_clients, seconds):
    clients, memory = Clients(server.address, recordings, n_clients), []
    clients.warm_up()
    before, began = server.audio_seconds, time.perf_counter()
    while time.perf_counter() - began < seconds:
        memory.append(server.memory_mib)
        time.sleep(0.5)
    audio, took = server.audio_seconds - before, time.perf_counter() - began
    with clients._lock:
        answers = list(clients.answers)
    clients.stop()
    latencies = sorted(answer.seconds for answer in answers)
    each = collections.Counter(answer.client for answer in answers)
    return {
        "rate": audio / took,
        "requests": len(answers),
        "each": (min(each[n] for n in range(n_clients)), max(each.values())),
        "p50": statistics.median(latencies),
        "p99": latencies[int(0.99 * (len(latencies) - 1))],
        "lost": len(clients.failed) + len(clients.wrong),
        "memory": (memory[len(memory) // 4], max(memory), memory[-1]),
        "exit": server.end(),
    }


def kill_and_restart(recordings, n_clients, seconds):
    with Server() as first:
        clients = Clients(first.address, recordings, n_clients)
        time.sleep(seconds / 2)
    before = len(clients.answers)
    down = time.perf_counter()
    with Server(first.port) as second:
        down = time.perf_counter() - down
        broken = sum(name != "ConnectionRefusedError" for name in clients.failed)
        time.sleep(seconds / 2)
        clients.stop()
        second.end()
    return {
        "broken": broken,
        "refused": len(clients.failed) - broken,
        "before": before,
        "after": len(clients.answers) - before,
        "wrong": len(clients.wrong),
        "down": down,
    }


def report(load, before, after, killed, arguments):
    engine = (before + after) / 2
    quarter, most, end = load["memory"]
    return f"""# The service under load on {hardware_name()}

{arguments.clients} clients for {arguments.seconds:g} s, each posting FLAC recordings of 1 to 6 s one after the other; built-in model; clients and server
on one machine (`bench/serve.py`).

| | |
|---|---|
| requests answered | {load["requests"]} |
| requests lost | {load["lost"]} |
| requests per client: fewest, most | {load["each"][0]}, {load["each"][1]} |
| latency in s: median, 99th percentile | {load["p50"]:.2f}, {load["p99"]:.2f} |
| throughput, seconds of audio per second | {load["rate"]:.1f} |
| the engine alone, before and after | {before:.1f}, {after:.1f} |
| share of the engine's throughput | {load["rate"] / engine:.2f} |
| memory in MiB: after a quarter of the time, peak, end | {quarter:.0f}, {most:.0f}, {end:.0f} |
| exit code after SIGTERM | {load["exit"]} |

Throughput and audio are summed over channels. With {arguments.clients} clients that always wait, the mean latency is {arguments.clients} divided by the requests
per second, whatever the order of the queue.

Then the server was killed (SIGKILL) under the same load and restarted on its port, which took {killed["down"]:.1f} s. {killed["broken"]} requests
were in flight; each client saw its connection break. {killed["refused"]} attempts were refused while the server was down. {killed["before"]} requests were
answered before and {killed["after"]} after, {killed["wrong"]} of them wrongly."""


if __name__ == "__main__":
    main()
