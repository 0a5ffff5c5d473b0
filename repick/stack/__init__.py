"""The whole service on one machine: what `repick up` and the demo run."""

from repick.stack.addresses import Addresses
from repick.stack.run import run_stack

__all__ = ["Addresses", "run_stack"]
