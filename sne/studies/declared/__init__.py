"""The studies that there are. A new one is a file of its own and a line here."""

from collections.abc import Mapping

from sne.studies.declared.ablation import ABLATION
from sne.studies.declared.chunk_size import CHUNK_SIZE
from sne.studies.declared.cnn_to_transformer import CNN_TO_TRANSFORMER
from sne.studies.declared.cross_architecture import CROSS_ARCHITECTURE
from sne.studies.declared.cross_dataset import CROSS_DATASET
from sne.studies.declared.data_efficiency import DATA_EFFICIENCY
from sne.studies.declared.depth_width import DEPTH_WIDTH
from sne.studies.declared.embedding_map import EMBEDDING_MAP
from sne.studies.declared.hyper_representation import HYPER_REPRESENTATION
from sne.studies.declared.inr_frequency import INR_FREQUENCY
from sne.studies.declared.labels import LABELS
from sne.studies.declared.mixed import MIXED
from sne.studies.declared.residual import RESIDUAL
from sne.studies.study import Study

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
