"""docs/format.md once more, slowly and obviously, in plain Python: the reference for the fast one.

Written from the page alone, sharing nothing with dacodec.container. Reading checks with ``need``; writing
checks nothing, so that tests can write files that break the rules and still have right CRCs.
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


def read(data):
    """(header as a dict, packets as (first_frame, codes[k][c][f]), n_samples) of a whole file."""
    header, position = read_header(data)
    packets, frames = [], 0
    while True:
        kind, n_codebooks, n_frames, first_frame, body, position = read_block(data, position, header)
        need(first_frame == frames, "first_frame")
        if kind == "E":
            break
        need(n_codebooks == header["n_codebooks"], "n_codebooks")
        packets.append((first_frame, read_segments(body, header, n_codebooks, n_frames)))
        frames += n_frames
        need(frames < 2**32, "total frames")
    n_samples = int.from_bytes(body, "little")
    need(n_samples < 2**53, "n_samples")
    need(header["n_samples"] in (None, n_samples), "n_samples")
    need(frames or not n_samples, "n_samples without frames")
    audio_end = (frames + 1) * header["hop_length"] * header["sampling_rate"]
    need(n_samples * header["model_sampling_rate"] <= audio_end, "n_samples beyond the frames")
    need(position == len(data), "trailing bytes")
    return header, packets, n_samples


def read_header(data):
    need(data[:8] == bytes([0x89, 0x44, 0x41, 0x43, 0x0D, 0x0A, 0x1A, 0x0A]), "magic")
    need(len(data) >= 12 and data[8] == 0, "version")
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
    need(data[44] == 0, "channel_layout")
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
    header["extensions"] = []
    while position < end:
        need(end - position >= 4, "extension")
        record, size = number(position, 2), number(position + 2, 2)
        need(position + 4 + size <= end, "extension length")
        need(all(record > before for before, _ in header["extensions"]), "extension order")
        need(record >= 0x8000, "unknown extension")
        header["extensions"].append((record, data[position + 4 : position + 4 + size]))
        position += 4 + size
    return header, length


def read_block(data, position, header):
    head = data[position : position + 12]
    need(len(head) == 12 and head[:2] == b"\xda\xc5", "sync")
    need(crc16(head[:10]) == int.from_bytes(head[10:], "little"), "head_crc")
    kind, n_codebooks, n_frames, first_frame = struct.unpack("<cBHI", head[2:10])
    if kind == b"P":
        need(1 <= n_codebooks <= header["n_codebooks"], "n_codebooks")
        need(1 <= n_frames <= header["packet_frames"], "n_frames")
        bits = header["channels"] * n_frames * code_width(header["codebook_size"])
        length = n_codebooks * -(-bits // 8)
    else:
        need(kind == b"E", "kind")
        need(n_codebooks == 0 and n_frames == 0, "end mark")
        length = 8
    end = position + 12 + length
    need(len(data) >= end + 4, "truncated")
    need(crc32(data[position:end]) == int.from_bytes(data[end : end + 4], "little"), "crc")
    return kind.decode(), n_codebooks, n_frames, first_frame, data[position + 12 : end], end + 4


def read_segments(body, header, n_codebooks, n_frames):
    channels, width = header["channels"], code_width(header["codebook_size"])
    size = len(body) // n_codebooks
    codebooks = []
    for k in range(n_codebooks):
        rest = int.from_bytes(body[k * size : (k + 1) * size], "little")
        codes = []
        for _ in range(channels * n_frames):
            codes.append(rest % 2**width)
            rest //= 2**width
        need(rest == 0, "padding")
        need(max(codes) < header["codebook_size"], "code")
        codebooks.append([codes[c * n_frames : (c + 1) * n_frames] for c in range(channels)])
    return codebooks


# Writing, right or wrong


def header_bytes(
    magic=b"\x89DAC\r\n\x1a\n", version=0, flags=0, header_length=None,
    model_sampling_rate=16000, hop_length=320, codebook_size=1024, sampling_rate=16000,
    gain=0.5, n_samples=1500, packet_frames=4, n_codebooks=2, channels=2, channel_layout=0,
    name_length=None, fingerprint=bytes(range(32)), model_name=b"toy", extensions=b"",
):  # fmt: skip
    body = struct.pack(
        "<IIIIfQHBBBB", model_sampling_rate, hop_length, codebook_size, sampling_rate, gain, n_samples,
        packet_frames, n_codebooks, channels, channel_layout,
        len(model_name) if name_length is None else name_length,
    )  # fmt: skip
    body += fingerprint + model_name + extensions
    length = 12 + len(body) + 4 if header_length is None else header_length
    data = magic + struct.pack("<BBH", version, flags, length) + body
    return data + struct.pack("<I", crc32(data))


def block_bytes(kind, n_codebooks, n_frames, first_frame, body, sync=b"\xda\xc5"):
    head = sync + struct.pack("<cBHI", kind, n_codebooks, n_frames, first_frame)
    data = head + struct.pack("<H", crc16(head)) + body
    return data + struct.pack("<I", crc32(data))


def end_bytes(n_frames, n_samples, n_codebooks=0, count=0):
    return block_bytes(b"E", n_codebooks, count, n_frames, struct.pack("<Q", n_samples))


def segment(codes, width):
    total = sum(code * 2 ** (width * i) for i, code in enumerate(codes))
    return total.to_bytes(-(-len(codes) * width // 8), "little")
