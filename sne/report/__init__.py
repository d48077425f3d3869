"""Reports for people, as HTML pages of one file: what the weights of networks say.

Reading order: `markup.py` escapes, `page.py` is the frame of every page. `facts.py`, `depth.py`, `influence.py` and
`judgement.py` each find out one thing about a checkpoint, `contents.py` collects them, `drawing.py`, `card_page.py` and
`model_card.py` write them, and `card.py` is the entry. `map_sources.py` reads the networks of a map into `map_data.py`,
`layout.py`, `density.py` and `cluster_labels.py` find its shape, `map_page.py` and `static_map.py` draw it, and
`map.py` is the entry.
"""

from sne.report.card import Card as Card
from sne.report.card import card as card
from sne.report.map import write_map as write_map
from sne.report.page import page as page
