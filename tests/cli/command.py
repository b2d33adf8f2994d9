"""The real command, in its own process."""

import os
import signal
import subprocess
import sys
from pathlib import Path

CLIPS = Path(__file__).parents[1] / "data" / "clips"
COMMAND = [str(Path(sys.executable).with_name("dacodec"))]
ENVIRONMENT = {**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "100"}


def heed_ctrl_c():
    """For ``preexec_fn``: a background process of a shell script ignores SIGINT, and so do its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def dacodec(*args, command=COMMAND, environment=None, text=True, **options):
    return subprocess.run(
        [*command, *map(str, args)],
        capture_output=True,
        text=text,
        env={**ENVIRONMENT, **(environment or {})},
        timeout=300,
        **options,
    )
