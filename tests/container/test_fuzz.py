"""Inputs worth keeping from the fuzzer, one per line in base64. Its finds so far are at the top.

Made by tests/fuzz/fuzz_reader.py, and merged by tests/fuzz/keep.py.
"""

import base64
from pathlib import Path

import attack
import pytest

CORPUS = Path(__file__).parents[1] / "fuzz" / "corpus.txt"
LINES = CORPUS.read_text().split()


@pytest.mark.parametrize("part", range(8))
def test_inputs_of_the_fuzzer(part):
    for line in LINES[part::8]:
        attack.attack(base64.b64decode(line), thorough=False)


def test_a_file_without_packets_or_index_can_be_sought_in():
    """The fuzzer's first find: looking for an index moved the file."""
    line = next(
        line
        for line in LINES
        if line.startswith("iURBQw0KGgoBAGkACgAAAAoAAAAPAAAACgAAAAAAAD///////////wYAAQIB")
    )
    attack.attack(base64.b64decode(line))
