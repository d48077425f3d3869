"""Types are checked while tests run: every annotated function of `sne`, by beartype, tensor shapes included.

This stands at the top of the tests because it must come before the first import of `sne`.
"""

from jaxtyping import install_import_hook

install_import_hook("sne", "beartype.beartype")
