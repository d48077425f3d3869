"""What a predictor that was trained before gives to a new one: the forests of its properties."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from jaxtyping import Float
from torch import Tensor

from sne.errors import TrainingError
from sne.predictors.experts.contract import Expert
from sne.predictors.experts.forest import ForestExpert
from sne.predictors.experts.trees import Trees
from sne.predictors.properties import Property


@final
@dataclass(frozen=True)
class Start:
    """Forests of a predictor from which another one starts.

    Args:
        forests: Trees by name of the property; those of numbers give ranks, those of classes probabilities.
        numbers: Names of the properties that are numbers, in the order of the predictor.
        num_features: Length of the descriptions that the trees read.
        digest: Digest of the predictor.
    """

    forests: Mapping[str, Trees]
    numbers: Sequence[str]
    num_features: int
    digest: str

    @classmethod
    def of(cls, properties: Sequence[Property], experts: Sequence[Expert], digest: str) -> "Start":
        """Takes the forests of a predictor.

        Raises:
            TrainingError: It has none.
        """
        forest = next((expert for expert in experts if isinstance(expert, ForestExpert)), None)
        if forest is None:
            raise TrainingError("it has no forest to start from; train it with the expert forest")
        forests = {prop.name: forest.trees_of(prop.name) for prop in properties}
        numbers = [prop.name for prop in properties if prop.kind != "class"]
        return cls(forests, numbers, forest.num_features, digest)

    def source(self, prop: Property) -> str:
        """Returns the name of the property whose forest a property starts from.

        It is the property itself; where it is not known, the first number, or the first property.
        """
        if prop.name in self.forests:
            return prop.name
        return next(iter([*self.numbers, *self.forests]))


def mean_leaves(trees: Trees, rows: Float[Tensor, "rows features"]) -> Float[Tensor, "rows outputs"]:
    """Returns the mean output of the trees for each row."""
    return trees.leaf_outputs(rows).mean(1).double()
