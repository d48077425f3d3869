"""Files that people take for checkpoints and that no reader reads: how they are recognised, and what converts them."""

import re
from collections.abc import Set
from dataclasses import dataclass

_TF2ONNX = "convert it to ONNX with the package tf2onnx"
_ARRAYS = "save its arrays with numpy.savez, which is read"
_DOWNLOAD = "the download failed or needs a login; download the file again"
_UNPACK = "unpack it and name the checkpoint inside"


@dataclass(frozen=True)
class Foreign:
    """A format that is not read. A file has it if all conditions that the row states hold.

    Args:
        what: The format with its article, as messages call it.
        advice: What to do with such a file; empty if there is nothing to do.
        magic: Bytes that the file has at `offset`.
        offset: Offset of the bytes, less than 64.
        name: Regular expression that the name of the file matches, in lower case; for formats without magic bytes.
        is_text: Whether the first bytes of the file are text.
        is_first: Whether the row is asked before any reader, because a reader would take the content for its own.
    """

    what: str
    advice: str = ""
    magic: bytes = b""
    offset: int = 0
    name: str = ""
    is_text: bool = False
    is_first: bool = False

    def matches(self, head: bytes, name: str) -> bool:
        """Whether a file with these first bytes and this name has the format.

        Args:
            head: First bytes of the file, at most 64.
            name: Name of the file without its folder, in lower case.
        """
        found = head[self.offset : self.offset + len(self.magic)] == self.magic
        found = found and (not self.is_text or beginning_of_text(head) is not None)
        return found and (not self.name or re.search(self.name, name) is not None)

    def describe(self, head: bytes) -> str:
        """Returns the name of the format, the beginning of the file if the row asks for text, and the advice."""
        what = f"{self.what} that begins with {beginning_of_text(head)!r}" if self.is_text else self.what
        return f"{what}; {self.advice}" if self.advice else what


def beginning_of_text(head: bytes) -> str | None:
    """Returns the beginning of a file that is plain text, otherwise None.

    Args:
        head: First bytes of the file.

    Example:
        >>> beginning_of_text(b"Entry not found"), beginning_of_text(bytes(4))
        ('Entry not found', None)
    """
    is_text = all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head)
    return " ".join(head[:48].decode("ascii").split()) if is_text else None


_PADDLE = (
    f"load it with paddle.load, transpose the kernels of linear layers and {_ARRAYS}; or convert it with paddle2onnx"
)
_RUNTIME = "name the checkpoint or the .onnx file that it was made from"
_CORE_ML = "take its weights out with coremltools.optimize.coreml.get_weights_metadata, or name the original checkpoint"

