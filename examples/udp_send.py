"""Send a recording as live audio over UDP, in real time, four frames per datagram.

    python examples/udp_send.py in.wav 127.0.0.1 5004 --header call.header [--loss 0.05]

The header goes out of band: here, as a file that the receiver reads. ``--loss`` drops datagrams, to hear the
effect.
"""

from __future__ import annotations

import argparse
import random
import socket
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from dacodec import Codec
from dacodec.audio import AudioReader
from dacodec.container import Packet, to_datagram
from dacodec.encoded import header_of

FRAMES = 4


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recording")
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--header", type=Path, required=True, help="where to write the header")
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--loss", type=float, default=0.0, help="fraction of datagrams to drop")
    parser.add_argument("--hurry", action="store_true", help="do not wait for the time to pass")
    arguments = parser.parse_args()

    codec = Codec.from_pretrained(arguments.model)
    with AudioReader(arguments.recording) as reader:
        rate, channels, audio = (
            reader.sampling_rate,
            reader.channels,
            np.concatenate([*reader.blocks()], axis=1),
        )
    header = replace(header_of(codec.model, codec.n_codebooks, rate, channels, None), packet_frames=FRAMES)
    arguments.header.write_bytes(header.to_bytes())

    encoder, state = codec.stream_encoder(rate), None
    pending = np.zeros((channels, codec.n_codebooks, 0), np.uint16)
    n_sent = 0
    step = rate // 50
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect((arguments.host, arguments.port))
        begin = time.monotonic()
        for start in range(0, audio.shape[1] + 1, step):
            if start < audio.shape[1]:
                codes, state = encoder.push(audio[:, start : start + step], state)
            else:
                codes = encoder.flush(state)
            pending = np.concatenate([pending, codes], axis=2)
            while pending.shape[2] >= FRAMES or (start + step > audio.shape[1] and pending.shape[2]):
                packet, pending = Packet(n_sent, pending[:, :, :FRAMES]), pending[:, :, FRAMES:]
                n_sent += packet.n_frames
                if random.random() >= arguments.loss:
                    sender.send(to_datagram(header, packet))
            if not arguments.hurry:
                time.sleep(max(0.0, begin + start / rate - time.monotonic()))
        sender.send(b"")  # the end
    print(f"{n_sent} frames")


if __name__ == "__main__":
    main()
