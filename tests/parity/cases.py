"""The cases compared with the other packages: shapes of models, inputs and ways of calling, as plain data.

A case is a dict, so that it can be stored beside the other package's results: ``config``
(Hugging Face's fields), ``seed`` (of the weights; the audio's is the next), ``batch``, ``samples``, ``mode``
(see MODES), ``n_quantizers`` (None or a number, in eval mode), ``counts`` (a number per item, in the mode
"counts"), ``gradients`` and ``float64`` (whether these are compared, and whether codes are in float64 too).
"""

from __future__ import annotations

import itertools
import math

# "train" is training mode without quantizer dropout, "counts" training mode with given numbers of codebooks.
MODES = ("eval", "train", "counts")

FULL_WIDTH = {
    "encoder_hidden_size": 64,
    "decoder_hidden_size": 1536,
    "codebook_size": 1024,
    "codebook_dim": 8,
}
RELEASED = {
    "16khz": {"downsampling_ratios": [2, 4, 5, 8], "n_codebooks": 12, "sampling_rate": 16000},
    "24khz": {"downsampling_ratios": [2, 4, 5, 8], "n_codebooks": 32, "sampling_rate": 24000},
    "44khz": {"downsampling_ratios": [2, 4, 8, 8], "n_codebooks": 9, "sampling_rate": 44100},
    "44khz-16kbps": {
        "downsampling_ratios": [2, 4, 8, 8],
        "n_codebooks": 18,
        "sampling_rate": 44100,
        "hidden_size": 128,
    },
}
RELEASED = {name: {**FULL_WIDTH, **config} for name, config in RELEASED.items()}


def narrow(ratios, n_codebooks, *, encoder=4, decoder=32, size=1024, dim=8, hidden_size=None, rate=16000):
    """A model with few channels."""
    config = {
        "encoder_hidden_size": encoder,
        "downsampling_ratios": ratios,
        "decoder_hidden_size": decoder,
        "n_codebooks": n_codebooks,
        "codebook_size": size,
        "codebook_dim": dim,
        "sampling_rate": rate,
    }
    return config if hidden_size is None else {**config, "hidden_size": hidden_size}


def case(
    name,
    config,
    frames,
    extra=0,
    *,
    seed,
    batch=1,
    n_quantizers=None,
    counts=None,
    mode="eval",
    gradients=False,
    float64=True,
):
    """`frames` whole hops of audio, and `extra` samples."""
    return {
        "name": name,
        "config": config,
        "seed": seed,
        "batch": batch,
        "samples": frames * math.prod(config["downsampling_ratios"]) + extra,
        "mode": mode,
        "n_quantizers": n_quantizers,
        "counts": counts,
        "gradients": gradients,
        "float64": float64,
    }


def golden_cases():
    """A few cases, small enough to store their results. Seeds: see make_golden.py, which refuses near-ties."""
    small = {"encoder": 2, "decoder": 16}
    return [
        case("one_hop", narrow([2, 4], 1, size=16, dim=4), 1, seed=1, gradients=True),
        case("two_strides", narrow([2, 4], 4, size=64), 50, seed=102, batch=4, mode="train", gradients=True),
        case(
            "two_strides_counts",
            narrow([2, 4], 4, **small, size=64),
            50,
            seed=3,
            batch=4,
            counts=[2, 4, 1, 3],
            mode="counts",
            gradients=True,
        ),
        case(
            "odd_strides",
            narrow([3, 5], 4, **small, size=64),
            40,
            7,
            seed=4,
            batch=2,
            n_quantizers=3,
            gradients=True,
        ),
        case(
            "odd_strides_counts",
            narrow([3, 5], 6, **small, size=256),
            30,
            4,
            seed=5,
            batch=2,
            counts=[5, 2],
            mode="counts",
            gradients=True,
        ),
        case(
            "three_strides",
            narrow([5, 2, 3], 3, **small, size=16, dim=2),
            33,
            1,
            seed=6,
            batch=2,
            n_quantizers=1,
            gradients=True,
        ),
        case("primes", narrow([2, 3, 5, 7], 6, **small, size=256), 24, 100, seed=7, batch=3),
        case(
            "five_strides",
            narrow([2, 2, 2, 2, 3], 5, encoder=2, decoder=32, size=512),
            30,
            seed=8,
            batch=4,
            n_quantizers=1,
        ),
        case(
            "16khz_narrow",
            narrow([2, 4, 5, 8], 12, encoder=3, decoder=48),
            20,
            seed=9,
            batch=2,
            n_quantizers=12,
        ),
        case(
            "44khz_narrow",
            narrow([2, 4, 8, 8], 9, **small, size=128, rate=44100),
            12,
            1,
            seed=10,
            batch=2,
            n_quantizers=5,
            gradients=True,
        ),
        case(
            "44khz_narrow_train",
            narrow([2, 4, 8, 8], 9, **small, size=128, rate=44100),
            12,
            seed=11,
            mode="train",
            gradients=True,
        ),
        case(
            "hidden_size",
            narrow([2, 4, 8, 8], 18, **small, hidden_size=12, rate=44100),
            16,
            3,
            seed=12,
            n_quantizers=17,
        ),
        case("ten_seconds", narrow([2, 4, 5, 8], 2, **small, rate=8000), 250, seed=13),
        *(
            case(f"full_{name}", config, 10, seed=20 + i, float64=False)
            for i, (name, config) in enumerate(RELEASED.items())
        ),
    ]


