"""Each rule of the page has its own check: files with correct CRCs that break one rule.

For each file the reader must name the rule and the offset, and the slow reader must refuse it too. With the check
named beside the file removed, the reader must no longer report it. So no check is redundant.
"""

import ast
import importlib
import inspect
import io
import re
import struct
from pathlib import Path
from typing import NamedTuple

import pytest
import slow_dacz
import tiny
from golden_dacz import BLOCKS, GOLDEN, STARTS
from slow_dacz import block_bytes, end_bytes, header_bytes, index_bytes, segment

from dacodec.container import Reader
from dacodec.errors import FormatError

FIRST, SECOND, END = STARTS[1:4]


class Case(NamedTuple):
    data: bytes
    message: str
    offset: int
    module: str
    check: str  # the condition of the `if` that is removed


def header_case(message, offset, check, module="header", **fields):
    return Case(header_bytes(**fields) + b"".join(BLOCKS[1:]), message, offset, module, check)


def extension_case(message, offset, check, extensions, module="extensions"):
    return header_case(message, LATE + offset, check, module, extensions=extensions)


def record(type_, data, length=None):
    return struct.pack("<HH", type_, len(data) if length is None else length) + data


LATE = 78 + 3  # where extensions start after the name "toy"
SPEAKERS = "speakers is not None and not (0 < speakers < 2**32 and speakers.bit_count() == channels)"
TAG_END = "value_start > len(data) or value_end > len(data)"
TAG_CONTROLS = 'has_controls(key) or has_controls(value.replace("\\n", "").replace("\\t", ""))'
IN_BOUNDS = "not least <= value <= most"
GAIN = "not 1 / MAX_GAIN <= header.gain <= MAX_GAIN"
SAMPLES = "header.n_samples is not None and (not 0 <= operator.index(header.n_samples) <= MAX_SAMPLES)"
SPAN = "header.packet_frames > 1 and span > MAX_PACKET_SECONDS * header.model_sampling_rate"
PACKET_CODES = "n_codes > MAX_PACKET_CODES"
NAME_LENGTH = "not 1 <= length <= MAX_NAME_BYTES"
CONTROL = "has_controls(header.model_name)"

