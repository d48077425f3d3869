import pytest

from sne.predictors.experts.loop import invariance_weight, learning_rate
from sne.training import TrainingError, TrainingSettings


def test_rises_then_falls_to_zero():
    settings = TrainingSettings(learning_rate=2.0, warmup=0.1)
    rates = [learning_rate(settings, step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(2 / 11) and rates[9] == pytest.approx(20 / 11) and rates[10] == 2.0
    assert rates[55] == pytest.approx(1.0) and rates[99] < 0.01
    assert rates[:11] == sorted(rates[:11]) and rates[10:] == sorted(rates[10:], reverse=True)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, "epochs is 0, expected 1 or more"),
        ({"warmup": 1.0}, "warmup is 1.0, expected 0 or more and below 1"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"precision": "float8"}, "precision is 'float8'"),
        ({"experts": ()}, "experts: got \\[\\], expected one or more different names"),
        ({"experts": ("forest", "forest")}, "expected one or more different names"),
        ({"folds": 0}, "folds is 0, expected 1 or more"),
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
