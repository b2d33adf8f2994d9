"""One codec in a process of its own: one request per line on stdin, one answer per line on stdout, both JSON.

{"do": "load", "row": name in engines.ROWS, "folder": path, "threads": n}    -> versions
{"do": "encode", "audio": .npy [T], "codes": .npy to write or null}          -> seconds
{"do": "decode", "codes": .npy [K, F], "audio": .npy to write or null}       -> seconds
{"do": "memory"}                                                             -> peak_rss_mb
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
import warnings


def main():
    # Packages print to stdout, which is reserved for the protocol.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    state = {}
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = HANDLERS[request.pop("do")](state, **request)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def load(state, row, folder, threads):
    import engines
    import torch

    torch.set_num_threads(threads)
    row = engines.ROWS[row]
    state["encode"], state["decode"] = engines.LOADERS[row.loader](folder, row.argument)
    return {"torch": torch.__version__, "threads": torch.get_num_threads(), "package": version(row.loader)}


def version(package):
    import importlib.metadata

    return importlib.metadata.version(
        {"descript": "descript-audio-codec", "frozen": "dacodec", "drop-in": "dacodec"}.get(package, package)
    )


def encode(state, audio, codes):
    return timed(state["encode"], audio, codes)


def decode(state, codes, audio):
    return timed(state["decode"], codes, audio)


def timed(function, source, target):
    import numpy as np
    import torch

    value = torch.from_numpy(np.load(source))[None]
    with torch.inference_mode():
        start = time.perf_counter()
        result = function(value)
        seconds = time.perf_counter() - start
    if target is not None:
        np.save(target, result[0].numpy())
    return {"seconds": seconds}


def memory(state):
    return {"peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


HANDLERS = {"load": load, "encode": encode, "decode": decode, "memory": memory}

if __name__ == "__main__":
    main()
