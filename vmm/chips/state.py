"""The state of the chips that are no CPU's, as plain data: 8259As, I/O APIC, 8254.

Names and meanings are those of struct kvm_pic_state, kvm_ioapic_state and kvm_pit_state2 (arch/x86/include/uapi/asm/
kvm.h), so that a machine may go from KVM's chips to these and back; `loaded` alone is not KVM's: 0 of a counter that
waits for its count.  As with KVM, one that runs begins its period anew.  What is given may come from anywhere.
"""

from __future__ import annotations

from typing import Any

from ..errors import UserError
from .chipset import Chipset
from .ioapic import LEVEL, PINS, REMOTE_IRR, IoApic
from .pic import Pic
from .pit_channel import BOTH, HARD_STROBE, HIGH, LOW, Channel

State = dict[str, Any]
PIC_FIELDS = {          # field -> attribute of Pic, the most that it may be
    "last_irr": ("lines", 0xff), "irr": ("irr", 0xff), "imr": ("imr", 0xff), "isr": ("isr", 0xff),
    "priority_add": ("top", 7), "irq_base": ("base", 0xf8), "read_reg_select": ("read_isr", 1), "poll": ("poll", 1),
    "special_mask": ("special_mask", 1), "init_state": ("step", 3), "auto_eoi": ("auto_eoi", 1),
    "rotate_on_auto_eoi": ("rotate_on_auto_eoi", 1), "special_fully_nested_mode": ("fully_nested", 1),
    "init4": ("wants_icw4", 1), "elcr": ("level", 0xff)}
IOAPIC_FIELDS = {"ioregsel": 0xff, "id": 0xf, "irr": (1 << PINS) - 1}
COUNTER_FIELDS = {      # the most that each may be
    "count": 0x10000, "latched_count": 0xffff, "count_latched": BOTH, "status_latched": 1, "status": 0xff,
    "read_state": BOTH + 1, "write_state": BOTH + 1, "write_latch": 0xff, "rw_mode": BOTH, "mode": 0xff, "bcd": 1,
    "gate": 1}
NEVER_SET = 0xff        # mode of a counter that nobody has set up


def take(chips: Chipset) -> State:
    """What the chips have."""
    with chips.section:
        now_ns = chips.clock.ns()
        return {"pics": [_of_pic(pic) for pic in (chips.pics.first, chips.pics.second)],
                "ioapic": _of_ioapic(chips.ioapic),
                "counters": [_of_counter(channel, now_ns) for channel in chips.pit.channels],
                "speaker": int(chips.speaker.speaker)}


def give(chips: Chipset, state: State) -> None:
    """Have them be that.  Raises UserError before anything is changed."""
    _refuse(state)
    with chips.section:
        for pic, fields in zip((chips.pics.first, chips.pics.second), state["pics"]):
            _to_pic(pic, fields)
        chips.pics.update_output()
        _to_ioapic(chips.ioapic, state["ioapic"])
        now_ns = chips.clock.ns()
        for channel, fields in zip(chips.pit.channels, state["counters"]):
            _to_counter(channel, fields, now_ns)
        chips.speaker.speaker = bool(state["speaker"])
        chips.pit.arm(now_ns)


def _refuse(state: State) -> None:
    pics, chip, counters = (_part("chips", state, name) for name in ("pics", "ioapic", "counters"))
    for at in range(2):
        _check(f"pics[{at}]", _part("pics", pics, at), {name: most for name, (_, most) in PIC_FIELDS.items()})
    _check("ioapic", chip, IOAPIC_FIELDS)
    _check("ioapic.redirtbl", _part("ioapic", chip, "redirtbl"), dict.fromkeys(range(PINS), (1 << 64) - 1))
    if len(chip["redirtbl"]) != PINS:
        raise UserError(f"state of ioapic: redirtbl of {len(chip['redirtbl'])} pins; wanted {PINS}")
    for at in range(3):
        _check(f"counters[{at}]", _part("counters", counters, at), COUNTER_FIELDS)
    _check("chips", state, {"speaker": 1})


