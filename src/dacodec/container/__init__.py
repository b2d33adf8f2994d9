"""The compressed file, ``.dacz``, as docs/format.md defines it; needs only the standard library and NumPy.

::

    with open("x.dacz", "wb") as file, Writer(file, header, index=True) as writer:
        writer.write(codes)  # uint16 [C, K, F], any number of frames, any number of times

    with open("x.dacz", "rb") as file:
        reader = Reader(file)
        for packet in reader:  # or reader.packets(start_frame, stop_frame)
            packet.codes  # uint16 [C, K, f]
        reader.n_samples
"""

from dacodec.container.datagram import from_datagram, to_datagram
from dacodec.container.descript import DescriptFile, read_descript
from dacodec.container.extensions import Extension, Tag
from dacodec.container.format import SUFFIX
from dacodec.container.header import AS_GIVEN, MID_SIDE, Header
from dacodec.container.packet import Packet
from dacodec.container.peel import peel
from dacodec.container.prior import PRIOR_FILE, Prior, prior_of_model, read_prior
from dacodec.container.reader import Reader
from dacodec.container.repair import Verdict, repair, verify
from dacodec.container.sequence import Damage
from dacodec.container.writer import Writer

__all__ = [
    "AS_GIVEN",
    "MID_SIDE",
    "PRIOR_FILE",
    "SUFFIX",
    "Damage",
    "DescriptFile",
    "Extension",
    "Header",
    "Packet",
    "Prior",
    "Reader",
    "Tag",
    "Verdict",
    "Writer",
    "from_datagram",
    "peel",
    "prior_of_model",
    "read_descript",
    "read_prior",
    "repair",
    "to_datagram",
    "verify",
]