FOREIGN: tuple[Foreign, ...] = (
    # Networks in formats of other frameworks.
    Foreign("a TensorFlow Lite model",
            f"{_TF2ONNX}: python -m tf2onnx.convert --tflite MODEL.tflite --output MODEL.onnx", b"TFL3", 4),
    Foreign("an ONNX Runtime model", _RUNTIME, b"ORTM", 4),
    Foreign("an ExecuTorch program", "name the checkpoint or the .pt2 file that it was made from", b"ET1", 4),
    Foreign("a MindSpore Lite model", _RUNTIME, b"MSL", 4),
    Foreign("a Core ML model", _CORE_ML, b"\x08", name=r"\.mlmodel$"),
    Foreign("PaddlePaddle parameters", _PADDLE, name=r"\.(pdparams|pdopt)$", is_first=True),
    Foreign("a PaddlePaddle inference model", "convert it to ONNX with paddle2onnx", name=r"\.(pdiparams|pdmodel)$",
            is_first=True),
    Foreign("a TensorFlow SavedModel",
            f"{_TF2ONNX}: python -m tf2onnx.convert --saved-model FOLDER --output MODEL.onnx",
            name=r"^saved_model\.pb(txt)?$"),
    Foreign("a part of a TensorFlow checkpoint", f"read it with tf.train.load_checkpoint and {_ARRAYS}",
            name=r"\.(index|data-\d+-of-\d+|ckpt\.meta)$|^checkpoint$"),
    Foreign("a TensorFlow graph", f"{_TF2ONNX}: python -m tf2onnx.convert --graphdef MODEL.pb --output MODEL.onnx",
            name=r"\.pb$"),
    Foreign("MXNet parameters", f"load them with mx.nd.load and {_ARRAYS}", b"\x12\x01\0\0\0\0\0\0"),
    Foreign("a Caffe model", f"read its blobs with OpenCV (cv2.dnn.readNetFromCaffe) and {_ARRAYS}",
            name=r"\.caffemodel$"),
    Foreign("Darknet weights", "convert them with their .cfg to ONNX or PyTorch", b"\0\0\0\0", name=r"\.weights$"),
    *(Foreign("a ggml file, older than GGUF", "convert it with convert_llama_ggml_to_gguf.py of llama.cpp, or name "
              "the original checkpoint", magic) for magic in (b"lmgg", b"fmgg", b"tjgg", b"algg")),
    Foreign("an ncnn model", _RUNTIME, b"7767517"),
    Foreign("a TensorRT engine", _RUNTIME, b"ftrt"),
    Foreign("a TensorRT engine", _RUNTIME, name=r"\.(engine|plan|trt)$"),
    Foreign("an RKNN model", _RUNTIME, b"RKNN"),
    Foreign("a compiled model of a device", _RUNTIME, name=r"\.(rknn|hef|dlc|mnn|om|tmfile|kmodel|blob)$"),
    Foreign("an OpenVINO model", "name the .onnx file or the checkpoint that it was made from", b"<?xml",
            name=r"\.xml$"),
    Foreign("a Lua Torch file", f"load it with the package torchfile and {_ARRAYS}", name=r"\.t7$"),
    Foreign("a Lua Torch file", f"load it with the package torchfile and {_ARRAYS}", b"V 1", 16),
    Foreign("a MATLAB file", f"load it with scipy.io.loadmat and {_ARRAYS}", b"MATLAB 5"),
    Foreign("a MATLAB file", f"load it with the package h5py, transpose its arrays (MATLAB stores columns first) and "
            f"{_ARRAYS}", b"MATLAB 7", is_first=True),
    Foreign("an R file", "save its arrays with the R package safetensors", name=r"\.(rds|rda|rdata)$", is_first=True),
    Foreign("a CatBoost model", "it is no neural network", b"CBM1"),
    Foreign("an XGBoost model", "it is no neural network", b"binf"),
    Foreign("a LightGBM model", "it is no neural network", b"tree\nversion="),
    Foreign("a table of a TensorFlow event log", "it holds no weights", name=r"tfevents"),
    # Downloads that went wrong.
    Foreign("a Git LFS pointer instead of the file", "fetch the file: git lfs pull", b"version https://git-lfs"),
    *(Foreign("a web page instead of the file", _DOWNLOAD, magic)
      for magic in (b"<!DOCTYPE", b"<!doctype", b"<html", b"<HTML", b"<head")),
    Foreign("XML text instead of the file", _DOWNLOAD, b"<?xml"),
    *(Foreign("JSON text", "name the file with the weights; if the text is an error, download the file again", magic,
              is_text=True) for magic in (b'{"', b"{ ", b"{\n", b"{\r", b"[")),
    # Archives.
    Foreign("bzip2 data", "decompress it: bunzip2 FILE", b"BZh"),
    Foreign("gzip data", "decompress it: gunzip FILE", b"\x1f\x8b"),
    Foreign("zstd data", "decompress it: zstd -d FILE", b"(\xb5/\xfd"),
    Foreign("xz data", "decompress it: unxz FILE", b"\xfd7zXZ"),
    Foreign("lz4 data", "decompress it: lz4 -d FILE", b"\x04\x22\x4d\x18"),
    Foreign("a 7z archive", _UNPACK, b"7z\xbc\xaf"), Foreign("a RAR archive", _UNPACK, b"Rar!"),
    # Files that hold no network.
    Foreign("a PNG image", magic=b"\x89PNG"), Foreign("a JPEG image", magic=b"\xff\xd8\xff"),
    Foreign("a GIF image", magic=b"GIF8"), Foreign("a WebP image or a sound", magic=b"RIFF"),
    Foreign("a PDF", magic=b"%PDF"), Foreign("a video", magic=b"ftyp", offset=4),
    Foreign("a program", magic=b"\x7fELF"), Foreign("a program", magic=b"MZ"),
    Foreign("a program", magic=b"\xcf\xfa\xed\xfe"),
    Foreign("a program", magic=b"\xca\xfe\xba\xbe"), Foreign("a script", magic=b"#!"),
    Foreign("a Parquet file", magic=b"PAR1"),
    Foreign("an Arrow file", magic=b"ARROW1"), Foreign("an SQLite database", magic=b"SQLite format 3"),
)  # fmt: skip
"""Formats that are not read. The first row that matches names the file in the message."""


