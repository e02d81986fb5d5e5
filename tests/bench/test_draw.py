"""The page of a file of rows."""

import re

import pytest

from tests.bench.made import MACHINE, exit_row, linux_row, net_row, old, row, write
from tests.bench.pages import Tokens, classes, parse, words
from vmm.bench import style
from vmm.bench.chart import significant
from vmm.cli import main as cli

VISIT = {"op": "62 reads of 8192 KiB", "longest_ns": 85_000, "longest_median_ns": 80_000, "handled": 62,
         "user_handled": 0}
MODES = ("off", "host", "on", "qemu-threads", "qemu-io_uring")


@pytest.fixture
def drawn(tmp_path):
    """drawn(rows): the page of them, from the command line."""
    def draw(*rows, **more):
        path = tmp_path / "page.html"
        assert cli.main(["bench", "draw", str(write(tmp_path / "rows.json", *rows, **more)), str(path)]) == 0
        return path
    return draw


def reads(*ns, **changes):
    return [row(mode, one, **changes) for mode, one in zip(MODES, ns)]


def bars(svg):
    return [bar for bar in svg.iter("rect") if bar.get("data-ns")]


def box(root):
    return root.find(".//*[@id='lost']")


def losses(root):
    return [tuple(words(cell) for cell in line) for line in box(root).iter("tr")][1:]


def test_bars_are_as_long_as_what_they_stand_for(drawn):
    figures = (35_000, 11_000.5, 2400, 25_000, 3000)
    for svg in parse(drawn(*reads(*figures), *reads(5, 4, 3, 2, 1, depth=32, floor_ns=0.1))).findall(".//figure/svg"):
        found = bars(svg)
        values, widths = ([float(bar.get(key)) for bar in found] for key in ("data-ns", "width"))
        assert len(values) == 5 and min(widths) > 1
        scale = widths[0] / values[0]
        assert widths == pytest.approx([scale * value for value in values], abs=0.02)
        whiskers = [[float(x) for x in re.findall(r"M([\d.]+)", mark.get("d"))] for mark in svg.iter("path")
                    if "spread" in classes(mark)]
        start = float(found[0].get("x"))
        assert [(low - start, high - start) for low, _, high in whiskers] == [
            pytest.approx((0.98 * scale * value, 1.02 * scale * value), abs=0.02) for value in values]


def test_the_floor_is_a_line_with_its_label(drawn):
    svg = parse(drawn(*reads(35_000, 11_000, 2400, floor_ns=1500.0))).find(".//figure/svg")
    lines = [line for line in svg.iter("line") if "floor" in classes(line)]
    start, scale = float(bars(svg)[0].get("x")), float(bars(svg)[0].get("width")) / 35_000
    assert [float(line.get("x1")) for line in lines] == pytest.approx([start + scale * 1500] * 3, abs=0.02)
    assert "floor 1.5 µs" in [text.text for text in svg.iter("text")]


def test_no_floor_is_drawn_where_none_was_measured(drawn):
    root = parse(drawn(net_row("off"), net_row("on")))
    assert not [line for line in root.iter("line") if "floor" in classes(line)] and "the floor:" not in words(root)


def test_everything_is_within_its_chart(drawn):
    """Also a name that is long, and a figure that is."""
    rows = [exit_row("register-read-page", "off", 1e14), exit_row("register-read-exit", "off", 2.0),
            exit_row("o" * 300, "on", 5e5), exit_row("claimed", "off", 5e5)]
    for svg in parse(drawn(*rows, *reads(9e9, 1, 2, 3, 4, floor_ns=9e9))).findall(".//figure/svg"):
        width, height = map(float, svg.get("viewBox").split()[2:])
        for text in svg.iter("text"):
            x, length = float(text.get("x")), 5.5 * len(text.text)
            left = x - {"end": length, "middle": length / 2}.get(text.get("text-anchor"), 0)
            assert 0 <= left and left + length <= width and 0 < float(text.get("y")) <= height, text.text
        for line in svg.iter("line"):
            assert 0 <= float(line.get("x1")) <= width


def test_what_on_loses_is_on_top_and_beneath_its_bar(drawn):
    root = parse(drawn(*reads(35_000, 11_000, 6000, 2000, 7000), *reads(9000, 8000, 1000, 2000, 3000, op="write")))
    assert losses(root) == [
        ("read 4 KiB x1 random", "slower", "3.0 times as long as qemu-threads", "6.00 µs", "2.00 µs")]
    assert "bad" in classes(box(root))
    assert "takes no longer than 3, and longer than 1: 1 beyond noise" in words(box(root))
    lost, won = root.findall(".//figure")
    assert classes(lost) == ["bad"] and not classes(won)
    assert box(root).find(".//a").get("href") == f"#{lost.get('id')}"
    (note,) = [text for text in lost.iter("text") if "bad" in classes(text)]
    assert note.text == "3.0 times as long as qemu-threads"
    assert [bar.get("data-ns") for bar in bars(lost) if "lost" in classes(bar)] == ["6000"]
    assert not [text for text in won.iter("text") if "bad" in classes(text)]


