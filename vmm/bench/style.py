"""The look of the pages.  Colours are said once for light and once for dark; peers have a hue of their own."""

from __future__ import annotations

LIGHT = {"paper": "#ffffff", "card": "#f6f7f9", "line": "#d5dae1", "ink": "#1c2430", "faint": "#566070",
         "off": "#aebdd2", "host": "#6f9fdc", "on": "#1f5fc4", "peer": "#e0913a", "peer2": "#b8661a",
         "floor": "#0b7a63", "bad": "#b3202c", "bad-paper": "#fdecec", "good": "#1a6e36", "good-paper": "#e8f5ec",
         "unsure": "#7d5200", "unsure-paper": "#fdf3dc", "plain-paper": "#e9edf2"}
DARK = {"paper": "#12161c", "card": "#1a2029", "line": "#37414f", "ink": "#e7ebf1", "faint": "#a3aebd",
        "off": "#55667f", "host": "#4d7db8", "on": "#6aa8ff", "peer": "#b97226", "peer2": "#f0a552",
        "floor": "#4fd0b2", "bad": "#ff8f8f", "bad-paper": "#3a1b20", "good": "#7fd79b", "good-paper": "#16301f",
        "unsure": "#f0c264", "unsure-paper": "#372a10", "plain-paper": "#2a323e"}


def colours(of: dict[str, str]) -> str:
    return "".join(f"--{name}:{value};" for name, value in of.items())


RULES = """
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 84rem; margin: 0 auto; padding: 1.5rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .75rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.25rem 0 .75rem; }
h3 { font-size: .95rem; margin: 0 0 .25rem; }
a { color: inherit; }
p { margin: .4rem 0; max-width: 60rem; }
dl { display: flex; flex-wrap: wrap; gap: .5rem 2rem; margin: 0 0 1rem; }
dt { font-size: .8rem; color: var(--faint); }
dd { margin: 0; overflow-wrap: anywhere; }
.box { border: 1px solid var(--line); border-left: 5px solid var(--faint); border-radius: 6px; padding: .75rem 1rem;
  margin: 1rem 0; background: var(--card); }
.box h2 { margin: 0 0 .35rem; font-size: 1.05rem; }
.box.bad { border-left-color: var(--bad); } .box.bad h2 { color: var(--bad); }
.box.good { border-left-color: var(--good); } .box.good h2 { color: var(--good); }
.box.unsure { border-left-color: var(--unsure); } .box.unsure h2 { color: var(--unsure); }
.chip { display: inline-block; padding: 0 .55em; border-radius: 1em; font-size: .85em; white-space: nowrap;
  background: var(--plain-paper); color: var(--ink); }
.chip.bad { background: var(--bad-paper); color: var(--bad); font-weight: 600; }
.chip.good { background: var(--good-paper); color: var(--good); font-weight: 600; }
.chip.unsure { background: var(--unsure-paper); color: var(--unsure); font-weight: 600; }
.wide { overflow-x: auto; }
.wide:focus-visible { outline: 2px solid var(--on); }
table { border-collapse: collapse; font-size: .875rem; }
caption { text-align: left; color: var(--faint); padding-bottom: .4rem; }
th, td { padding: .16rem .7rem; text-align: left; vertical-align: top; white-space: nowrap; font-weight: normal; }
tbody th { white-space: normal; min-width: 8rem; }
thead th { color: var(--faint); border-bottom: 1px solid var(--line); vertical-align: bottom; }
tr.first > * { border-top: 1px solid var(--line); }
.figure { text-align: right; font-variant-numeric: tabular-nums; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 34rem), 1fr)); gap: .9rem; }
.cards + h3, .box + .cards { margin-top: 1.2rem; }
figure { margin: 0; padding: .7rem .9rem .5rem; border: 1px solid var(--line); border-radius: 6px;
  background: var(--card); }
figure.bad { border-color: var(--bad); }
figure:target { outline: 2px solid var(--on); }
figcaption { font-size: .82rem; color: var(--faint); }
svg { display: block; width: 100%; height: auto; }
svg text { font: 12.5px system-ui, sans-serif; fill: var(--ink); paint-order: stroke; stroke: var(--card);
  stroke-width: 4px; stroke-linejoin: round; }
svg .scale { fill: var(--faint); font-size: 11px; } svg .bad { fill: var(--bad); font-weight: 600; }
svg .unsure { fill: var(--unsure); font-weight: 600; } svg .plain { fill: var(--faint); }
svg .grid { stroke: var(--line); } svg .axis { stroke: var(--faint); }
svg .spread { stroke: var(--ink); stroke-width: 1.4; fill: none; }
svg .under { stroke: var(--card); stroke-width: 4; fill: none; opacity: .7; }
svg .floor { stroke: var(--floor); stroke-width: 2; stroke-dasharray: 4 2; }
svg text.floor-label { fill: var(--floor); font-size: 11.5px; }
svg .lost { stroke: var(--bad); stroke-width: 2; }
.off { fill: var(--off); } .host { fill: var(--host); } .on { fill: var(--on); } .peer { fill: var(--peer); }
.peer2 { fill: var(--peer2); }
.change { width: 13rem; min-width: 13rem; height: 1.2rem; vertical-align: middle; }
th.change { text-align: center; height: auto; } .faster { fill: var(--good); } .slower { fill: var(--bad); }
.same { fill: var(--faint); } .few { fill: var(--unsure); } .band { fill: var(--plain-paper); }
.legend { display: flex; flex-wrap: wrap; gap: .3rem 1.3rem; font-size: .87rem; margin: .5rem 0 1rem; padding: 0;
  list-style: none; }
.legend svg { display: inline-block; width: 1.6rem; height: .9rem; margin-right: .4rem; vertical-align: -1px; }
@media print { figure, .box, tr { break-inside: avoid; } }
"""
CSS = f"""
:root {{ color-scheme: light dark; {colours(LIGHT)} }}
@media (prefers-color-scheme: dark) {{ :root {{ {colours(DARK)} }} }}
{RULES}"""
