"""Labels name what sets a cluster apart, and nothing that does not."""

import numpy as np

from sne.report.cluster_labels import label_clusters
from sne.report.density import Cluster
from sne.report.map_data import Column, MapData

ROWS = np.arange(60)
FIRST, SECOND = Cluster(0.0, 0.0, ROWS[:30]), Cluster(1.0, 1.0, ROWS[30:])


def labels(*columns, found=(FIRST, SECOND), names=None):
    names = names or tuple(f"{row}.pt" for row in ROWS)
    return label_clusters(found, MapData(names, np.zeros((60, 2), dtype=np.float32), columns))


def test_a_family_names_a_cluster():
    assert labels(Column.of("family", ["cnn"] * 30 + ["vit"] * 30)) == ["cnn", "vit"]


def test_numbers_name_a_cluster_by_their_range():
    accuracy = np.where(ROWS < 30, 0.1 + ROWS / 300, 0.8 + ROWS / 1000)
    first, second = labels(Column("test_accuracy", accuracy))
    assert (
        first.startswith("test_accuracy 0.1") and first.endswith("to 0.187") and second.startswith("test_accuracy 0.8")
    )


def test_numbers_with_few_values_name_a_cluster_by_their_value():
    assert labels(Column.of("step", [400] * 30 + [1600] * 30)) == ["step 400", "step 1,600"]


def test_the_second_property_is_judged_within_the_first():
    found = [Cluster(0.0, 0.0, ROWS[start : start + 15]) for start in (0, 15, 30, 45)]
    family = Column.of("family", ["cnn"] * 30 + ["vit"] * 30)
    copy = Column.of("dataset", ["mnist"] * 30 + ["imagenet"] * 30)  # says the same again
    optimiser = Column.of("config.optimizer", (["adam"] * 15 + ["sgd"] * 15) * 2)
    found_labels = labels(family, copy, optimiser, found=found)
    assert [label.split(", ")[1] for label in found_labels] == ["adam", "sgd", "adam", "sgd"]


def test_what_is_shared_or_random_names_nothing():
    noise = Column("loss", np.random.default_rng(0).normal(size=60))
    assert labels(Column.of("family", ["cnn"] * 60), noise) == ["", ""]


def test_runs_are_no_names():
    assert labels(Column.of("run", [f"run-{row // 2}" for row in ROWS])) == ["", ""]


def test_words_of_file_names_name_a_cluster():
    names = tuple(f"/models/{'bert' if row < 30 else 'gpt2'}-{row}.pt" for row in ROWS)
    assert labels(names=names) == ["bert", "gpt2"]


def test_predictions_count_in_the_known_domain_only():
    predicted = Column.of("predicted dataset", ["mnist"] * 30 + ["cifar10"] * 30)
    assert labels(predicted) == ["", ""]
    assert labels(predicted, Column.of("in known domain", [True] * 60)) == ["mnist", "cifar10"]
    assert labels(predicted, Column.of("in known domain", [row >= 30 for row in ROWS]))[0] != "mnist"


def test_measured_values_come_before_predictions():
    measured = Column.of("dataset", ["mnist"] * 28 + ["svhn"] * 32)
    predicted = Column.of("predicted dataset", ["usps"] * 30 + ["svhn"] * 30)
    assert labels(measured, predicted, Column.of("in known domain", [True] * 60)) == ["mnist", "svhn"]
