"""Optional packages that studies need: which are missing, and which methods are left out for it."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from importlib.util import find_spec

from sne.errors import StudyError, install_hint
from sne.lab.studies.methods import METHOD_EXTRAS, Method
from sne.lab.studies.study import Design

PACKAGES: Mapping[str, tuple[str, ...]] = {"studies": ("matplotlib",), "nfn": ("nfn", "einops"), "ray": ("ray",)}
"""Packages that are imported, by the extra that installs them."""

PLOTS, RAY = "studies", "ray"
"""Extras for drawing a report and for working on a Ray cluster."""


def check_extras(methods: Iterable[Method] = (), *, has_plots: bool = False, has_ray: bool = False) -> None:
    """Raises an error that names all missing extras at once, so that they can be installed in one go.

    Args:
        methods: Methods that must be available.
        has_plots: Whether a report is drawn.
        has_ray: Whether the work is done on a Ray cluster.

    Raises:
        StudyError: If a package is missing.
    """
    users: dict[str, list[str]] = {}
    if has_plots:
        users.setdefault(PLOTS, []).append("the plots of reports")
    if has_ray:
        users.setdefault(RAY, []).append("a Ray cluster")
    for method in methods:
        if method.source in METHOD_EXTRAS:
            users.setdefault(METHOD_EXTRAS[method.source], []).append(method.name)
    lacking = [
        f"{', '.join(names)}: {', '.join(missing)} not installed; {install_hint(extra)}"
        for extra, names in users.items()
        if (missing := missing_packages(extra))
    ]
    if lacking:
        raise StudyError("; ".join(lacking))


def without_unavailable(design: Design) -> Design:
    """Returns a design whose methods are all available; the others are moved to `left_out`, with the reason.

    Args:
        design: Design of a study.
    """
    reasons: dict[str, str] = {}
    for method in design.methods:
        extra = METHOD_EXTRAS.get(method.source)
        if extra is not None and (missing := missing_packages(extra)):
            reasons[method.name] = f"{', '.join(missing)} not installed; {install_hint(extra)}"
    for method in design.methods:
        lost = [part for part in method.parts if part in reasons]
        if lost:
            reasons[method.name] = f"it averages {lost[0]}, which is left out"
    if not reasons:
        return design
    kept = tuple(method for method in design.methods if method.name not in reasons)
    return replace(design, methods=kept, left_out={**design.left_out, **reasons})


def missing_packages(extra: str) -> list[str]:
    """Returns the packages of an extra that cannot be imported.

    Args:
        extra: Name in `PACKAGES`.

    Example:
        >>> missing_packages("studies")
        []
    """
    return [package for package in PACKAGES[extra] if find_spec(package) is None]
