"""All lines of the table, in its order."""

from speed_lines import (
    commands,
    gpu,
    growth,
    large_files,
    mixed_zoo,
    neural_baselines,
    paper,
    stored_zoo,
    weight_analysis,
)
from speed_lines.line import Line

LINES: dict[str, Line] = {
    line.name: line
    for line in (
        *neural_baselines.LINES,
        *stored_zoo.LINES,
        *paper.LINES,
        *large_files.LINES,
        *growth.LINES,
        *mixed_zoo.LINES,
        *gpu.LINES,
        *commands.LINES,
        *weight_analysis.LINES,
    )
}
"""Lines by name, in the order of the table."""
