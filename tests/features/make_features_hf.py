"""Makes features_hf.json: the results of transformers' DacFeatureExtractor for the cases below.

    .venv-hf4/bin/python tests/features/make_features_hf.py > tests/features/features_hf.json

(.venv-hf4 is made by scripts/oracles/setup.sh.) The test reads the file only; it never makes it.
"""

import hashlib
import json
import zlib

import numpy as np

EXTRACTORS = {
    "16 kHz": dict(feature_size=1, sampling_rate=16000, padding_value=0.0, hop_length=320),
    "odd": dict(sampling_rate=8000, hop_length=7, padding_value=0.25),
}
LENGTHS = {
    "one": [1000],
    "exact": [640],
    "short": [3],
    "batch": [1000, 640, 1],
    "equal": [100, 100],
}
CALLS = [
    {},
    {"padding": True},
    {"padding": "longest"},
    {"padding": False},
    {"padding": "do_not_pad"},
    {"padding": "max_length", "max_length": 700},
    {"padding": "max_length", "max_length": 1280},
    {"padding": True, "max_length": 10},
    {"padding": "max_length"},
    {"truncation": True},
    {"truncation": True, "max_length": 500},
    {"truncation": True, "max_length": 640},
    {"truncation": True, "max_length": 2000},
    {"truncation": True, "max_length": 500, "padding": False},
    {"truncation": True, "max_length": 500, "padding": True},
    {"truncation": True, "max_length": 500, "padding": "do_not_pad"},
]
KINDS = ["float32", "float64", "list"]


def cases():
    for extractor in EXTRACTORS:
        for lengths in LENGTHS:
            for call in CALLS:
                for tensors in (None, "np", "pt") if extractor == "16 kHz" else ("np",):
                    yield extractor, lengths, "float32", {**call, "return_tensors": tensors}
    for lengths in LENGTHS:
        for kind in KINDS[1:]:
            yield "16 kHz", lengths, kind, {"return_tensors": "np"}


def key(extractor, lengths, kind, call):
    return json.dumps([extractor, lengths, kind, call])


def raw_audio(lengths, kind):
    """The audio of a case: uniform numbers; a single item if there is only one length."""
    random = np.random.RandomState(zlib.crc32(lengths.encode()))
    items = [2 * random.random_sample(n) - 1 for n in LENGTHS[lengths]]
    items = [item.tolist() if kind == "list" else item.astype(kind) for item in items]
    return items if len(items) > 1 else items[0]


def outcome(extractor, lengths, kind, call):
    """The results of an extractor: name, dtype, shapes and hash of each; or that it raises."""
    try:
        features = extractor(raw_audio(lengths, kind), sampling_rate=extractor.sampling_rate, **call)
    except ValueError:
        return "ValueError"
    except Exception as error:  # a bug of transformers
        return f"bug: {type(error).__name__}"
    return {name: summary(features[name]) for name in sorted(features)}


def summary(value):
    arrays = list(value) if isinstance(value, list) else [value]
    arrays = [np.asarray(array) for array in arrays]
    digest = hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()[:16]
    shapes = [list(array.shape) for array in arrays]
    return [
        type(value).__name__,
        str(arrays[0].dtype),
        shapes if isinstance(value, list) else shapes[0],
        digest,
    ]


if __name__ == "__main__":
    import transformers

    made = {name: transformers.DacFeatureExtractor(**values) for name, values in EXTRACTORS.items()}
    table = {key(name, *rest): outcome(made[name], *rest) for name, *rest in cases()}
    dictionaries = {name: json.loads(extractor.to_json_string()) for name, extractor in made.items()}
    origin = f"tests/features/make_features_hf.py with transformers {transformers.__version__}"
    print(
        "{",
        f'"origin": {json.dumps(origin)},',
        f'"to_dict": {json.dumps(dictionaries)},',
        '"outcomes": {',
        sep="\n",
    )
    print(",\n".join(f"{json.dumps(case)}: {json.dumps(result)}" for case, result in table.items()))
    print("}}")
