"""Why axes stay fixed, where several rules say the same."""

KERNEL = "kernel positions"
SPACE = "positions of the input"
ROWS = "rows are read by number"
