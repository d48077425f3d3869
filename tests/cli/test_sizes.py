import pytest

from sne.cli.sizes import parse_bytes, parse_weights
from sne.errors import SneError


@pytest.mark.parametrize(
    ("text", "size"),
    [("1GB", 10**9), ("512mb", 512 * 10**6), ("2 GiB", 2**31), ("0.5TB", 5 * 10**11), ("4096", 4096), (".5KiB", 512)],
)
def test_bytes(text, size):
    assert parse_bytes(text) == size


@pytest.mark.parametrize(("text", "size"), [("50M", 5 * 10**7), ("1.5b", 1500 * 10**6), ("200000", 200_000)])
def test_weights(text, size):
    assert parse_weights(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "1G", "1e9", "1,5GB", "nan", "0", "0.2", "1 G B", "9" * 400])
def test_what_is_no_size_is_told(text):
    with pytest.raises(SneError, match="is not a number of bytes, such as 512MB"):
        parse_bytes(text)
    if text != "1G":
        with pytest.raises(SneError, match="is not a number of weights, such as 200000, 50M"):
            parse_weights(text)


def test_units_of_one_are_not_those_of_the_other():
    with pytest.raises(SneError, match="'50M' is not a number of bytes"):
        parse_bytes("50M")
    with pytest.raises(SneError, match="'1GB' is not a number of weights"):
        parse_weights("1GB")


def test_a_bad_size_is_one_line_with_its_option(sne_command, tmp_path):
    arguments = ("predict", tmp_path / "a.pt", "--predictor", tmp_path)
    for option, text in (("--memory", "lots"), ("--budget", "1GB")):
        result = sne_command(*arguments, option, text)
        assert result.status == 2 and result.out == ""
        (line,) = result.err.splitlines()
        assert option in line and repr(text) in line
