"""The public interface is typed: a file of user code passes mypy --strict, and one with mistakes does not."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def mypy(path):
    run = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file", HERE / "mypy.ini", path],
        capture_output=True,
        text=True,
        check=False,
        cwd=HERE,
    )
    return run.returncode, run.stdout + run.stderr


def test_user_code_is_strictly_typed():
    status, output = mypy(HERE / "user_code.py")
    assert status == 0, output


def test_mistakes_are_found(tmp_path):
    path = tmp_path / "mistakes.py"
    path.write_text(
        "from dacodec import Codec\n"
        "codec = Codec.from_pretrained(5)\n"
        'codec.encode_file("in.flac")\n'
        "n: str = codec.sampling_rate\n"
    )
    status, output = mypy(path)
    assert status == 1
    assert [line for line in (2, 3, 4) if f"mistakes.py:{line}: error" in output] == [2, 3, 4], output
