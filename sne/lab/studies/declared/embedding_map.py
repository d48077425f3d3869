"""Embeddings of networks of all data sets."""

from collections.abc import Mapping

from sne.lab.studies.declared.parts import IMAGES, compared, design, image_zoo, names_of
from sne.lab.studies.study import SCALES, Design, HeldOut, Study, StudyTask

NO_EMBEDDINGS: Mapping[str, str] = dict.fromkeys(
    ("mean", "hyperparameters", "statistics_boosting", "statistics_mlp", "hyper_rep", "probing", "sne_probing"),
    "has no embeddings that are trained for the task",
)
TOO_MANY: Mapping[str, str] = dict.fromkeys(
    ("sne_one", "sne_plain", "sne_canonical", "nfn_hnp", "nft", "dwsnet", "graph_transformer"),
    "the map shows one method of each kind",
)
LEFT_OUT: Mapping[str, Mapping[str, str]] = {
    "ci": NO_EMBEDDINGS,
    "cpu": {**NO_EMBEDDINGS, **TOO_MANY},
    "gpu": NO_EMBEDDINGS,
}


def _design(scale: str) -> Design:
    zoos = names_of(needs := [image_zoo(scale, "small_cnn", images) for images in IMAGES[scale]])
    return design(
        scale,
        zoos=tuple(needs),
        tasks=(StudyTask("accuracy", zoos, (HeldOut("all data sets", zoos),), has_map=True),),
        methods=compared(scale, without=LEFT_OUT[scale]),
        left_out=LEFT_OUT[scale],
        estimate={"ci": "1 min", "cpu": "40 min", "gpu": "1 day"}[scale],
    )


EMBEDDING_MAP = Study(
    name="embedding-map",
    title="Networks of all data sets in one space",
    question=(
        "A predictor learns the accuracy of networks of all data sets together, without being told their data sets. Do "
        "its embeddings of held-out networks cluster by data set?"
    ),
    paper="figure 2",
    designs={scale: _design(scale) for scale in SCALES},
)
