"""A pytest plugin: tests that take DAC from transformers get our classes."""

import transformers

from dacodec.integrations import transformers as ours

ours.register()
for name in ("DacConfig", "DacFeatureExtractor", "DacModel"):
    setattr(transformers, name, getattr(ours, name))

from transformers import DacModel  # noqa: E402

assert DacModel is ours.DacModel
