"""The laboratory: neural baselines, function probing and the published studies. Only `sne study` imports it."""
