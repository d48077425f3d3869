"""The vocabulary of layers: their types and the roles their tensors play."""

from enum import StrEnum


class LayerType(StrEnum):
    """What a layer computes, as far as its weights tell."""

    LINEAR = "linear"
    CONV1D = "conv1d"
    CONV2D = "conv2d"
    CONV3D = "conv3d"
    CONV_TRANSPOSE1D = "conv_transpose1d"
    CONV_TRANSPOSE2D = "conv_transpose2d"
    CONV_TRANSPOSE3D = "conv_transpose3d"
    EMBEDDING = "embedding"
    BATCH_NORM = "batch_norm"
    LAYER_NORM = "layer_norm"
    GROUP_NORM = "group_norm"
    RMS_NORM = "rms_norm"
    ATTENTION_QUERY = "attention_query"
    ATTENTION_KEY = "attention_key"
    ATTENTION_VALUE = "attention_value"
    ATTENTION_OUT = "attention_out"
    LSTM = "lstm"
    GRU = "gru"
    RNN = "rnn"
    POSITION = "position"
    OTHER = "other"


class Role(StrEnum):
    """What one tensor does inside its layer."""

    WEIGHT = "weight"
    BIAS = "bias"
    RECURRENT_WEIGHT = "recurrent_weight"
    RECURRENT_BIAS = "recurrent_bias"
    SCALE = "scale"
    RUNNING_MEAN = "running_mean"
    RUNNING_VAR = "running_var"
    TABLE = "table"
