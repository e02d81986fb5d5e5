"""Device declarations and everything derived from them.  Knows no other part of the project."""

from .device_layout import layout_device
from .layout import layout_block
from .schema import SchemaError

__all__ = ["SchemaError", "layout_block", "layout_device"]