HEADERS = {
    "other-magic": header_case(
        "not a .dacz file", 0, "MAGIC.startswith(magic)", module="read_header", magic=b"RIFFRIFF"
    ),
    "numpy-file": header_case(
        "pickled NumPy", 0, r'magic.startswith(b"\x93NUMPY")', module="read_header", magic=b"\x93NUMPY\1\0"
    ),
    "magic-as-text": header_case(
        "as text", 0, 'b"DAC" in magic', module="read_header", magic=b"\x89DAC\n\x1a\n\0"
    ),
    "draft": header_case("a draft of this format", 8, "version == DRAFT", module="read_header", version=0),
    "version-2": header_case("version 2", 8, "version != VERSION", module="read_header", version=2),
    "header-crc": Case(
        GOLDEN[:50] + b"?" + GOLDEN[51:], "the header is damaged", 0, "read_header", "not seal_holds(data)"
    ),
    "flags": header_case("flags are set", 9, "flags != 0", module="read_header", flags=128),
    "coding": header_case("channel_coding is 2", 44, IN_BOUNDS, channel_coding=2),
    "mid-side-of-three": header_case(
        "mid/side coding of 3",
        44,
        "header.channel_coding == MID_SIDE and header.channels != 2",
        channel_coding=1,
        channels=3,
    ),
    "length-82": header_case(
        "too short", 10, "length <= NAME_OFFSET + CRC_BYTES", module="read_header", header_length=82
    ),
    "length-0": header_case(
        "too short", 10, "length <= NAME_OFFSET + CRC_BYTES", module="read_header", header_length=0
    ),
    "name-past-end": header_case(
        "more than the header", 45, "name_end > len(data)", module="read_header", name_length=4
    ),
    "name-empty": header_case(
        "model_name has 0 bytes", 45, NAME_LENGTH, model_name=b"", extensions=record(0x8000, b"")
    ),
    "name-control": header_case("control characters", 78, CONTROL, model_name=b"to\x1by"),
    "name-delete": header_case("control characters", 78, CONTROL, model_name=b"to\x7fy"),
    "name-c1": header_case("control characters", 78, CONTROL, model_name="to\x9by".encode()),
    "name-builtin": header_case("builtin", 78, 'header.model_name == "builtin"', model_name=b"builtin"),
    "gain-0": header_case("gain", 28, GAIN, gain=0.0),
    "gain-negative": header_case("gain", 28, GAIN, gain=-1.0),
    "gain-infinite": header_case("gain", 28, GAIN, gain=float("inf")),
    "gain-nan": header_case("gain", 28, GAIN, gain=float("nan")),
    "gain-tiny": header_case("gain", 28, GAIN, gain=2.0**-25),
    "samples-2-53": header_case("n_samples is 9007199254740992", 32, SAMPLES, n_samples=2**53),
    "packet-over-10-s": header_case("501 frames a packet are over 10 s", 40, SPAN, packet_frames=501),
    "packet-of-2-20-codes-and-more": header_case(
        "codes a packet", 40, PACKET_CODES, n_codebooks=64, channels=64, packet_frames=257
    ),
    "extension-head-cut": extension_case(
        "ends inside an extension", 0, "len(data) - position < RECORD.size", b"\0\x80\0"
    ),
    "extension-too-long": extension_case(
        "longer than the header", 2, "length > len(data) - start", record(0x9000, b"ab", 3)
    ),
    "extension-repeated": extension_case(
        "does not ascend", 4, "type_ <= previous", record(0x9000, b"") + record(0x9000, b"")
    ),
    "extension-unknown": extension_case("may not be skipped", 0, "type_ < OPTIONAL", record(0x7FFF, b"ab")),
    "prior-of-7-bytes": extension_case("8 bytes, not 7", 2, "len(record) != length", record(1, bytes(7))),
    "speakers-of-5-bytes": extension_case(
        "4 bytes, not 5", 2, "len(record) != length", record(0x8002, b"\3\0\0\0\0")
    ),
    "speakers-of-three": extension_case("not a mask of 2 bits", 0, SPEAKERS, record(0x8002, b"\7\0\0\0")),
    "tags-none": extension_case("tags without a tag", 4, "not tags", record(0x8001, b"")),
    "tag-too-long": extension_case("longer than the tags", 4, TAG_END, record(0x8001, b"\1k\2\0v")),
    "tag-without-value": extension_case("longer than the tags", 4, TAG_END, record(0x8001, b"\1k\0")),
    "tag-without-key": extension_case(
        "key has 0 bytes", 0, "not 1 <= key_length <= 255", record(0x8001, b"\0\1\0v")
    ),
    "tag-with-escape": extension_case("control characters", 0, TAG_CONTROLS, record(0x8001, b"\1k\1\0\x1b")),
    "tag-key-with-line-feed": extension_case(
        "control characters", 0, TAG_CONTROLS, record(0x8001, b"\1\n\1\0v")
    ),
}

for field, (offset, values) in {
    "model_sampling_rate": (12, (0, 768_001, 2**32 - 1)),
    "hop_length": (16, (0, 2**20 + 1, 2**32 - 1)),
    "codebook_size": (20, (0, 1, 2**16 + 1)),
    "sampling_rate": (24, (0, 768_001)),
    "packet_frames": (40, (0,)),
    "n_codebooks": (42, (0,)),
    "channels": (43, (0,)),
}.items():
    for value in values:
        name = f"{field}-{value}"
        HEADERS[name] = header_case(f"{field} is {value}, not in", offset, IN_BOUNDS, **{field: value})


def packet_case(message, offset, check, *blocks, module="blocks", **fields):
    """A file of the golden header and ``blocks``; ``offset`` counts from the last block's start."""
    header = header_bytes(**fields) if fields else BLOCKS[0]
    start = len(header) + sum(map(len, blocks[:-1]))
    return Case(header + b"".join(blocks), message, start + offset, module, check)


