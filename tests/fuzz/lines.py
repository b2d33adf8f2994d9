"""Which of the reader's lines the kept corpus reaches: python tests/fuzz/lines.py

It counts the lines inside functions that reading can call. Functions called only by a writer or when a Header is
constructed are named below and left out.
"""

import base64
import sys
import types
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "container"))

import attack

import dacodec.container
from dacodec.container import entropy, packet

FOLDER = Path(dacodec.container.__file__).parent
FILES = [
    "bits",
    "blocks",
    "entropy",
    "extensions",
    "format",
    "header",
    "index",
    "packet",
    "rangecoder",
    "reader",
]
FILES += ["sequence", "stream"]
WRITING = {
    "pack",
    "encode",
    "_finished",
    "_carry",
    "encode_segments",
    "decisions",
    "encode_packets",
    "chosen",
    "default_packet_frames",
    "prior_of_model",
    "_squash_table",
    "write_all",
}
# Lines that no file reaches: for Headers and priors constructed in Python, and for 2^32 frames or 65535 entries.
BEYOND_FILES = (
    "default_packet_frames(",
    '"packet_frames", frames)',
    "fingerprint must be",
    "model_name cannot be written",
    "except UnicodeEncodeError",
    "over {MAX_HEADER_BYTES}",
    "prior_id must be",
    "cannot be written as UTF-8",
    "the tag {key} has",
    "this version.",
    "types of later versions",
    'raise FormatError(f"more than {MAX_FRAMES}',
    "self.entries[::2]",
    "self._distance *= 2",
    "self.add(first_frame, offset)",
)


def main():
    packet.coder = entropy  # the compiled one has no lines
    reached = {name: set() for name in FILES}
    sys.settrace(lambda frame, event, argument: tracer(frame, reached))
    for line in (Path(__file__).parent / "corpus.txt").read_text().split():
        attack.attack(base64.b64decode(line))
    sys.settrace(None)
    total = found = 0
    for name in FILES:
        text = (FOLDER / f"{name}.py").read_text()
        source = text.splitlines()
        lines = set(lines_of(compile(text, name, "exec")))
        lines = {line for line in lines if not any(part in source[line - 1] for part in BEYOND_FILES)}
        missed = sorted(lines - reached[name])
        total, found = total + len(lines), found + len(lines) - len(missed)
        for line in missed:
            print(f"{name}.py:{line}: {source[line - 1].strip()}")
    print(f"{found} of {total} lines, {100 * found / total:.1f} %")


def tracer(frame, reached):
    path = Path(frame.f_code.co_filename)
    if path.parent != FOLDER or path.stem not in reached:
        return None
    lines = reached[path.stem]

    def note(frame, event, argument):
        lines.add(frame.f_lineno)
        return note

    return note


def lines_of(code, inside=False):
    """Line numbers inside the functions of a module."""
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType) and constant.co_name not in WRITING:
            is_function = inside or bool(constant.co_flags & 2)
            if is_function:
                numbers = {line for _, _, line in constant.co_lines() if line}
                yield from numbers - {constant.co_firstlineno}
            yield from lines_of(constant, is_function)


if __name__ == "__main__":
    main()