def test_what_may_be_noise_is_called_so(drawn):
    wide = (0.8, 0.9, 1, 1.1, 1.2)
    root = parse(drawn(row("on", 2100, wide), row("qemu-threads", 2000, wide),
                       row("on", 2000, (1,), depth=32), row("qemu-threads", 1000, (1,), depth=32)))
    assert [line[1:3] for line in losses(root)] == [
        ("too few repetitions", "2.0 times as long as qemu-threads"),
        ("within noise", "5.0 % longer than qemu-threads")]
    assert "unsure" in classes(box(root)) and not [bar for bar in root.iter("rect") if "lost" in classes(bar)]
    assert "5.0 % longer than qemu-threads: within noise" in [text.text for text in root.iter("text")]


def test_the_worst_is_first(drawn):
    root = parse(drawn(*reads(9, 9, 30, 20, 10), *reads(9, 9, 50, 20, 10, ring=3)))
    assert [(line[0], line[-3][:3]) for line in losses(root)] == [
        ("read 4 KiB x1 random, ring 3", "5.0"), ("read 4 KiB x1 random", "3.0"),
        ("read 4 KiB x1 random, ring 3", "2.5"), ("read 4 KiB x1 random", "50 ")]


@pytest.mark.parametrize("rows, says", [
    (reads(9, 8, 1, 2, 3), "on is nowhere slower than a peer"), (reads(9, 8, 1), "No peer beside on"),
    ([linux_row("on"), linux_row("vhost", 9e6)], "on is nowhere slower than a peer")])
def test_nothing_is_lost(drawn, rows, says):
    root = parse(drawn(*rows))
    assert words(next(root.iter("h2"))) == says and not [f for f in root.iter("figure") if classes(f)]


def test_peers_have_a_hue_of_their_own(drawn):
    for svg in parse(drawn(*reads(5, 4, 3, 2, 1))).findall(".//figure/svg"):
        assert [classes(bar)[0] for bar in bars(svg)] == ["off", "host", "on", "peer", "peer2"]


def test_exits_and_their_visits(drawn):
    root = parse(drawn(exit_row("claimed", "off", 1000), exit_row("handled", "on", 1200),
                       exit_row("user-5", "off", 9000), exit_row("register-read-exit", "off", 5000), visits=[VISIT]))
    assert {words(figure.find("h3")): len(bars(figure)) for figure in root.iter("figure")} == {
        "one write": 2, "five writes": 1, "one read": 1}
    assert "No peer" not in words(root)
    assert "62 reads of 8192 KiB 85.0 80.0 62 0" in [
        " ".join(words(cell) for cell in line) for line in root.iter("tr")]


def test_four_ways_of_five_writes(drawn):
    """One chart; counts are of once round; and a row that is not there."""
    exits = {"user-5": 5010, "coalesced-4-user-1": 1001, "posted-4-user-1": 1020, "posted-4-handled-1": 0}
    root = parse(drawn(*(exit_row(op, "on", 9000, exits_to_user=count) for op, count in exits.items()),
                       machine={**MACHINE, "left_out": ["another is left out: KVM has none"]}))
    assert [(words(figure.find("h3")), len(bars(figure))) for figure in root.iter("figure")] == [("five writes", 4)]
    assert [words(line[-3]) for line in root.findall(".//tbody/tr")] == ["5.01", "1", "1.02", "0"]
    assert "another is left out: KVM has none" in words(root)


def test_figures_are_those_of_the_terminal(drawn):
    declined = row("on", 2345, declined=990, why="a write of a kind")
    root = parse(drawn(row("off", 35_000), declined))
    lines = [[words(cell) for cell in line] for line in root.findall(".//table/tbody/tr")]
    assert lines[0][:4] == ["read 4 KiB x1 random", "off", "35.00", "34.30"]
    assert lines[1] == ["on", "2.35", "2.30", "2.39", *"---", "1.00", "1.34", "2.35", "0.00", "0.0%", "100.0%",
                        "99.0%", "-", "-"]
    assert root.find(".//tbody/tr/th").get("rowspan") == "2"
    assert words(root.find(".//figcaption")) == "on: 99 % declined: a write of a kind"


