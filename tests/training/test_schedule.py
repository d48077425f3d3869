import pytest

from sne.training import TrainingError, TrainingSettings
from sne.training.schedule import invariance_weight, learning_rate


def test_rises_then_falls_to_zero():
    settings = TrainingSettings(learning_rate=2.0, warmup=0.1, schedule="cosine")
    rates = [learning_rate(settings, step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(2 / 11) and rates[9] == pytest.approx(20 / 11) and rates[10] == 2.0
    assert rates[55] == pytest.approx(1.0) and rates[99] < 0.01
    assert rates[:11] == sorted(rates[:11]) and rates[10:] == sorted(rates[10:], reverse=True)


def test_constant_without_warmup():
    settings = TrainingSettings(learning_rate=2.0, warmup=0.0, schedule="constant")
    assert {learning_rate(settings, step, 7) for step in range(7)} == {2.0}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, "epochs is 0, expected 1 or more"),
        ({"warmup": 1.0}, "warmup is 1.0, expected 0 or more and below 1"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"schedule": "step"}, "schedule is 'step'"),
        ({"precision": "float8"}, "precision is 'float8'"),
        ({"refit": True, "members": 2}, "refit is for one member, got 2"),
    ],
)
def test_settings_are_checked(values, message):
    with pytest.raises(TrainingError, match=message):
        TrainingSettings(**values)


def test_weight_of_the_invariance_term_rises_over_its_ramp():
    settings = TrainingSettings(invariance=4.0, invariance_ramp=0.5)
    weights = [invariance_weight(settings, step, 20) for step in range(20)]
    assert weights[0] == pytest.approx(4 / 11) and weights[4] == pytest.approx(20 / 11) and weights[10:] == [4.0] * 10
    at_once = TrainingSettings(invariance=4.0, invariance_ramp=0.0)
    assert {invariance_weight(at_once, step, 20) for step in range(20)} == {4.0}