def live_cases():
    """Cases that cover every pair of the levels below, and every released shape at full width."""
    factors = {
        "ratios": ([2, 4, 5, 8], [2, 4, 8, 8], [2, 3, 5, 7], [2, 2, 2, 2, 3], [3, 5], [2, 4], [5, 2, 3]),
        "length": ("one hop", "some hops and samples", "1 s", "10 s"),
        "n_codebooks": (1, 4, 9, 12),
        "use": ("all", "one", "half", "all but one", "train", "counts"),
        "batch": (1, 2, 3, 4),
        "codebook": ((16, 2), (256, 4), (1024, 8)),
        "hidden_size": (None, 24),
    }
    cases = []
    for i, chosen in enumerate(pairwise(factors)):
        n = chosen["n_codebooks"]
        size, dim = chosen["codebook"]
        # 4 kHz keeps 10 s of a slow, narrow model affordable; nothing in the model depends on the rate.
        config = narrow(chosen["ratios"], n, size=size, dim=dim, hidden_size=chosen["hidden_size"], rate=4000)
        frames, extra = {
            "one hop": (1, 0),
            "some hops and samples": (7, 11),
            "1 s": (0, 4000),
            "10 s": (0, 40000),
        }[chosen["length"]]
        use, batch = chosen["use"], chosen["batch"]
        numbers = {"one": 1, "half": -(-n // 2), "all but one": max(1, n - 1), "all": n}
        cases.append(
            case(
                f"pair_{i}",
                config,
                frames,
                extra,
                seed=100 + i,
                batch=batch,
                n_quantizers=numbers.get(use),
                counts=[1 + (i + 5 * j) % n for j in range(batch)] if use == "counts" else None,
                mode=use if use in MODES else "eval",
                gradients=batch <= 2 and chosen["length"] != "10 s",
            )
        )
    full = [
        case(f"full_{name}", config, 20, 3, seed=200 + i, gradients=True)
        for i, (name, config) in enumerate(RELEASED.items())
    ]
    counts = case(
        "full_counts", RELEASED["44khz"], 8, seed=210, batch=2, counts=[4, 9], mode="counts", gradients=True
    )
    long = [
        case("44khz_10s", narrow([2, 4, 8, 8], 9, rate=44100), 0, 441000, seed=211),
        case("full_16khz_10s", RELEASED["16khz"], 0, 160000, seed=212, float64=False),
    ]
    return [*cases, *full, counts, *long]


def pairwise(factors):
    """Combinations of one level per factor that cover every pair of levels; greedily few."""
    names = list(factors)
    every_pair = set()
    for a, b in itertools.combinations(names, 2):
        every_pair |= {((a, i), (b, j)) for i in range(len(factors[a])) for j in range(len(factors[b]))}
    missing = set(every_pair)
    for turn in itertools.count():
        if not missing:
            return
        # Start from a missing pair, then add the level that covers most of the missing pairs.
        chosen = dict(min(missing))
        for name in names:
            if name not in chosen:
                chosen[name] = _best_level(name, len(factors[name]), chosen, missing, turn)
        missing -= set(itertools.combinations([(name, chosen[name]) for name in names], 2))
        yield {name: factors[name][chosen[name]] for name in names}


def _best_level(name, n_levels, chosen, missing, turn):
    def met(level):
        new = (name, level)
        return sum((new, old) in missing or (old, new) in missing for old in chosen.items())

    # Ties are broken in rotation.
    return max(
        (level for level in range(n_levels)), key=lambda level: (met(level), (level + turn) % n_levels)
    )
