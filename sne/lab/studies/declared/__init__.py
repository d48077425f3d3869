"""The declared studies. A new study is one file in this folder and one line here."""

from collections.abc import Mapping

from sne.lab.studies.declared.ablation import ABLATION
from sne.lab.studies.declared.chunk_size import CHUNK_SIZE
from sne.lab.studies.declared.cnn_to_transformer import CNN_TO_TRANSFORMER
from sne.lab.studies.declared.cross_architecture import CROSS_ARCHITECTURE
from sne.lab.studies.declared.cross_dataset import CROSS_DATASET
from sne.lab.studies.declared.data_efficiency import DATA_EFFICIENCY
from sne.lab.studies.declared.depth_width import DEPTH_WIDTH
from sne.lab.studies.declared.embedding_map import EMBEDDING_MAP
from sne.lab.studies.declared.hyper_representation import HYPER_REPRESENTATION
from sne.lab.studies.declared.inr_frequency import INR_FREQUENCY
from sne.lab.studies.declared.labels import LABELS
from sne.lab.studies.declared.mixed import MIXED
from sne.lab.studies.declared.residual import RESIDUAL
from sne.lab.studies.study import Study

STUDIES: Mapping[str, Study] = {
    study.name: study
    for study in (
        INR_FREQUENCY,
        CROSS_ARCHITECTURE,
        HYPER_REPRESENTATION,
        CNN_TO_TRANSFORMER,
        CROSS_DATASET,
        ABLATION,
        CHUNK_SIZE,
        EMBEDDING_MAP,
        DATA_EFFICIENCY,
        DEPTH_WIDTH,
        RESIDUAL,
        MIXED,
        LABELS,
    )
}
