"""Finding the state dict of one network in the content of a checkpoint."""

from collections.abc import Iterable, Mapping
from typing import Any

from sne.checkpoints.copies import are_alike, find_copies
from sne.checkpoints.described import InertObject
from sne.checkpoints.nesting import (
    MAX_DEPTH,
    MAX_ENTRIES,
    MAX_SHARING,
    AnyTensor,
    Nodes,
    as_tensor,
    children,
    has_shape,
    join,
    type_name,
)
from sne.checkpoints.training_state import is_named_training_state, is_training_state
from sne.checkpoints.words import without_adversaries
from sne.errors import CheckpointError, Remedy

WRAPPERS = (
    "state_dict", "model_state_dict", "model_state", "model", "module", "net", "network", "params", "weights",
)  # fmt: skip
"""Keys of the main network's state dict. The first that is present is read. Other keys are found, too, unless the
checkpoint holds several networks under them: then a key of this table decides. A new wrapper is one entry."""

_STATISTICS = ("batch_stats", "buffers")
_MOST_NAMED = 12
_REBUILD = (
    "rebuild the weights with the script in the folder of the checkpoint: python zero_to_fp32.py . pytorch_model.bin"
)


def unwrap(content: Any, name: str, select: str | None = None) -> tuple[dict[str, AnyTensor], dict[str, str]]:
    """Finds the state dict of one network in the content of a checkpoint.

    The state dict may lie below any keys and in lists of one. State of the training, recognised by its content, and
    copies of the network (moving averages, teachers, target networks) are left out. State dicts that are neither copies
    nor trained against each other, such as those of an encoder and a decoder, are joined.

    Args:
        content: A tree of mappings, lists and inert objects, whose leaves are tensors, NumPy arrays or anything else.
        name: Name of the file in messages.
        select: Keys that lead to the state dict to read, joined by dots, such as "model_ema"; a prefix of names in a
            state dict may follow, or stand alone. None for the main network.

    Returns:
        The tensors by name, and the reason why it is not read for each other entry, by name.

    Raises:
        CheckpointError: If there are no tensors, several networks in a list, nothing of the name `select`, or
            placeholders instead of weights, or if the content is nested without end.

    Example:
        >>> import torch
        >>> state, notes = unwrap({"net": {"fc.bias": torch.zeros(2)}, "epoch": 3}, "a.pt")
        >>> list(state), notes
        (['fc.bias'], {'epoch': "of type int, beside 'net', which is read"})
    """
    finder = _Finder(name)
    if as_tensor(content) is not None:
        raise CheckpointError(name, "the file holds a single tensor without a name, expected a state dict")
    if children(content) is None:
        raise CheckpointError(name, f"the file holds an object of type {type_name(content)}, expected a state dict")
    if select is None:
        finder.descend(content, "")
    else:
        finder.select(content, select)
    finder.check(content)
    return finder.state, finder.notes