def _part(where: str, found: Any, name: Any) -> Any:
    if not isinstance(found, list if isinstance(name, int) else dict):
        raise UserError(f"state of {where}: {found!r:.80}; wanted a {'list' if isinstance(name, int) else 'map'}")
    try:
        return found[name]
    except (KeyError, IndexError):
        raise UserError(f"state of {where}: there is no {name}; wanted one") from None


def _check(where: str, found: Any, most: dict[Any, int]) -> None:
    for name, highest in most.items():
        value = _part(where, found, name)
        if not isinstance(value, int) or not 0 <= value <= highest:
            raise UserError(f"state of {where}: {name} {value!r:.80}; wanted 0 to {highest:#x}")


def _of_pic(pic: Pic) -> State:
    return {name: int(getattr(pic, ours)) for name, (ours, _) in PIC_FIELDS.items()}


def _to_pic(pic: Pic, fields: State) -> None:
    for name, (ours, _) in PIC_FIELDS.items():
        setattr(pic, ours, type(getattr(pic, ours))(fields[name]))
    pic.base &= 0xf8
    pic.level &= pic.level_allowed


def _of_ioapic(chip: IoApic) -> State:
    """`irr` has the pins that are to be served yet, or again: of edges there are none."""
    levels = sum(1 << pin for pin, entry in enumerate(chip.entries) if entry & LEVEL)
    return {"ioregsel": chip.selected, "id": chip.id, "irr": chip.lines & levels, "redirtbl": list(chip.entries)}


def _to_ioapic(chip: IoApic, fields: State) -> None:
    chip.selected, chip.id, chip.lines = fields["ioregsel"], fields["id"], 0
    chip.entries = [entry if entry & LEVEL else entry & ~REMOTE_IRR for entry in fields["redirtbl"]]
    for pin in range(PINS):
        if fields["irr"] >> pin & 1:
            chip.set_line(pin, True)


def _of_counter(channel: Channel, now_ns: int) -> State:
    both = channel.access == BOTH
    latched = channel.latched
    return {
        "count": channel.written,
        "latched_count": _latched_count(channel),
        "count_latched": BOTH if len(latched) == 2 else (LOW if channel.access == LOW else HIGH) if latched else 0,
        "status_latched": int(channel.latched_status is not None), "status": channel.latched_status or 0,
        "read_state": BOTH + channel.reads_high if both else channel.access,
        "write_state": BOTH + (channel.low_byte is not None) if both else channel.access,
        "write_latch": channel.low_byte or 0, "rw_mode": channel.access,
        "mode": channel.mode, "bcd": int(channel.bcd), "gate": int(channel.gate),
        "loaded": int(channel.started is not None)}


def _latched_count(channel: Channel) -> int:
    """Both bytes; one that was read is 0."""
    value = int.from_bytes(bytes(channel.latched), "little")
    return value << 8 if len(channel.latched) == 1 and channel.access != LOW else value


def _to_counter(channel: Channel, fields: State, now_ns: int) -> None:
    mode = fields["mode"] if fields["mode"] <= HARD_STROBE else 0
    channel.control(fields["rw_mode"] or LOW, mode, bool(fields["bcd"]))
    channel.gate = bool(fields["gate"])
    channel.written = fields["count"] or 0x10000
    if fields["mode"] != NEVER_SET and fields.get("loaded", 1):
        channel.begin(now_ns)
    channel.low_byte = fields["write_latch"] if fields["write_state"] > BOTH else None
    channel.reads_high = fields["read_state"] > BOTH
    bytes_ = list(fields["latched_count"].to_bytes(2, "little"))
    channel.latched = {0: [], LOW: bytes_[:1], HIGH: bytes_[1:], BOTH: bytes_}[fields["count_latched"]]
    channel.latched_status = fields["status"] if fields["status_latched"] else None
