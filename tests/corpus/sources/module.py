"""A module.

import nothing
"""
from __future__ import annotations

import os.path as path, sys; import json
from . import core
from ..other import (  # both
    one,
    two as second,
)
from third \
    import *

TEXT = r'it\'s' "import x" f"{path}"
LIST = [
    1,
]

try:
    import optional
except ImportError:
    optional = None


def late():
    import later
