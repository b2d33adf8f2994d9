"""A slow, obvious implementation of docs/format.md in plain Python: the reference for the fast one.

Written from the page alone, sharing nothing with dacodec.container. Reading checks with ``need``; writing
checks nothing, so that tests can write files that break the rules but have correct CRCs.
"""

from __future__ import annotations

import struct


class Refused(Exception):
    pass


def need(condition, what):
    if not condition:
        raise Refused(what)


def crc32(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xEDB88320 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def crc16(data):
    crc = 0xFFFF
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ (0x1021 if crc & 0x8000 else 0)) & 0xFFFF
    return crc


def code_width(codebook_size):
    width = 0
    while 2**width < codebook_size:
        width += 1
    return width


# Reading


def read(data, prior=None):
    """(header as a dict, packets as (first_frame, codes[k][c][f]), n_samples) of a whole file.

    ``prior`` is the bytes of a prior, for files with coded packets.
    """
    header, position = read_header(data)
    prior = prior and read_prior(prior)
    packets, frames, starts, index_length = [], 0, [], 0
    while True:
        block, position = read_block(data, position, header)
        need(block["first_frame"] == frames, "first_frame")
        if block["kind"] == "E":
            break
        need(index_length == 0, "only the end mark follows the index")
        if block["kind"] == "I":
            read_index(block, starts, header)
            index_length = block["end"] - block["start"]
            continue
        need(block["n_codebooks"] == header["n_codebooks"], "n_codebooks")
        starts.append((frames, block["start"]))
        packets.append((frames, read_segments(block, header, prior)))
        frames += block["n_frames"]
        need(frames < 2**32, "total frames")
    n_samples = int.from_bytes(block["body"][:8], "little")
    need(int.from_bytes(block["body"][8:], "little") == index_length, "index_length")
    need(n_samples < 2**53, "n_samples")
    need(header["n_samples"] in (None, n_samples), "n_samples")
    need(frames or not n_samples, "n_samples without frames")
    audio_end = (frames + 1) * header["hop_length"] * header["sampling_rate"]
    need(n_samples * header["model_sampling_rate"] <= audio_end, "n_samples beyond the frames")
    need(position == len(data), "trailing bytes")
    return header, packets, n_samples


def read_header(data):
    need(data[:8] == bytes([0x89, 0x44, 0x41, 0x43, 0x0D, 0x0A, 0x1A, 0x0A]), "magic")
    need(len(data) >= 12 and data[8] == 1, "version")
    length = int.from_bytes(data[10:12], "little")
    need(83 <= length <= len(data), "header_length")
    need(crc32(data[: length - 4]) == int.from_bytes(data[length - 4 : length], "little"), "header crc")
    need(data[9] == 0, "flags")
    number = lambda at, size: int.from_bytes(data[at : at + size], "little")  # noqa: E731
    header = {
        "model_sampling_rate": number(12, 4),
        "hop_length": number(16, 4),
        "codebook_size": number(20, 4),
        "sampling_rate": number(24, 4),
        "gain": struct.unpack("<f", data[28:32])[0],
        "n_samples": number(32, 8),
        "packet_frames": number(40, 2),
        "n_codebooks": data[42],
        "channels": data[43],
        "fingerprint": data[46:78],
    }
    need(1 <= header["model_sampling_rate"] <= 768000, "model_sampling_rate")
    need(1 <= header["hop_length"] <= 1048576, "hop_length")
    need(2 <= header["codebook_size"] <= 65536, "codebook_size")
    need(1 <= header["sampling_rate"] <= 768000, "sampling_rate")
    need(2**-24 <= header["gain"] <= 2**24, "gain")
    if header["n_samples"] == 2**64 - 1:
        header["n_samples"] = None
    else:
        need(header["n_samples"] < 2**53, "n_samples")
    frames = header["packet_frames"]
    need(frames >= 1, "packet_frames")
    need(header["n_codebooks"] >= 1 and header["channels"] >= 1, "n_codebooks, channels")
    need(frames == 1 or frames * header["hop_length"] <= 10 * header["model_sampling_rate"], "10 seconds")
    need(frames * header["n_codebooks"] * header["channels"] <= 2**20, "codes in a packet")
    need(data[44] == 0 or (data[44] == 1 and header["channels"] == 2), "channel_coding")
    header["channel_coding"] = data[44]
    name = data[78 : 78 + data[45]]
    position, end = 78 + len(name), length - 4
    need(len(name) == data[45] >= 1 and position <= end, "name_length")
    try:
        header["model_name"] = name.decode("utf-8")
    except UnicodeDecodeError:
        raise Refused("model_name") from None
    need(name != b"builtin", "builtin")
    for character in header["model_name"]:
        need(not (ord(character) <= 0x1F or 0x7F <= ord(character) <= 0x9F), "control character")
    header |= {"prior_id": None, "tags": [], "speakers": None, "extensions": []}
    previous = -1
    while position < end:
        need(end - position >= 4, "extension")
        record, size = number(position, 2), number(position + 2, 2)
        need(position + 4 + size <= end, "extension length")
        need(record > previous, "extension order")
        read_record(header, record, data[position + 4 : position + 4 + size])
        previous = record
        position += 4 + size
    return header, length


