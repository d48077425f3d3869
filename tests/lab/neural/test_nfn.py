"""NFN and NFT: use of their package, and the error if it is missing."""

import sys

import pytest
from neural_cases import LAYOUTS, networks

from sne.lab.neural import NEURAL_BASELINES, NFNEncoder
from sne.lab.neural.fixed_layout import FixedLayout


def layout():
    return FixedLayout.of(networks("nft")[0]).to_json()


@pytest.mark.parametrize("method", ["nfn_np", "nfn_hnp", "nft"])
def test_a_missing_package_is_named_with_its_extra(method, monkeypatch):
    monkeypatch.setitem(sys.modules, "nfn", None)
    monkeypatch.setitem(sys.modules, "nfn.common", None)
    with pytest.raises(ImportError, match=r"nfn and einops; .*pip install '\.\[nfn\]'"):
        NEURAL_BASELINES[method](networks(method)[:1])


def test_settings_are_checked():
    with pytest.raises(ValueError, match="method is 'nfn', expected one of nfn_np, nfn_hnp, nft"):
        NFNEncoder(layout=layout(), method="nfn")
    with pytest.raises(ValueError, match=r"channels of nft are .8, 16., expected equal multiples of the 4 heads"):
        NFNEncoder(layout=layout(), method="nft", channels=(8, 16))
    with pytest.raises(ValueError, match="compression is -1"):
        NFNEncoder(layout=layout(), method="nfn_np", compression=-1.0)


def test_the_three_methods_differ():
    made = {method: NEURAL_BASELINES[method](networks(method)[:1]) for method in ("nfn_np", "nfn_hnp", "nft")}
    kinds = {method: {type(layer).__name__ for layer in encoder.features.modules()} for method, encoder in made.items()}
    assert "NPLinear" in kinds["nfn_np"] and "HNPLinear" in kinds["nfn_hnp"] and "NPAttention" in kinds["nft"]
    assert len(LAYOUTS["nft"]) == 4
