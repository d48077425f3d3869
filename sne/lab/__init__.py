"""The laboratory: neural baselines, probing and the published studies. Only `sne study` imports it."""