class _Finder:
    """The search in one content. It fills `state` and `notes`.

    Args:
        name: Name of the file in messages.
    """

    def __init__(self, name: str):
        self.state: dict[str, AnyTensor] = {}
        self.notes: dict[str, str] = {}
        self._name = name
        self._nodes = Nodes(name)

    def descend(self, content: Any, path: str) -> None:
        """Goes down from a node to the state dict, and collects its tensors.

        Args:
            content: A container.
            path: Keys that led to it.
        """
        for _ in range(MAX_DEPTH):
            below = self._next(content, path)
            if below is None:
                return
            content, path = below
        raise CheckpointError(self._name, "the mappings are nested without end")

    def select(self, content: Any, select: str) -> None:
        """Reads what the user names: a node, or the tensors of a state dict that share a prefix."""
        starts = [("", content), *_wrapped(content)]
        for path, start in starts:
            found = _resolve(start, select)
            if found is None:
                continue
            node, prefix = found
            tensors = children(node)
            if prefix:
                node = {key: value for key, value in tensors or () if str(key).startswith(prefix)}
            if as_tensor(node) is None and self._nodes.facts(node).tensors:
                self.descend(node, join(path, select))
                self._note_others(content, select)
                return
        shown = self._selectable(content)
        raise CheckpointError(self._name, f"no network is named {select!r}; to be selected: {shown or 'none'}")

    def check(self, content: Any) -> None:
        """Refuses a result without weights, with the reason."""
        sizes = [0 in tensor.shape and len(tensor.shape) == 1 for tensor in self.state.values() if has_shape(tensor)]
        entries = {str(key) for key, _ in children(content) or ()}
        if sum(sizes) * 2 > len(sizes) or (any(sizes) and "param_shapes" in entries):
            raise CheckpointError(
                self._name,
                f"its weights are empty placeholders, as DeepSpeed ZeRO-3 leaves them in such files; {_REBUILD}",
            )
        if isinstance(content, list | tuple) and not self._nodes.facts(content).matrices:
            raise CheckpointError(self._name, "the file holds a list without weights, expected a state dict")
        if self.state:
            return
        if "ds_version" in entries:
            raise CheckpointError(
                self._name, f"the file holds no network but DeepSpeed's state of a training; {_REBUILD}"
            )
        keys = ", ".join(repr(key) for key in sorted(entries)[:5])
        if is_training_state(content, self._nodes) or any("training" in reason for reason in self.notes.values()):
            raise CheckpointError(self._name, f"the file holds the state of a training and no network (keys: {keys})")
        raise CheckpointError(self._name, f"the file holds no tensors, expected a state dict (keys: {keys or 'none'})")

    def _next(self, content: Any, path: str) -> tuple[Any, str] | None:
        """Returns the node below that holds the network, with its path, or collects the tensors of this one."""
        entries = [(str(key), value) for key, value in children(content) or ()]
        networks = self._networks(entries)
        own = {key: value for key, value in entries if as_tensor(value) is not None}
        if any("." in key and self._nodes.facts(value).matrices for key, value in own.items()):
            # A state dict. What is nested in it belongs to it, unless it is a copy.
            copies = find_copies({"": own, **networks})
            self._collect(entries, path, {key: _copy(join(path, key), "") for key in copies})
            return None
        main = self._main(networks, path, is_list=isinstance(content, list | tuple))
        if main is None:
            self._collect(entries, path, {})
            return None
        chosen, reasons = main
        for key, value in entries:
            if key in chosen:
                continue
            where = join(path, key)
            beside = f"beside {chosen[0]!r}, which is read"
            if chosen == ["params"] and key in _STATISTICS and self._nodes.facts(value).vectors:
                self._collect([(str(inner), entry) for inner, entry in children(value) or ()], where, {})
            elif key in reasons:
                self.notes[where] = reasons[key]
            elif key in networks and self._nodes.facts(value).matrices:
                self.notes[where] = f"another network, {beside}; select {where!r} to read it"
            elif is_training_state(value, self._nodes) or (
                is_named_training_state(key) and self._nodes.facts(value).tensors
            ):
                self.notes[where] = f"state of the training, {beside}"
            else:
                self.notes[where] = f"{_kind(value)}, {beside}"
        if len(chosen) == 1:
            return networks[chosen[0]], join(path, chosen[0])
        for key in chosen:
            where = join(path, key)
            self.notes[where] = f"one of {len(chosen)} state dicts read as one network; select {where!r} for it alone"
        self._collect([(key, networks[key]) for key in chosen], "", {})
        return None

    def _networks(self, entries: Iterable[tuple[str, Any]]) -> dict[str, Any]:
        """Returns the containers among entries that may hold a network."""
        found = {
            key: value
            for key, value in entries
            if as_tensor(value) is None
            and self._nodes.facts(value).vectors
            and not is_training_state(value, self._nodes)
        }
        named = [key for key in found if is_named_training_state(key)]
        return {key: value for key, value in found.items() if key not in named} if len(named) < len(found) else found

    def _main(
        self, networks: Mapping[str, Any], path: str, *, is_list: bool
    ) -> tuple[list[str], dict[str, str]] | None:
        """Returns the keys of the main network, and why others are not read; None if a node is one nested network."""
        named = [key for key in WRAPPERS if key in networks]
        if not networks or (not named and not any(self._nodes.facts(value).dotted for value in networks.values())):
            return None
        if named:
            return named[:1], {key: _copy(join(path, key), main) for key, main in find_copies(networks).items()}
        whole = {key: value for key, value in networks.items() if self._nodes.facts(value).matrices} or dict(networks)
        if is_list:
            if len(whole) > 1:
                names = ", ".join(join(path, key) for key in list(whole)[:_MOST_NAMED])
                raise CheckpointError(
                    self._name,
                    f"a list of {len(whole)} networks: {names}",
                    Remedy("select", join(path, next(iter(whole))), "reads the first of them"),
                )
            return list(whole), {}
        copies = find_copies(whole)
        chosen = without_adversaries(key for key in whole if key not in copies)
        all_dotted = all(self._nodes.facts(whole[key]).dotted for key in chosen)
        if len(chosen) > 1 and all_dotted and are_alike(whole[key] for key in chosen):
            chosen = chosen[:1]
        return chosen, {key: _copy(join(path, key), main) for key, main in copies.items()}

    def _collect(self, entries: list[tuple[str, Any]], path: str, reasons: Mapping[str, str]) -> None:
        """Joins the tensors of nested entries into the state, with dotted names in the order of the file."""
        # Entries are taken from the end of the list, so they are put there in reverse order.
        pending: list[tuple[str, Any, int]] = [(key, value, 1) for key, value in reversed(entries)]
        visits = 0
        seen: set[int] = set()  # a small file may lead to the same entries by very many paths
        while pending:
            key, value, depth = pending.pop()
            visits += 1
            seen.add(id(value))
            most = min(MAX_ENTRIES, MAX_SHARING * (len(seen) + 1000))
            if depth > MAX_DEPTH or visits > most or visits + len(pending) > MAX_ENTRIES:
                raise CheckpointError(self._name, "the mappings are nested without end")
            tensor = as_tensor(value)
            where = join(path, key)
            if key in reasons:
                self.notes[where] = reasons[key]
            elif tensor is not None and not has_shape(tensor):
                self.notes[where] = "a nested tensor, whose rows have different lengths; not read"
            elif tensor is not None:
                if key in self.state:
                    raise CheckpointError(self._name, f"two entries lead to the name {key!r}")
                self.state[key] = tensor
            elif not self._nodes.facts(value).tensors:
                self.notes[where] = f"{_kind(value)}, not a tensor"
            elif is_training_state(value, self._nodes) or (depth == 1 and is_named_training_state(key)):
                self.notes[where] = "state of the training, not a weight"
            else:
                inner = [(join(key, below), entry, depth + 1) for below, entry in children(value) or ()]
                pending += reversed(inner)

    def _note_others(self, content: Any, select: str) -> None:
        """Notes the entries of the file beside the one that the user selected."""
        for key, _ in children(content) or ():
            if select != str(key) and not select.startswith(f"{key}.") and str(key) not in self.state:
                self.notes.setdefault(str(key), f"beside {select!r}, which is selected")

    def _selectable(self, content: Any) -> str:
        """Lists the keys that lead to networks, for an error message."""
        found: list[str] = []
        pending: list[tuple[str, Any]] = [("", content)]
        while pending and len(found) < _MOST_NAMED:
            path, node = pending.pop(0)
            networks = self._networks([(str(key), value) for key, value in children(node) or ()])
            for key, value in networks.items():
                if self._nodes.facts(value).matrices and path.count(".") < 3:
                    found.append(join(path, key))
                    pending.append((join(path, key), value))
            own = [str(key) for key, value in children(node) or () if as_tensor(value) is not None]
            starts = dict.fromkeys(key.partition(".")[0] for key in own if "." in key)
            found += [join(path, start) for start in starts] if len(starts) > 1 else []
        return ", ".join(repr(one) for one in dict.fromkeys(found[:_MOST_NAMED]))


