"""Device declarations and everything derived from them.  Knows no other part of the project."""

from .layout import layout_block, layout_device
from .schema import SchemaError

__all__ = ["SchemaError", "layout_block", "layout_device"]
