"""Packed formats that are recognised and not read."""

from collections.abc import Mapping

from sne.checkpoints.composed.weight import Facts, Found
from sne.checkpoints.configuration import quantisation_of

_SPARSE = "compressed-tensors (sparse)"
_FORMATS: Mapping[str, tuple[str, ...]] = {
    "AQLM": ("codes", "codebooks"),
    "QuIP#": ("Qidxs", "SU", "SV"),
    "QTIP": ("trellis", "SU", "SV"),
    "EXL3": ("trellis", "suh", "svh"),
    "VPTQ": ("indices", "centroids.weight"),
    "EXL2": ("q_weight", "q_scale", "q_groups"),
    "SpQR": ("dense_weights", "row_offsets", "col_vals"),
    "Marlin": ("B", "s"),
    "HIGGS": ("tables", "tables2", "scales"),
    "EETQ": ("weight", "weight_scales"),
    "EETQ with qweight": ("qweight", "weight_scales"),
    "FP-Quant": ("qweight", "scales", "forward_hadamard_matrix"),
    "SqueezeLLM": ("qweight", "lookup_table"),
    "SVDQuant": ("qweight", "wscales"),
    _SPARSE: ("compressed", "bitmask"),
}
"""Leaves that show a format together; all must be in one module. The first leaf starts the search."""

_PARTS = {
    "codes", "codebooks", "scales", "Qidxs", "SU", "SV", "Wscale", "codebook_id", "trellis", "suh", "svh", "mcg",
    "mul1", "su", "sv", "indices", "res_indices", "outlier_indices", "centroids.weight", "res_centroids.weight",
    "outlier_centroids.weight", "weight_scale", "weight_bias", "perm", "q_weight", "q_scale", "q_scale_max",
    "q_groups", "q_invperm", "q_perm", "q_group_map", "dense_weights", "row_offsets", "col_vals", "in_perm", "B", "s",
    "workspace", "tables", "tables2", "qweight", "weight", "weight_scales", "lookup_table", "rows", "cols", "vals",
    "full_rows", "full_row_indices", "startrows", "tlut", "had_left", "had_right", "rcp", "forward_hadamard_matrix",
    "backward_hadamard_matrix", "weight_global_scale", "act_global_scale", "wscales", "wzeros", "wtscale",
    "wcscales", "smooth", "smooth_factor", "smooth_factor_orig", "lora_down", "lora_up", "proj_down", "proj_up",
    "compressed", "bitmask", "shape",
}  # fmt: skip
_NARROW = ("int", "uint")
_REASON = "packed in the format {}, not read; save the network with its weights dequantised"
_BITNET = "packed in the format BitNet, not read; convert the checkpoint to one with float weights"


def find_unread(facts: Facts) -> Found:
    """Finds weights of packed formats that are not dequantised, by the names of the tensors in a module.

    Args:
        facts: What is known about the checkpoint.

    Returns:
        The tensors of such modules except biases, with the name of their format.

    Example:
        >>> from sne.networks import TensorInfo
        >>> names = ("fc.codes", "fc.codebooks", "fc.scales", "fc.bias")
        >>> sorted(find_unread(Facts({name: TensorInfo(name, (2, 2), "int8") for name in names})).packed)
        ['fc.codebooks', 'fc.codes', 'fc.scales']
    """
    packed: dict[str, str] = {}
    starts: dict[str, list[str]] = {}
    for form, leaves in _FORMATS.items():
        starts.setdefault(leaves[0], []).append(form)
    is_bitnet = str(quantisation_of(facts.config).get("quant_method", "")).lower() == "bitnet"
    for name, info in facts.infos.items():
        head, dot, first = name.rpartition(".")
        prefix = head + dot
        for form in starts.get(first, ()):
            if all(prefix + leaf in facts.infos for leaf in _FORMATS[form]) and _is_packed(form, info.dtype):
                reason = _REASON.format(form)
                packed |= {prefix + part: reason for part in _PARTS if prefix + part in facts.infos}
        if is_bitnet and first == "weight" and info.dtype == "uint8":
            packed |= {part: _BITNET for part in (name, f"{name}_scale") if part in facts.infos}
    return Found({}, packed)


def _is_packed(form: str, dtype: str) -> bool:
    """Whether the first tensor of a format has the dtype that it has there: whole numbers, or any if it is sparse."""
    return form == _SPARSE or dtype.startswith(_NARROW)
