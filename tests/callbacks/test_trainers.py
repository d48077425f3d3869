"""Callbacks in real trainers: what they log, and that training has the same bits with and without them."""

import importlib
import logging

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from transformers import Trainer, TrainerCallback, TrainingArguments

from sne.callbacks.lightning import LightningCallback
from sne.callbacks.transformers import TransformersCallback

NAMES = {
    "sne/test_accuracy", "sne/test_accuracy_low", "sne/test_accuracy_high", "sne/p_value", "sne/in_domain",
    "sne/health", "sne/errors", "sne/warnings",
}  # fmt: skip


class Points(Dataset):
    def __len__(self):
        return 24

    def __getitem__(self, place):
        generator = torch.Generator().manual_seed(place)
        return {"x": torch.randn(9, generator=generator), "labels": torch.tensor(place % 3)}


class Classifier(nn.Module):
    """Draws random numbers in training, so that a generator that was moved shows."""

    def __init__(self, factor=1.0):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(9, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3))
        self.factor = factor

    def forward(self, x, labels):
        logits = self.net(x)
        return {"loss": self.factor * nn.functional.cross_entropy(logits, labels), "logits": logits}


class Seen(TrainerCallback):
    def __init__(self):
        self.logs = []

    def on_log(self, args, state, control, logs=None, **others):
        self.logs.append((state.global_step, dict(logs)))


def transformers_run(folder, callback=None, *, through_trainer=True, factor=1.0):
    model, seen = Classifier(factor), Seen()
    arguments = TrainingArguments(
        output_dir=str(folder), num_train_epochs=2, per_device_train_batch_size=8, logging_steps=2, save_strategy="no",
        report_to=[], disable_tqdm=True, use_cpu=True, seed=3,
    )  # fmt: skip
    callbacks = [seen] if callback is None or through_trainer else [seen, callback]
    trainer = Trainer(model=model, args=arguments, train_dataset=Points(), callbacks=callbacks)
    if callback is not None and through_trainer:
        callback.add_to(trainer)
    trainer.train()
    return model, trainer, seen.logs


def same_bits(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_transformers(tmp_path):
    plain, _, plain_logs = transformers_run(tmp_path)
    callback = TransformersCallback(every_n_steps=2, every_n_epochs=1)
    model, trainer, logs = transformers_run(tmp_path, callback)
    assert same_bits(model, plain) and model.training == plain.training
    steps = [2, 3, 4, 6]  # every second one, and the ends of the epochs
    assert [step for step, values in logs if values.keys() >= NAMES] == steps
    losses = [(step, values["loss"]) for step, values in logs if "loss" in values]
    assert losses == [(step, values["loss"]) for step, values in plain_logs if "loss" in values] and len(losses) == 3
    history = [entry for entry in trainer.state.log_history if "sne/health" in entry]
    assert [entry["step"] for entry in history] == steps
    for entry in history:
        assert 0 <= entry["sne/test_accuracy_low"] <= entry["sne/test_accuracy"] <= entry["sne/test_accuracy_high"] <= 1
    assert callback.monitor.seconds > 0


def test_transformers_without_its_trainer(tmp_path):
    _, trainer, logs = transformers_run(tmp_path, TransformersCallback(), through_trainer=False)
    history = [entry for entry in trainer.state.log_history if "sne/health" in entry]
    assert [entry["step"] for entry in history] == [3, 6] and history[0].keys() >= NAMES | {"epoch"}
    assert not any("sne/health" in values for _, values in logs)


def test_a_broken_network_is_told_and_trained_on(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="sne"):
        _, trainer, _ = transformers_run(tmp_path, TransformersCallback(), factor=float("inf"))
    first, second = (entry for entry in trainer.state.log_history if "sne/health" in entry)
    assert first["sne/health"] == second["sne/health"] == 2 and first["sne/errors"] > 0
    assert "sne/test_accuracy" not in first
    told = [record.message for record in caplog.records if "the network is broken" in record.message]
    assert len(told) == len(set(told)) == 1 and "NaN" in told[0]


def lightning_run(package, folder, callbacks):
    lightning = importlib.import_module(package)

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.classifier = Classifier()

        def training_step(self, batch):
            return self.classifier(**batch)["loss"]

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    module = Module()
    torch.manual_seed(3)
    trainer = lightning.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=folder, callbacks=callbacks, enable_checkpointing=len(callbacks) > 1,
    )  # fmt: skip
    trainer.fit(module, DataLoader(Points(), batch_size=8, shuffle=True))
    return module, trainer


@pytest.mark.parametrize("package", ["lightning.pytorch", "pytorch_lightning"])
def test_lightning(tmp_path, package):
    plain, _ = lightning_run(package, tmp_path, [])
    callbacks = importlib.import_module(f"{package}.callbacks")
    keep = callbacks.ModelCheckpoint(tmp_path / "kept", monitor="sne/test_accuracy", mode="max", save_top_k=-1)
    module, trainer = lightning_run(package, tmp_path, [LightningCallback(every_n_steps=2), keep])
    assert same_bits(module, plain)
    assert trainer.callback_metrics.keys() >= NAMES
    assert float(keep.best_model_score) == max(float(score) for score in keep.best_k_models.values())
    assert len(list((tmp_path / "kept").iterdir())) == 2
