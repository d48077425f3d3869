"""How figures are written."""


def figure(metric: str, value: float | None) -> str:
    """A figure of a metric: squared errors with three digits, others with three decimals; "-" for none."""
    if value is None:
        return "-"
    text = f"{value:.3g}" if metric in ("mse", "mae") else f"{value:.3f}"
    return text.removeprefix("-") if float(text) == 0 else text


def with_interval(metric: str, value: float | None, interval: tuple[float, float] | None) -> str:
    """A figure with its interval in brackets."""
    if value is None or interval is None:
        return figure(metric, value)
    return f"{figure(metric, value)} [{figure(metric, interval[0])}, {figure(metric, interval[1])}]"


def count(value: float | None) -> str:
    """A large whole number."""
    return "-" if value is None else f"{round(value):,}"


def duration(seconds: float | None) -> str:
    """Seconds with as many digits as mean something."""
    if seconds is None:
        return "-"
    return f"{seconds:.3f}" if seconds < 0.1 else f"{seconds:.1f}" if seconds < 100 else f"{seconds:.0f}"
