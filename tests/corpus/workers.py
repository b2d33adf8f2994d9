"""Work without a model, to test runners."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from dacodec.errors import CheckpointError


@dataclass(frozen=True)
class Doubling:
    """Numbers come back doubled; "die" kills the process each time, "once PATH" the first time, "slow" takes time.

    Reading "hang" takes time, too.
    """

    fails_to_start: bool = False
    prepares_elsewhere: bool = False

    def prepare(self, job):
        if "hang" in job:
            time.sleep(60)
        return [(one, os.getpid()) for one in job]

    def start(self):
        if self.fails_to_start:
            raise CheckpointError("there are no weights")
        return lambda prepared: [self._do(one, pid) for one, pid in prepared]

    def lost(self, one, reason):
        return (one, reason)

    def _do(self, one, pid):
        assert self.prepares_elsewhere or pid == os.getpid()
        if one == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if isinstance(one, str) and one.startswith("once "):
            path = Path(one.removeprefix("once "))
            if not path.exists():
                path.touch()
                os._exit(3)
            return (one, "done")
        if one == "slow":
            time.sleep(60)
        return (one, 2 * one)
