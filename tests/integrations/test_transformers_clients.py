"""Programs that people run on transformers' DAC, with ours in its place. Needs transformers and accelerate."""

import json

import pytest
import torch
import transformers
from integration_models import HOP, audio, load_both, save_small
from torch.nn.utils.rnn import pad_sequence

from dacodec.integrations.transformers import DacConfig, DacFeatureExtractor, DacModel

# Dia: text and audio to delayed codes, and back to audio.


def dia_processor(folder, model):
    """Dia's processor with its byte tokenizer, and codes that fit the small model."""
    tokenizer = transformers.DiaTokenizer()
    extractor = transformers.DiaFeatureExtractor(sampling_rate=24000, hop_length=HOP)
    return transformers.DiaProcessor(extractor, tokenizer, audio_tokenizer=model)


DIA = dict(
    delay_pattern=[0, 2, 3],
    bos_token_id=18,
    eos_token_id=16,
    pad_token_id=17,
    sampling_rate=24000,
)


def test_dia(registered, tmp_path):
    results = []
    spoken = [audio(frames=10, seed=1)[0, 0].numpy(), audio(frames=7, seed=2)[0, 0].numpy()]
    theirs = load_both(save_small(tmp_path))[1]
    ours = transformers.AutoModelForAudioTokenization.from_pretrained(tmp_path)
    assert type(ours) is DacModel
    for model in (ours, theirs):
        processor = dia_processor(tmp_path, model)
        inputs = processor(
            text=["[S1] Hello.", "[S2] Bye."], audio=spoken, generation=False, output_labels=True, **DIA
        )
        prompt = processor(text=["[S1] Hello.", "[S2] Bye."], audio=spoken, **DIA)
        ended = torch.nn.functional.pad(prompt["decoder_input_ids"], (0, 0, 0, 1), value=DIA["pad_token_id"])
        results.append((inputs, prompt, processor.batch_decode(ended, **DIA)))
    for ours, theirs in zip(results[0][:2], results[1][:2], strict=True):
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert len(results[0][2]) == 2
    for values, expected in zip(results[0][2], results[1][2], strict=True):
        assert values.numel() > 3 * HOP
        torch.testing.assert_close(values, expected, rtol=0, atol=1e-5)