def four_frames(first_frame=0, n_codebooks=2, n_frames=4, **more):
    size = n_codebooks * -(-2 * n_frames * 10 // 8)
    return block_bytes(more.pop("kind", b"P"), n_codebooks, n_frames, first_frame, bytes(size), **more)


def with_flip(data, byte):
    return data[:byte] + bytes([data[byte] ^ 1]) + data[byte + 1 :]


def coded_case(message, offset, check, body, module="blocks"):
    """A packet of 4 frames, 2 channels and 2 codebooks of 16 codes, coded with the tiny prior."""
    return packet_case(
        message,
        offset,
        check,
        block_bytes(b"C", 2, 4, 0, body),
        module=module,
        codebook_size=16,
        extensions=record(1, tiny.PRIOR.id),
    )


LENGTH = len(BLOCKS[0])
VARINT = "data[-1] & 0x80 or value >> bits or (len(data) > 1 and data[-1] == 0)"
SAVING = "not 1 <= savings[k] <= full"
ASCENDS = "not (previous[0] < entry[0] < behind[0] and previous[1] < entry[1] < behind[1])"
K_BOUNDS = "not least <= n_codebooks <= most"
F_BOUNDS = "not least <= n_frames <= most"
INDEX_LENGTH = "end.index_length != self._index_length"
ORDER = "head.first_frame != self.n_frames"
FULL_BYTES = segment([0] * 8, 10)

PACKETS = {
    "sync": packet_case("should start here", 0, "sync != SYNC", four_frames(sync=b"\xda\xc6")),
    "head-crc": packet_case(
        "head of a packet is damaged", 0, "crc16(data[: -HEAD_CRC.size]) != crc", with_flip(BLOCKS[1], 10)
    ),
    "kind": packet_case("unknown kind", 2, "kind not in NAMES", four_frames(kind=b"D")),
    "no-codebooks": packet_case("0 codebooks, not in 1", 3, K_BOUNDS, four_frames(n_codebooks=0)),
    "too-many-codebooks": packet_case("3 codebooks, not in 1", 3, K_BOUNDS, four_frames(n_codebooks=3)),
    "end-with-codebooks": packet_case(
        "1 codebooks, not in", 3, K_BOUNDS, BLOCKS[1], end_bytes(4, 1500, n_codebooks=1)
    ),
    "no-frames": packet_case("0 frames", 4, F_BOUNDS, four_frames(n_frames=0)),
    "too-many-frames": packet_case("5 frames", 4, F_BOUNDS, four_frames(n_frames=5)),
    "end-with-frames": packet_case("1 frames", 4, F_BOUNDS, BLOCKS[1], end_bytes(4, 1500, count=1)),
    "body-crc": packet_case("a packet is damaged", 0, "not seal_holds(block.data)", with_flip(BLOCKS[1], 20)),
    "crc": packet_case("a packet is damaged", 0, "not seal_holds(block.data)", with_flip(BLOCKS[1], 34)),
    "padding": packet_case(
        "padding bits of codebook 1",
        12 + 3 + 2,
        "not is_coded and (not has_clear_padding(data, width, n_codes))",
        BLOCKS[1],
        block_bytes(b"P", 2, 1, 4, bytes(5) + b"\x10"),
        module="packet",
    ),
    "code-too-large": packet_case(
        "code 1000 in codebook 1",
        12 + 10,
        "(highest := codes[:, k].max()) >= header.codebook_size",
        block_bytes(b"P", 2, 4, 0, FULL_BYTES + segment([0] * 7 + [1000], 10)),
        codebook_size=1000,
        module="packet",
    ),
    "fewer-codebooks": packet_case(
        "1 codebooks in a file of 2",
        3,
        "head.n_codebooks not in (0, self.header.n_codebooks)",
        four_frames(n_codebooks=1),
        module="sequence",
    ),
    "gap": packet_case(
        "frame 4 should follow, not 5", 6, ORDER, BLOCKS[1], four_frames(first_frame=5), module="sequence"
    ),
    "overlap": packet_case(
        "frame 4 should follow, not 3", 6, ORDER, BLOCKS[1], four_frames(first_frame=3), module="sequence"
    ),
    "late-start": packet_case("frame 0 should follow, not 4", 6, ORDER, BLOCKS[2], module="sequence"),
    "total-frames": packet_case(
        "frame 4 should follow, not 5", 6, ORDER, BLOCKS[1], end_bytes(5, 1500), module="sequence"
    ),
    "samples-unlike-header": packet_case(
        "1499 samples, but the header says 1500",
        12,
        "known is not None and n_samples != known",
        BLOCKS[1],
        end_bytes(4, 1499),
        module="sequence",
    ),
    "samples-beyond-frames": packet_case(
        "1601 samples, but 4 frames stand for at most 1600",
        12,
        "n_samples > max_samples(self.header, n_frames)",
        BLOCKS[1],
        end_bytes(4, 1601),
        module="sequence",
        n_samples=2**64 - 1,
    ),
    "samples-of-no-frames": packet_case(
        "1 samples, but 0 frames stand for at most 0",
        12,
        "n_samples > max_samples(self.header, n_frames)",
        end_bytes(0, 1),
        module="sequence",
        n_samples=2**64 - 1,
    ),
    "trailing": packet_case(
        "something follows", 0, "self._source.take_up_to(1)", *BLOCKS[1:], b"\0", module="sequence"
    ),
    "two-files": packet_case(
        "something follows", 0, "self._source.take_up_to(1)", *BLOCKS[1:], GOLDEN, module="sequence"
    ),
    "coded-without-prior": packet_case(
        "names no prior", 2, "kind == CODED and header.prior_id is None", four_frames(kind=b"C")
    ),
    "coded-packet-too-long": packet_case(
        "over 8192 codes",
        4,
        "kind == CODED and header.channels * n_frames > MAX_CODED_CODES",
        block_bytes(b"C", 2, 4097, 0, b"\1\1" + bytes(2 * 4097)),
        hop_length=1,
        packet_frames=4097,
        codebook_size=16,
        extensions=record(1, tiny.PRIOR.id),
    ),
    "mask-0": coded_case("without a coded segment", 12, "mask == 0", b"\0" + bytes(8), module="table"),
    "mask-of-three-codebooks": coded_case("too large", 12, VARINT, b"\4\1" + bytes(7), module="table"),
    "mask-too-long": coded_case("badly spelled", 12, VARINT, b"\x81\0\1" + bytes(7), module="table"),
    "mask-endless": coded_case("too large", 12, VARINT, b"\x81\x81\1" + bytes(7), module="table"),
    "saving-0": coded_case("saves 0 of 4", 13, SAVING, b"\1\0" + bytes(8), module="table"),
    "saving-of-all-and-more": coded_case("saves 5 of 4", 13, SAVING, b"\1\5" + bytes(3), module="table"),
    "saving-too-large": coded_case("too large", 13, VARINT, b"\1\x08" + bytes(3), module="table"),
    "coded-segment-ends-with-zero": coded_case(
        "ends with a zero", 15, 'is_coded and data.endswith(b"\\0")', b"\1\2\1\0" + bytes(4), module="packet"
    ),
    "index-wrong": packet_case(
        "does not say where",
        12,
        "self._knows_all and entries != self._index.entries",
        BLOCKS[1],
        index_bytes(4, [(0, LENGTH + 1)]),
        module="sequence",
    ),
    "index-descends": packet_case(
        "entry 1 of the index", 24, ASCENDS, BLOCKS[1], index_bytes(4, [(0, LENGTH), (1, LENGTH)])
    ),
    "index-repeats": packet_case(
        "entry 1 of the index", 24, ASCENDS, BLOCKS[1], index_bytes(4, [(0, LENGTH), (0, LENGTH + 1)])
    ),
    "index-behind-itself": packet_case(
        "entry 0 of the index", 12, ASCENDS, BLOCKS[1], index_bytes(4, [(0, LENGTH + len(BLOCKS[1]))])
    ),
    "index-behind-the-frames": packet_case(
        "entry 0 of the index", 12, ASCENDS, BLOCKS[1], index_bytes(4, [(4, LENGTH)])
    ),
    "index-without-entries": packet_case("0 frames or entries", 4, F_BOUNDS, BLOCKS[1], index_bytes(4, [])),
    "index-of-other-frames": packet_case(
        "frame 4 should follow, not 5", 6, ORDER, BLOCKS[1], index_bytes(5, [(0, LENGTH)]), module="sequence"
    ),
    "packet-after-index": packet_case(
        "but the end mark follows",
        2,
        "block.head.kind != END",
        BLOCKS[1],
        index_bytes(4, [(0, LENGTH)]),
        BLOCKS[2],
        module="sequence",
    ),
    "index-length-wrong": packet_case(
        "an index of 27 bytes, not 28",
        20,
        INDEX_LENGTH,
        BLOCKS[1],
        index_bytes(4, [(0, LENGTH)]),
        end_bytes(4, 1500, index_length=27),
        module="sequence",
    ),
    "index-length-of-none": packet_case(
        "an index of 28 bytes, not 0",
        20,
        INDEX_LENGTH,
        BLOCKS[1],
        end_bytes(4, 1500, index_length=28),
        module="sequence",
    ),
    "samples-2-53-in-end-mark": packet_case(
        "samples, over 2",
        12,
        "end.n_samples > MAX_SAMPLES",
        BLOCKS[1],
        end_bytes(4, 2**53),
        n_samples=2**64 - 1,
    ),
    "cut": packet_case(
        "truncated: 16 more bytes of a packet", 20, "len(data) < n", BLOCKS[1][:20], module="stream"
    ),
}

CASES = HEADERS | PACKETS

# Conditions that no file meets, and why they are there.
BEYOND_FILES = {
    "not isinstance(header.fingerprint, bytes) or len(header.fingerprint) != 32",  # for callers that construct a Header
    "length > MAX_HEADER_BYTES",  # the same: header_length cannot say more
    "prior_id is not None and (not isinstance(prior_id, bytes) or len(prior_id) != PRIOR_ID_BYTES)",
    "value_length > 2 ** 16 - 1",
    "not previous < type_ <= 65535 or type_ in (TAGS, SPEAKERS)",
    "prior is None or prior.width != width or n_coded > prior.n_codebooks",  # see test_entropy
    # What a concealing reader does not believe: see test_conceal
    "head.n_codebooks and head.n_codebooks != self.header.n_codebooks",
    "head.first_frame + head.n_frames > MAX_FRAMES and head.kind != INDEX",
    "known is None and gap > max(MAX_GAP_FRAMES, passed_over)",
    "known is not None and gap > 0 and head.first_frame > frames_of(self.header, known) + 1",
    "head.kind != INDEX and self.n_frames + head.n_frames > MAX_FRAMES",  # 2^32 frames: see test_roundtrip
}


def refusal(data):
    """What the reader raises on ``data``, if anything."""
    try:
        list(Reader(io.BytesIO(data), prior=tiny.PRIOR))
    except Exception as error:
        return error
    return None


@pytest.mark.parametrize("name", CASES)
def test_each_rule_is_checked(name):
    case = CASES[name]
    error = refusal(case.data)
    assert isinstance(error, FormatError)
    assert re.search(case.message, str(error))
    assert error.offset == case.offset
    with pytest.raises(slow_dacz.Refused):
        slow_dacz.read(case.data, tiny.PRIOR_BYTES)


@pytest.mark.parametrize("name", CASES)
def test_each_check_is_needed(name, monkeypatch):
    case = CASES[name]
    take_out(case.module, case.check, monkeypatch)
    assert refusal(GOLDEN) is None
    assert not re.search(case.message, str(refusal(case.data)))


def test_a_name_that_is_not_utf8():
    for model_name, at in ((b"to\xff", 80), (b"to\xed\xa0\x80", 80), (b"to\xc3", 80), (b"\xc0\x80", 78)):
        error = refusal(header_bytes(model_name=model_name))
        assert "model_name is not UTF-8" in str(error)
        assert error.offset == at


def test_no_check_is_without_its_file():
    covered = {normal(case.check) for case in CASES.values()} | {normal(check) for check in BEYOND_FILES}
    for module in ("header", "read_header", "extensions", "blocks", "table", "packet", "sequence", "stream"):
        for node in ast.walk(tree_of(module)[1]):
            if isinstance(node, ast.If) and "Error(" in ast.unparse(node.body[-1]):
                assert ast.unparse(node.test) in covered, module


# To remove a check, the module's source is compiled anew with that condition constant, and the functions
# in use get the new code.


def normal(expression):
    return ast.unparse(ast.parse(expression, mode="eval"))


def tree_of(module):
    module = importlib.import_module(f"dacodec.container.{module}")
    return module, ast.parse(Path(module.__file__).read_text())


def take_out(name, check, monkeypatch):
    module, tree = tree_of(name)
    conditions = [node for node in ast.walk(tree) if isinstance(node, ast.If)]
    places = [node for node in conditions if ast.unparse(node.test) == normal(check)]
    assert len(places) == 1
    passes = isinstance(places[0].body[-1], ast.Return)  # an `if` that accepts, rather than one that refuses
    places[0].test = ast.copy_location(ast.Constant(passes), places[0].test)
    mutant = {"__name__": module.__name__}
    exec(compile(tree, module.__file__, "exec"), mutant)
    for qualified, function in functions_of(vars(module), module.__name__):
        new = dict(functions_of(mutant, module.__name__))[qualified]
        if new.__code__ != function.__code__:
            monkeypatch.setattr(function, "__code__", new.__code__)


def functions_of(namespace, module_name):
    for value in list(namespace.values()):
        if getattr(value, "__module__", None) != module_name:
            continue
        if inspect.isfunction(value):
            yield value.__qualname__, value
        elif inspect.isclass(value):
            yield from functions_of(vars(value), module_name)
