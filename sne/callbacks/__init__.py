"""Callbacks that watch a network while it trains: predicted properties and health, as values for loggers.

`monitor.py` reads the network and knows no trainer, `schedule.py` says when. `lightning.py` and `transformers.py` call
them; each needs an optional package, and is imported by its own name.
"""

from sne.callbacks.monitor import Monitor as Monitor
