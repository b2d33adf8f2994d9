"""The compressed file, ``.dacz``: docs/format.md, in the standard library and NumPy.

::

    with open("x.dacz", "wb") as file, Writer(file, header) as writer:
        writer.write(codes)  # uint16 [C, K, F], any number of frames, any number of times

    with open("x.dacz", "rb") as file:
        reader = Reader(file)
        for packet in reader:
            packet.codes  # uint16 [C, K, f]
        reader.n_samples
"""

from dacodec.container.format import SUFFIX
from dacodec.container.header import Extension, Header
from dacodec.container.packet import Packet
from dacodec.container.reader import Reader
from dacodec.container.writer import Writer

__all__ = ["SUFFIX", "Extension", "Header", "Packet", "Reader", "Writer"]
