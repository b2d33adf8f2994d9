"""Reading plain samples from the files that hold them."""

from __future__ import annotations

from collections.abc import Iterator

from dacodec.audio.containers import Content, next_file, parse, what_follows
from dacodec.audio.findings import Findings, RatedBlock
from dacodec.audio.samples import to_float
from dacodec.audio.source import Source

_READ = 1 << 17  # bytes


class PcmFileDecoder:
    """Reads the samples of ``content`` from the position of ``source`` on."""

    def __init__(self, source: Source, content: Content, findings: Findings) -> None:
        assert content.sample is not None
        self._source, self._content, self._findings = source, content, findings
        self.sampling_rate, self.channels = content.sampling_rate, content.channels
        self.is_finite = content.sample.kind != "float"
        self.n_samples = None
        if source.size is not None:
            held = max(0, source.size - content.start)
            claim = content.claim
            if claim is None or (claim > held and not content.is_firm):
                self.n_samples = held // content.frame_bytes
            elif claim > held:
                self.n_samples = (
                    held // content.frame_bytes if findings.keeps else claim // content.frame_bytes
                )
            else:
                self.n_samples = self._n_within(claim)

    def _n_within(self, claim: int) -> int | None:
        """The claimed number of samples, if there are no more; None if more follow."""
        position = self._source.tell()
        self._source.seek(self._content.start + claim)
        more = what_follows(self._source, self._content.pads) == "audio" or next_file(
            self._source, self._content
        )
        self._source.seek(position)
        return None if more else claim // self._content.frame_bytes

    def blocks(self) -> Iterator[RatedBlock]:
        decoder: PcmFileDecoder | None = self
        while decoder is not None:
            yield from decoder._own_blocks()
            decoder = decoder._following()
            self.is_finite = self.is_finite and (decoder is None or decoder.is_finite)

    def _own_blocks(self) -> Iterator[RatedBlock]:
        content, size = self._content, self._content.frame_bytes
        rest, length = b"", 0
        for data in self._data():
            length += len(data)
            data = rest + data if rest else data
            whole = len(data) // size * size
            rest = data[whole:]
            if whole:
                assert content.sample is not None
                data = data[:whole] if rest else data
                yield content.sampling_rate, to_float(data, content.sample, content.channels)
        missing = (content.claim or 0) - length
        if content.is_firm and missing >= size:
            self._findings.damaged(
                f"its header claims {content.claim} bytes of audio, the file holds {length}: it was cut off",
                length / size / content.sampling_rate,
                missing // size,
            )

    def _following(self) -> PcmFileDecoder | None:
        """The decoder of a file appended to this one, if there is any."""
        if not next_file(self._source, self._content):
            return None
        self._source.begin()
        content = parse(self._source)
        if content is None or content.sample is None or not content.channels:
            self._findings.warn("it is followed by another file without PCM, which is left out")
            return None
        if (content.sampling_rate, content.channels) != (self.sampling_rate, self.channels):
            self._findings.warn(
                f"it changes to {content.sampling_rate} Hz and {content.channels} channel(s) on the way; "
                "everything is converted to how it begins"
            )
        return PcmFileDecoder(self._source, content, self._findings)

    def _data(self) -> Iterator[bytes]:
        left = self._content.claim
        while left is None or left > 0:
            data = self._source.read(_READ if left is None else min(_READ, left))
            if not data:
                return
            left = None if left is None else left - len(data)
            yield data
        if what_follows(self._source, self._content.pads) != "audio":
            return
        if self._content.is_firm:
            self._findings.warn(
                f"its header claims {self._content.claim} bytes of audio, and more follow; all are read"
            )
        while data := self._source.read(_READ):
            yield data

    def close(self) -> None:
        pass