def test_a_saved_dia_processor(registered, tmp_path):
    ours = transformers.AutoModel.from_pretrained(save_small(tmp_path / "codec"))
    dia_processor(tmp_path, ours).save_pretrained(tmp_path / "dia")
    again = transformers.AutoProcessor.from_pretrained(tmp_path / "dia")
    assert type(again) is transformers.DiaProcessor
    assert type(again.audio_tokenizer) is DacModel
    assert again.audio_tokenizer.name_or_path == str(tmp_path / "codec")
    assert not again.audio_tokenizer.training
    assert type(again.feature_extractor) is transformers.DiaFeatureExtractor
    codes = torch.randint(0, 16, (1, 3, 9), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        heard = again.audio_tokenizer.decode(audio_codes=codes).audio_values
        assert torch.equal(heard, ours.decode(audio_codes=codes).audio_values)


# Parler-TTS: its audio encoder is created from its config, and each item of a batch of codes has its own end.


class Parler(torch.nn.Module):
    """What Parler-TTS does with its codec, step by step."""

    def __init__(self, config):
        super().__init__()
        self.audio_encoder = transformers.AutoModel.from_config(config)

    def generate(self, codes):
        """Audio [B, T] of codes [B, K, F], with special tokens where an item has ended."""
        real = [(item >= self.audio_encoder.config.codebook_size).sum(0) == 0 for item in codes]
        audio = [
            self.audio_encoder.decode(audio_codes=item[:, mask][None]).audio_values[0]
            for item, mask in zip(codes, real, strict=True)
        ]
        return pad_sequence(audio, batch_first=True)


def test_parler_tts(registered, tmp_path):
    theirs = load_both(save_small(tmp_path))[1]
    stored = json.loads((tmp_path / "config.json").read_text())
    parler = Parler(transformers.AutoConfig.for_model(**stored)).eval()
    assert type(parler.audio_encoder) is DacModel
    parler.audio_encoder.load_state_dict(theirs.state_dict())
    codes = torch.randint(0, 16, (2, 3, 9), generator=torch.Generator().manual_seed(0))
    codes[1, :, 5:] = 16
    with torch.no_grad():
        heard = parler.generate(codes)
        for item, n in ((0, 9), (1, 5)):
            expected = theirs.decode(audio_codes=codes[item : item + 1, :, :n]).audio_values[0]
            torch.testing.assert_close(heard[item, : len(expected)], expected, rtol=0, atol=1e-5)
        # And all at once, with the mask.
        mask = torch.tensor([[1] * 9, [1] * 5 + [0] * 4])
        together = parler.audio_encoder.decode(
            audio_codes=codes.clamp(max=15), padding_mask=mask
        ).audio_values
    torch.testing.assert_close(together, heard, rtol=0, atol=1e-5)
    assert not heard[1, expected.numel() :].any()


# Trainer, with the reconstruction loss.


class Clips(torch.utils.data.Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, i):
        return {"input_values": audio(frames=16 - i, seed=i)[0, 0].numpy()}


class CodecTrainer(transformers.Trainer):
    def compute_loss(self, model, inputs, return_outputs=False, **_):
        outputs = model(**inputs)
        mask = inputs["padding_mask"][:, : outputs.audio_values.shape[1]]
        error = (outputs.audio_values - inputs["input_values"][:, 0, : mask.shape[1]]) * mask
        loss = error.abs().sum() / mask.sum() + outputs.loss.mean()
        return (loss, outputs) if return_outputs else loss


@pytest.mark.parametrize("checkpointing", [False, True])
def test_trainer(tmp_path, checkpointing):
    model = DacModel.from_pretrained(save_small(tmp_path / "toy"))
    extractor = DacFeatureExtractor.from_pretrained(tmp_path / "toy")

    def collate(items):
        clips = [item["input_values"] for item in items]
        return dict(extractor(clips, sampling_rate=24000, return_tensors="pt"))

    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path / "run"),
        per_device_train_batch_size=4,
        max_steps=12,
        learning_rate=3e-3,
        logging_steps=1,
        save_steps=6,
        report_to=[],
        use_cpu=True,
        gradient_checkpointing=checkpointing,
        seed=0,
        remove_unused_columns=False,
        eval_strategy="steps",
        eval_steps=6,
        label_names=["padding_mask"],
    )
    trainer = CodecTrainer(
        model=model,
        args=arguments,
        data_collator=collate,
        train_dataset=Clips(),
        eval_dataset=Clips(),
        processing_class=extractor,
    )
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    after = trainer.evaluate()["eval_loss"]
    assert after < 0.9 * before
    saved = DacModel.from_pretrained(tmp_path / "run" / "checkpoint-12")
    for name, value in model.state_dict().items():
        assert torch.equal(saved.state_dict()[name], value)
    assert DacFeatureExtractor.from_pretrained(tmp_path / "run" / "checkpoint-12").hop_length == HOP
    trainer.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-6"))


def test_pipeline(tmp_path):
    """Like transformers' own: the extractor in place of the tokenizer. With theirs the mask is an unknown argument."""
    model = DacModel.from_pretrained(save_small(tmp_path))
    extractor = DacFeatureExtractor.from_pretrained(tmp_path)
    pipe = transformers.pipeline("feature-extraction", model=model, tokenizer=extractor, device="cpu")
    clip = audio()[0, 0].numpy()
    with torch.no_grad():
        expected = model(audio()).loss
    assert pipe(clip) == pytest.approx(expected.tolist(), rel=1e-4)


def test_a_config_in_another(registered):
    """As in configs that contain a codec's: a dictionary with its type."""
    config = transformers.AutoConfig.for_model(**DacConfig(n_codebooks=4).to_dict())
    assert type(config) is DacConfig
    assert config.n_codebooks == 4
