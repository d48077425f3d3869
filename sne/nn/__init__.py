"""Set functions on tensors: attention blocks, ragged sets and exact fast forms."""

from sne.nn.attention import attend as attend
from sne.nn.attention import softmax_over_set as softmax_over_set
from sne.nn.blocks import InducedSetAttentionBlock as InducedSetAttentionBlock
from sne.nn.blocks import MultiheadAttentionBlock as MultiheadAttentionBlock
from sne.nn.blocks import PoolingByAttention as PoolingByAttention
from sne.nn.blocks import PreNormBlock as PreNormBlock
from sne.nn.blocks import SetAttentionBlock as SetAttentionBlock
from sne.nn.compiled_sets import compiled_kernel as compiled_kernel
from sne.nn.float32 import in_float32 as in_float32
from sne.nn.folding import FoldedBlocks as FoldedBlocks
from sne.nn.folding import fold_blocks as fold_blocks
from sne.nn.ragged import Bucket as Bucket
from sne.nn.ragged import SetBuckets as SetBuckets
from sne.nn.ragged import bucket_sets as bucket_sets
from sne.nn.scalar import ScalarSetAttentionBlock as ScalarSetAttentionBlock
from sne.nn.scalar import tilted_means as tilted_means
from sne.nn.scalar_sets import encode_scalar_sets as encode_scalar_sets
from sne.nn.sliced import RunningMeans as RunningMeans
from sne.nn.sliced import pool_slices as pool_slices
from sne.nn.sliced import summarize_slices as summarize_slices
