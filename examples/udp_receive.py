"""Receive live audio over UDP and write it to a file; losses are concealed and reported.

python examples/udp_receive.py call.header 5004 out.wav
"""

from __future__ import annotations

import argparse
import socket
from pathlib import Path

import numpy as np

from dacodec import Codec
from dacodec.audio import AudioWriter
from dacodec.container import from_datagram
from dacodec.container.header import read_header
from dacodec.container.stream import Source
from dacodec.errors import FormatError


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("header", type=Path)
    parser.add_argument("port", type=int)
    parser.add_argument("output", type=Path)
    parser.add_argument("--timeout", type=float, default=10, help="seconds of silence that end the call")
    arguments = parser.parse_args()

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", arguments.port))
        receiver.settimeout(arguments.timeout)
        print("listening", flush=True)
        datagram = receiver.recv(65536)
        with arguments.header.open("rb") as file:
            header = read_header(Source(file))
        decoder = Codec.from_pretrained(header.model_name).stream_decoder(header.sampling_rate)
        state, n_frames, n_lost = None, 0, 0
        with (
            arguments.output.open("wb") as file,
            AudioWriter(file, header.sampling_rate, header.channels) as out,
        ):
            while datagram:
                try:
                    packet = from_datagram(header, datagram)
                except FormatError as error:
                    print(f"not ours: {error}")
                else:
                    # Packets that arrive after a later one are dropped: this is a call, not a file.
                    if (gap := packet.first_frame - n_frames) >= 0:
                        codes = np.pad(packet.codes, ((0, 0), (0, 0), (gap, 0)))
                        missing = np.arange(codes.shape[2]) < gap
                        audio, state = decoder.push(codes, state, missing)
                        out.write(audio)
                        n_frames += codes.shape[2]
                        n_lost += gap
                try:
                    datagram = receiver.recv(65536)
                except TimeoutError:
                    break
            if state is not None:
                out.write(decoder.flush(state))
    print(f"{n_frames} frames, {n_lost} lost ({n_lost / max(n_frames, 1):.1%})")


if __name__ == "__main__":
    main()
