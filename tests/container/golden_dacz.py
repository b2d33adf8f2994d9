"""The worked example of docs/format.md, written out by hand, and its contents."""

from dacodec.container import Header

BLOCKS = [
    bytes.fromhex(text)
    for text in (
        "89444143 0d0a1a0a 01 00 5500"  # magic, version, flags, header_length
        "803e0000 40010000 00040000 803e0000 0000003f"  # model rate, hop, codebook size, rate, gain
        "dc05000000000000 0400 02 02 00 03"  # n_samples, packet_frames, K, C, coding, name_length
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
        "746f79 19361ae7",  # name, crc
        "dac5 50 02 0400 00000000 c14d"  # sync, P, K, 4 frames, from 0, head_crc
        "010830c0ff0000000080 041460c001ff03f03f00 848bed9a",
        "dac5 50 02 0100 04000000 31c4 072000 092800 b543145d",
        "dac5 45 00 0000 05000000 cce2 dc05000000000000 00000000 9788ae42",
    )
]
GOLDEN = b"".join(BLOCKS)
# Where each block starts, and the end.
STARTS = [sum(map(len, BLOCKS[:i])) for i in range(len(BLOCKS) + 1)]

HEADER = Header(
    model_name="toy",
    fingerprint=bytes(range(32)),
    model_sampling_rate=16000,
    hop_length=320,
    codebook_size=1024,
    n_codebooks=2,
    sampling_rate=16000,
    channels=2,
    n_samples=1500,
    gain=0.5,
    packet_frames=4,
)
CODES = [  # [C, K, F]
    [[1, 2, 3, 1023, 7], [4, 5, 6, 7, 9]],
    [[0, 0, 0, 512, 8], [1023, 0, 1023, 0, 10]],
]