def test_doorbells_and_interrupts(drawn):
    """A peer's too, as its guest counts them."""
    root = parse(drawn(row("on", notify="event", doorbells=2, interrupts=0),
                       row("qemu-threads", notify="event", doorbells=267, interrupts=None)))
    assert words(root.find(".//figure/h3")) == "read 4 KiB x1 random, event index"
    found = [[words(cell) for cell in line][-2:] for line in root.findall(".//table/tbody/tr")]
    assert found[-2:] == [["0.2%", "0.0%"], ["26.7%", "-"]]


def test_the_machine_and_the_date(drawn):
    said = words(parse(drawn(row(), machine={**MACHINE, "foreign_exit_added_ns": 181.0})).find(".//dl"))
    for part in ("2025-11-24 21:07:31 UTC", "Linux 6.18.0", "A processor", "2.60 GHz", "Repetitions5", "8.0 GB/s",
                 "pays 181 ns"):
        assert part in said


def test_files_of_before(drawn):
    said = words(parse(drawn(old(row()), date="")).find(".//dl"))
    assert "no date kept" in said and "not kept" in said


HOSTILE = "</title></style><script>alert(1)</script><img src=x onerror=alert(1)>\"'&amp;]]>--"


def test_text_of_a_file_is_never_markup(drawn):
    rows = [row(mode, ns, op=HOSTILE, pattern=HOSTILE, wait=HOSTILE, why=HOSTILE, declined=900) for mode, ns in (
        ("on", 5000), (f"qemu{HOSTILE}", 1000))]
    path = drawn(*rows, machine={**MACHINE, "cpu": HOSTILE, "kernel": HOSTILE}, date=HOSTILE,
                 visits=[{**VISIT, "op": HOSTILE}])
    tokens = Tokens(path.read_text())
    names = [name for name, _ in tokens.elements]
    assert not {"script", "img"} & set(names)
    assert names.count("style") == names.count("title") - names.count("g") - 1 == 1
    assert not [key for _, attributes in tokens.elements for key in attributes if key.startswith("on")]
    assert tokens.text.count(HOSTILE) >= 10


@pytest.mark.parametrize("rows", [reads(5, 4, 3, 2, 1), [net_row("on"), net_row("qemu", 1000)], [linux_row("on")]])
def test_it_needs_nothing_but_itself(drawn, rows):
    path = drawn(*rows)
    tokens, head = Tokens(path.read_text()), parse(path).find("head")
    assert head.find("title").text.startswith("splitvmm bench ") and head.find("style").text == style.CSS
    assert not {"script", "link", "img", "iframe", "object", "use", "image"} & {name for name, _ in tokens.elements}
    for _, attributes in tokens.elements:
        assert not {"src", "srcset", "style"} & set(attributes) and attributes.get("href", "#").startswith("#")
    assert "url(" not in path.read_text() and "@import" not in path.read_text() and "http" not in path.read_text()


def test_every_chart_says_in_words_what_it_shows(drawn):
    root = parse(drawn(*reads(35_000, 11_000, 6000, 2000, 7000)))
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert root.get("lang") == "en" and len(set(ids)) == len(ids)
    for svg in root.findall(".//figure/svg"):
        assert svg.get("role") == "img" and all(name in ids for name in svg.get("aria-labelledby").split())
        assert svg.find("title").text == "read 4 KiB x1 random"
        assert "on: 6.00 µs, 5.88 µs to 6.12 µs, 3.0 times as long as qemu-threads" in svg.find("desc").text
    assert all(heading.get("scope") for heading in root.iter("th"))


def luminance(colour):
    """Of WCAG 2."""
    parts = [int(colour[i:i + 2], 16) / 255 for i in (1, 3, 5)]
    return sum(weight * (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4)
               for weight, part in zip((0.2126, 0.7152, 0.0722), parts))


def contrast(a, b):
    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("of", [style.LIGHT, style.DARK])
def test_contrast(of):
    """4.5 for text, 3 for what is drawn; `off` may be fainter, as its figure and name stand beside it."""
    for text, ground in [(text, ground) for text in ("ink", "faint", "bad", "good", "unsure", "floor")
                         for ground in ("paper", "card")] + [("ink", "plain-paper"), *(
                             (kind, f"{kind}-paper") for kind in ("bad", "good", "unsure"))]:
        assert contrast(of[text], of[ground]) >= 4.5, (text, ground)
    for kind in ("on", "peer2"):
        assert contrast(of[kind], of["card"]) >= 3, kind
    assert set(of) == set(style.LIGHT)


@pytest.mark.parametrize("value, said", [(0, "0"), (0.0123, "0.0123"), (2.345, "2.35"), (35, "35.0"), (123.4, "123"),
                                         (1456, "1,456")])
def test_figures_say_three_digits(value, said):
    assert significant(value) == said
