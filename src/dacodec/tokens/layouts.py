"""How codes are arranged in a language model's rows of ids."""

from __future__ import annotations

from dataclasses import dataclass

from dacodec.errors import ConfigError


@dataclass(frozen=True)
class Layout:
    """The position of each frame's and codebook's code, and the ids that are not codes.

    The code of codebook ``k`` in frame ``f`` is in row ``f + delays[k]``, counted from the first row whose
    first codebook is not ``begin``, as the id ``code + offsets[k]``. Before a codebook's first code comes
    ``begin``, after its last ``end``, if there is such an id, and then ``padding``.
    """

    name: str
    delays: tuple[int, ...]  # rows by which each codebook lags; the first does not
    begin: int
    padding: int
    vocabulary: int  # number of ids in the model
    end: int | None = None
    codebook_size: int = 1024
    offsets: tuple[int, ...] = ()  # left out: none
    has_text: bool = False  # ids of text may come between the rows, one by one

    def __post_init__(self) -> None:
        if not self.offsets:
            object.__setattr__(self, "offsets", (0,) * len(self.delays))
        problem = self._problem()
        if problem:
            raise ConfigError(f"layout {self.name!r}: {problem}")

    @property
    def n_codebooks(self) -> int:
        return len(self.delays)

    @property
    def max_delay(self) -> int:
        """Rows from a frame's first code to its last."""
        return max(self.delays)

    @property
    def slowest(self) -> int:
        """The codebook that lags most."""
        return self.delays.index(self.max_delay)

    @property
    def ends(self) -> frozenset[int]:
        """Ids that mark the end of a codebook's codes."""
        return frozenset({self.padding} if self.end is None else {self.end, self.padding})

    def check(self, n_codebooks: int, codebook_size: int) -> None:
        """Check that a codec with ``n_codebooks`` codebooks of ``codebook_size`` codes can decode this
        layout.

        Raises:
            ConfigError: if it cannot.
        """
        if self.n_codebooks > n_codebooks or self.codebook_size > codebook_size:
            raise ConfigError(
                f"layout {self.name!r} has {self.n_codebooks} codebooks of {self.codebook_size} codes, the codec "
                f"{n_codebooks} of {codebook_size}: take the codec that the language model learned from"
            )

    def _problem(self) -> str | None:
        if not self.delays or self.delays[0] != 0 or min(self.delays) < 0:
            return f"delays {list(self.delays)} must begin with 0, and none may be negative"
        if len(self.offsets) != len(self.delays):
            return f"{len(self.offsets)} offsets for {len(self.delays)} codebooks"
        special = self.ends | {self.begin}
        if min(special) < 0 or max(special) >= self.vocabulary:
            return f"its ids {sorted(special)} are not all in 0..{self.vocabulary - 1}"
        for k, offset in enumerate(self.offsets):
            if offset < 0 or offset + self.codebook_size > self.vocabulary:
                return f"the codes of codebook {k} are not all in 0..{self.vocabulary - 1}"
            if any(offset <= i < offset + self.codebook_size for i in special):
                return f"one of its ids {sorted(special)} is a code of codebook {k}"
        return None


# facebookresearch/audiocraft, "delay" in config/model/lm/default.yaml; ids in transformers'
# models/musicgen/configuration_musicgen.py (bos and pad are 2048, one more than the codes of EnCodec at 32 kHz).
MUSICGEN = Layout("musicgen", (0, 1, 2, 3), begin=2048, padding=2048, codebook_size=2048, vocabulary=2049)

# huggingface/parler-tts, helpers/model_init_scripts/init_model_600M.py: bos is the codebook's size and one, eos and pad
# the codebook's size, and there is room for 64 ids more than codes; DAC at 44.1 kHz.
PARLER_TTS = Layout("parler-tts", tuple(range(9)), begin=1025, end=1024, padding=1024, vocabulary=1088)

# nari-labs/dia, dia/config.py; the same in transformers' models/dia/configuration_dia.py and processing_dia.py.
DIA = Layout("dia", (0, 8, 9, 10, 11, 12, 13, 14, 15), begin=1026, end=1024, padding=1025, vocabulary=1028)

# boson-ai/higgs-audio, audio_stream_bos_id, audio_stream_eos_id and audio_num_codebooks in
# boson_multimodal/model/higgs_audio/configuration_higgs_audio.py, the pattern in model/higgs_audio/utils.py.
HIGGS_AUDIO = Layout(
    "higgs-audio", tuple(range(8)), begin=1024, end=1025, padding=1025, vocabulary=1026, has_text=True
)

LAYOUTS = {layout.name: layout for layout in (MUSICGEN, PARLER_TTS, DIA, HIGGS_AUDIO)}


def delayed(n_codebooks: int, codebook_size: int = 1024, delay: int = 1) -> Layout:
    """The layout of a model of your own: each codebook lags ``delay`` rows behind the one before, as in MusicGen.

    The ids of ``begin``, ``end`` and ``padding`` are the three after the codes.

    Raises:
        ConfigError: for numbers that make no layout.

    Examples:
        >>> layout = delayed(4)
        >>> layout.delays, layout.vocabulary
        ((0, 1, 2, 3), 1027)
    """
    return Layout(
        f"{n_codebooks} codebooks, delayed by {delay}",
        tuple(delay * k for k in range(n_codebooks)),
        begin=codebook_size,
        end=codebook_size + 1,
        padding=codebook_size + 2,
        vocabulary=codebook_size + 3,
        codebook_size=codebook_size,
    )


def find_layout(layout: Layout | str) -> Layout:
    """The layout called ``layout``; a Layout is returned as it is.

    Raises:
        ConfigError: for an unknown name.
    """
    if isinstance(layout, Layout):
        return layout
    if layout not in LAYOUTS:
        raise ConfigError(f"no layout is called {layout!r}; there are {', '.join(LAYOUTS)}, or give a Layout")
    return LAYOUTS[layout]