def _kind(value: Any) -> str:
    if as_tensor(value) is not None:
        return "a tensor"
    return f"{'object of class' if isinstance(value, InertObject) else 'of type'} {type_name(value)}"


def _copy(path: str, main: str) -> str:
    return f"a copy of {repr(main) if main else 'the network around it'}, which is read; select {path!r} to read it"


def _wrapped(content: Any) -> Iterable[tuple[str, Any]]:
    """Yields the nodes below usual wrappers, with their paths."""
    path = ""
    for _ in range(MAX_DEPTH):
        entries = {str(key): value for key, value in children(content) or ()}
        key = next((key for key in WRAPPERS if children(entries.get(key)) is not None), None)
        if key is None and isinstance(content, list | tuple) and len(content) == 1:
            key = "0"
        if key is None:
            return
        content, path = entries[key], join(path, key)
        yield path, content


def _resolve(content: Any, select: str) -> tuple[Any, str] | None:
    """Follows the keys in a selection.

    Returns:
        The node, and the prefix that the names of its tensors are to have, empty for all; None if there is no such
        node. Keys may hold dots, so the longest key that fits is followed.
    """
    rest = select
    while rest:
        entries = {str(key): value for key, value in children(content) or ()}
        parts = rest.split(".")
        fits = next((n for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in entries), None)
        if fits is None:
            prefix = rest if rest.endswith(".") else f"{rest}."
            return (content, prefix) if any(key.startswith(prefix) for key in entries) else None
        content, rest = entries[".".join(parts[:fits])], ".".join(parts[fits:])
    return content, ""
