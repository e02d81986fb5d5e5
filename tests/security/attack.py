"""What the table has beside the villain's violations: things that were done to other VMMs and break no rule, or that no
rule of VIRTIO speaks of."""

from __future__ import annotations

from pathlib import Path

from tests.villain.table import Table

_table = Table("tests.security.attacks", Path(__file__).parent / "attacks")
attack = _table.enter       # like tests.villain.table.breaks, but `must` is what the device has to see to
attacks = _table.all
