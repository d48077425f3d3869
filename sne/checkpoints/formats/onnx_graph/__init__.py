"""What an ONNX graph says about its weights: which tensors are weights, of which layer, in which order and axes.

Reading order: `values.py` reads tensors, `constants.py` follows them through nodes that compute with constants alone,
`walk.py` lists the nodes of a model with those of subgraphs and functions, `layers.py` finds the weights of each node
with `norms.py`, `quantised.py` and `recurrent.py`, `naming.py` names them, `rest.py` accounts for the other tensors.
"""