def find_foreign(head: bytes, name: str, *, is_first: bool = False) -> str | None:
    """Names the foreign format of a file and what to do with it.

    Args:
        head: First bytes of the file, at most 64.
        name: Name of the file without its folder.
        is_first: Whether only rows are asked that go before every reader.

    Returns:
        A phrase such as "a TensorFlow Lite model; convert it to ONNX ...", or None.

    Example:
        >>> find_foreign(b"version https://git-lfs.github.com/spec/v1", "model.safetensors")
        'a Git LFS pointer instead of the file; fetch the file: git lfs pull'
    """
    rows = (row for row in FOREIGN if row.is_first or not is_first)
    found = next((row for row in rows if row.matches(head, name.lower())), None)
    return None if found is None else found.describe(head)


FOREIGN_FOLDERS: tuple[tuple[str, str], ...] = (
    (r"(^|/)saved_model\.pb(txt)?$", f"a TensorFlow SavedModel; {_TF2ONNX}: python -m tf2onnx.convert --saved-model "
     "FOLDER --output MODEL.onnx"),
    (r"\.mlmodel$|^(?i:manifest\.json)$|(^|/)model\.mil$", f"a Core ML package; {_CORE_ML}"),
    (r"^(_METADATA|manifest\.ocdbt|_CHECKPOINT_METADATA|ocdbt\.process_\d+)(/|$)|(^|/)\.zarray$",
     f"an Orbax checkpoint of JAX; restore it with the package orbax-checkpoint and {_ARRAYS}, or write it with "
     "flax.serialization.to_bytes"),
    (r"\.data-\d+-of-\d+$", f"a TensorFlow checkpoint; read it with tf.train.load_checkpoint and {_ARRAYS}"),
    (r"\.pdiparams$|\.pdparams$", f"a PaddlePaddle model; {_PADDLE}"),
    (r"\.distcp$", "a distributed checkpoint of torch; join it: python -m torch.distributed.checkpoint.format_utils "
     "dcp_to_torch FOLDER FILE.pt"),
    (r"weights_manifest|\.weights\.bin$|^group1-shard\d+of\d+(\.bin)?$", "a TensorFlow.js model; convert it with "
     "tensorflowjs_converter --input_format=tfjs_layers_model --output_format=keras"),
)  # fmt: skip
"""Names of files by which a folder in a foreign format is recognised, and the format with what converts it."""


def find_foreign_folder(files: Set[str]) -> str | None:
    """Names the foreign format of a folder and what to do with it.

    Args:
        files: Paths of the files and folders in it, relative to the folder.

    Returns:
        A phrase such as "a TensorFlow SavedModel; convert it ...", or None.

    Example:
        >>> find_foreign_folder({"saved_model.pb", "variables/variables.index"})[:23]
        'a TensorFlow SavedModel'
    """
    return next((what for pattern, what in FOREIGN_FOLDERS if any(re.search(pattern, file) for file in files)), None)