def read_record(header, record, content):
    if record == 0x0001:
        need(len(content) == 8, "prior")
        header["prior_id"] = content
    elif record == 0x8001:
        need(content, "tags")
        while content:
            key, content = take(content, 1)
            value, content = take(content, 2)
            need(key, "empty key")
            for character in key + value.replace("\n", "").replace("\t", ""):
                need(not (ord(character) <= 0x1F or 0x7F <= ord(character) <= 0x9F), "control character")
            header["tags"].append((key, value))
    elif record == 0x8002:
        need(len(content) == 4, "speakers")
        header["speakers"] = int.from_bytes(content, "little")
        need(bin(header["speakers"]).count("1") == header["channels"], "speakers")
    else:
        need(record >= 0x8000, "unknown extension")
        header["extensions"].append((record, content))


def take(data, length_bytes):
    """A text preceded by its length, and the rest."""
    length = int.from_bytes(data[:length_bytes], "little")
    need(len(data) >= length_bytes + length, "tag length")
    try:
        return data[length_bytes : length_bytes + length].decode("utf-8"), data[length_bytes + length :]
    except UnicodeDecodeError:
        raise Refused("tag") from None


def read_block(data, start, header):
    """A block as a dict, and where the next one starts."""
    head = data[start : start + 12]
    need(len(head) == 12 and head[:2] == b"\xda\xc5", "sync")
    need(crc16(head[:10]) == int.from_bytes(head[10:], "little"), "head_crc")
    kind, n_codebooks, n_frames, first_frame = struct.unpack("<cBHI", head[2:10])
    position, savings = start + 12, {}
    if kind in (b"P", b"C"):
        need(1 <= n_codebooks <= header["n_codebooks"], "n_codebooks")
        need(1 <= n_frames <= header["packet_frames"], "n_frames")
        bits = header["channels"] * n_frames * code_width(header["codebook_size"])
        raw = -(-bits // 8)
        if kind == b"C":
            need(header["prior_id"], "a prior")
            need(header["channels"] * n_frames <= 2**13, "too many coded codes")
            savings, position = read_table(data, position, n_codebooks, raw)
        length = n_codebooks * raw - sum(savings.values())
    elif kind == b"I":
        need(n_codebooks == 0 and n_frames >= 1, "index")
        length, raw = 12 * n_frames, 0
    else:
        need(kind == b"E", "kind")
        need(n_codebooks == 0 and n_frames == 0, "end mark")
        length, raw = 12, 0
    end = position + length
    need(len(data) >= end + 4, "truncated")
    need(crc32(data[start:end]) == int.from_bytes(data[end : end + 4], "little"), "crc")
    block = {
        "kind": kind.decode(),
        "n_codebooks": n_codebooks,
        "n_frames": n_frames,
        "first_frame": first_frame,
        "savings": savings,
        "raw": raw,
        "body": data[position:end],
        "start": start,
        "end": end + 4,
    }
    return block, end + 4


def read_table(data, position, n_codebooks, raw):
    mask, position = read_varint(data, position)
    need(0 < mask < 2**n_codebooks, "mask")
    savings = {}
    for k in range(n_codebooks):
        if mask >> k & 1:
            savings[k], position = read_varint(data, position)
            need(1 <= savings[k] <= raw, "saving")
    return savings, position


def read_varint(data, position):
    value, shift = 0, 0
    while True:
        need(position < len(data) and shift < 300, "varint")
        byte = data[position]
        position += 1
        value += (byte & 127) << shift
        shift += 7
        if byte < 128:
            need(byte or shift == 7, "varint")
            return value, position


def read_index(block, starts, header):
    """The entries must be those that the page's rule gives for packets that start at ``starts``."""
    distance = -(-10 * header["model_sampling_rate"] // header["hop_length"])
    expected = []
    for first_frame, offset in starts:
        if not expected or first_frame >= expected[-1][0] + distance:
            expected.append((first_frame, offset))
    need(list(struct.iter_unpack("<IQ", block["body"])) == expected, "index")


def read_segments(block, header, prior):
    channels, width, n_frames = header["channels"], code_width(header["codebook_size"]), block["n_frames"]
    codebooks, position = [], 0
    for k in range(block["n_codebooks"]):
        size = block["raw"] - block["savings"].get(k, 0)
        segment, position = block["body"][position : position + size], position + size
        if k in block["savings"]:
            need(not segment or segment[-1], "zero at the end")
            codes = decode_segment(prior, segment, codebooks, channels, n_frames)
        else:
            rest = int.from_bytes(segment, "little")
            codes = [(rest >> width * i) % 2**width for i in range(channels * n_frames)]
            need(rest < 2 ** (width * channels * n_frames), "padding")
        need(max(codes) < header["codebook_size"], "code")
        codebooks.append([codes[c * n_frames : (c + 1) * n_frames] for c in range(channels)])
    return codebooks


# Entropy coding

SQUASH = [
    22,
    36,
    60,
    98,
    162,
    267,
    439,
    720,
    1179,
    1921,
    3108,
    4971,
    7812,
    11955,
    17625,
    24743,
    32768,
    40793,
    47911,
    53581,
    57724,
    60565,
    62428,
    63615,
    64357,
    64816,
    65097,
    65269,
    65374,
    65438,
    65476,
    65500,
    65514,
]


def squash(z):
    z = max(-2047, min(2047, z)) + 2048
    return (SQUASH[z >> 7] * (128 - (z & 127)) + SQUASH[(z >> 7) + 1] * (z & 127)) >> 7


def read_prior(data):
    """The trees of a prior as dicts."""
    need(crc32(data[:-4]) == int.from_bytes(data[-4:], "little"), "crc")
    need(data[:9] == b"\x89DAP\r\n\x1a\n\1", "magic")
    width, n_codebooks, dimensions = data[9:12]
    position = 12 + 32
    signed = lambda byte: byte - 256 if byte > 127 else byte  # noqa: E731

    def rows(at):
        return [
            [signed(x) for x in data[at + i * dimensions : at + (i + 1) * dimensions]]
            for i in range(2**width)
        ]

    trees = []
    for _ in range(n_codebooks):
        tree = {"rate": list(data[position : position + width])}
        position += width
        n_sources = data[position]
        numbers = data[position + 1 : position + 1 + 2 * n_sources]
        tree["sources"] = list(zip(numbers[::2], numbers[1::2], strict=True))
        position += 1 + 2 * n_sources
        tree["order"] = struct.unpack_from(f"<{2**width}H", data, position)
        tree["bias"] = struct.unpack_from(f"<{2**width}h", data, position + 2 * 2**width)
        position += 4 * 2**width
        tree["node_vector"] = rows(position)
        position += 2**width * dimensions
        tree["context"] = [rows(position + s * 2**width * dimensions) for s in range(n_sources)]
        position += n_sources * 2**width * dimensions
        trees.append(tree)
    need(position == len(data) - 4, "length")
    return {"width": width, "dimensions": dimensions, "trees": trees}


def decode_segment(prior, segment, below, channels, n_frames):
    """Codes of one segment, channel by channel, given those of the codebooks below it, below[k][c][f]."""
    tree, width = prior["trees"][len(below)], prior["width"]
    state = list(tree["bias"])
    codes = [[0] * n_frames for _ in range(channels)]
    known = [*below, codes]
    position, size = 4, 2**32 - 1
    byte = lambda i: segment[i] if i < len(segment) else 0  # noqa: E731
    value = byte(0) << 24 | byte(1) << 16 | byte(2) << 8 | byte(3)
    for f in range(n_frames):
        for c in range(channels):
            h = [0] * prior["dimensions"]
            for (lag, j), table in zip(tree["sources"], tree["context"], strict=True):
                if f >= lag:
                    h = [a + b for a, b in zip(h, table[known[j][c][f - lag]], strict=True)]
            node = 1
            for depth in range(width):
                dot = sum(a * b for a, b in zip(tree["node_vector"][node], h, strict=True))
                p = squash(state[node] + (dot >> 3))
                bound = size * p >> 16
                bit = int(value < bound)
                if bit:
                    size = bound
                else:
                    value, size = value - bound, size - bound
                if size < 65536:
                    value = value << 16 | byte(position) << 8 | byte(position + 1)
                    size, position = size << 16, position + 2
                error = 65536 - p if bit else -p
                state[node] += (error * tree["rate"][depth] + 32768) >> 16
                node = 2 * node + bit
            codes[c][f] = tree["order"][node - 2**width]
    return [code for channel in codes for code in channel]


# Writing, right or wrong


def header_bytes(
    magic=b"\x89DAC\r\n\x1a\n",
    version=1,
    flags=0,
    header_length=None,
    model_sampling_rate=16000,
    hop_length=320,
    codebook_size=1024,
    sampling_rate=16000,
    gain=0.5,
    n_samples=1500,
    packet_frames=4,
    n_codebooks=2,
    channels=2,
    channel_coding=0,
    name_length=None,
    fingerprint=bytes(range(32)),
    model_name=b"toy",
    extensions=b"",
):
    body = struct.pack(
        "<IIIIfQHBBBB",
        model_sampling_rate,
        hop_length,
        codebook_size,
        sampling_rate,
        gain,
        n_samples,
        packet_frames,
        n_codebooks,
        channels,
        channel_coding,
        len(model_name) if name_length is None else name_length,
    )
    body += fingerprint + model_name + extensions
    length = 12 + len(body) + 4 if header_length is None else header_length
    data = magic + struct.pack("<BBH", version, flags, length) + body
    return data + struct.pack("<I", crc32(data))


def block_bytes(kind, n_codebooks, n_frames, first_frame, body, sync=b"\xda\xc5"):
    head = sync + struct.pack("<cBHI", kind, n_codebooks, n_frames, first_frame)
    data = head + struct.pack("<H", crc16(head)) + body
    return data + struct.pack("<I", crc32(data))


def end_bytes(n_frames, n_samples, n_codebooks=0, count=0, index_length=0):
    return block_bytes(b"E", n_codebooks, count, n_frames, struct.pack("<QI", n_samples, index_length))


def index_bytes(n_frames, entries):
    body = b"".join(struct.pack("<IQ", *entry) for entry in entries)
    return block_bytes(b"I", 0, len(entries), n_frames, body)


def varint(value):
    data = bytearray()
    while value > 127:
        data.append(value & 127 | 128)
        value >>= 7
    return bytes(data) + bytes([value])


def segment(codes, width):
    total = sum(code * 2 ** (width * i) for i, code in enumerate(codes))
    return total.to_bytes(-(-len(codes) * width // 8), "little")
