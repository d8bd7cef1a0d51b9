"""How the page looks: two palettes, one column on a phone, and type that is left alone."""

from typing import Final

LIGHT: Final[dict[str, str]] = {
    "paper": "#fbfaf7",
    "card": "#ffffff",
    "ink": "#1c1e21",
    "quiet": "#575c63",
    "rule": "#dcdad3",
    "serving": "#1d5c9e",
    "awake": "#dde7f1",
    "demand": "#ad4510",
    "most": "#f3d9c8",
}
"""Colours by day. `ink` and `quiet` are text, `serving` and `demand` lines; the others are what lies under them."""

DARK: Final[dict[str, str]] = {
    "paper": "#131517",
    "card": "#1a1d20",
    "ink": "#e8e6e1",
    "quiet": "#a5abb3",
    "rule": "#34383d",
    "serving": "#83b6ee",
    "awake": "#22354a",
    "demand": "#f2a470",
    "most": "#4a3222",
}
"""The same by night."""

TEXTS: Final = ("ink", "quiet", "serving", "demand")
"""What must be legible on `paper` and on `card`: 4.5 to 1 at least (WCAG 2.2, 1.4.3)."""


def _palette(colours: dict[str, str]) -> str:
    return "".join(f"--{name}:{colour};" for name, colour in colours.items())


_RULES: Final = """\
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);
 font:1rem/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;
 font-variant-numeric:tabular-nums;overflow-wrap:break-word}
main,header,footer{max-width:66rem;margin:0 auto;padding:0 1rem}
header{padding-top:2rem}
h1{font-size:1.6rem;line-height:1.2;font-weight:600;letter-spacing:-.01em;margin:0 0 .5rem}
h2{font-size:1.15rem;line-height:1.3;font-weight:600;margin:3rem 0 .25rem;padding-top:1rem;border-top:1px solid var(--rule)}
h3{font-size:1rem;font-weight:600;margin:0}
p{margin:.25rem 0 .75rem;max-width:44rem}
.quiet,figcaption,dt,.what{color:var(--quiet)}
.figures{display:grid;gap:1rem;grid-template-columns:minmax(0,1fr);margin:1rem 0 0;padding:0;list-style:none}
.figures>li,figure{background:var(--card);border:1px solid var(--rule);border-radius:.5rem;padding:1rem .75rem;margin:0;min-width:0}
.value{font-size:2rem;line-height:1.15;font-weight:600;letter-spacing:-.02em;margin:.25rem 0}
.value.none{font-weight:400;color:var(--quiet)}
.note{margin:0 0 .5rem}
.what{font-size:.875rem;line-height:1.45;margin:0}
.made{font-size:.8125rem;line-height:1.45;margin:.5rem 0 0;color:var(--quiet)}
code,pre,.hash{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:.8125rem}
pre{background:var(--card);border:1px solid var(--rule);border-radius:.5rem;padding:.75rem 1rem;margin:.5rem 0 1rem;
 white-space:pre-wrap;overflow-wrap:anywhere}
table{border-collapse:collapse;width:100%;max-width:44rem;margin:1rem 0;font-size:.9375rem}
th,td{text-align:right;padding:.35rem 0 .35rem .5rem;border-bottom:1px solid var(--rule);font-weight:400}
thead th{color:var(--quiet);font-size:.875rem;vertical-align:bottom}
tbody th,thead th:first-child{text-align:left;padding-left:0}
tr.sum>*{font-weight:600}
.curves{display:grid;gap:1rem;grid-template-columns:minmax(0,1fr);margin:1rem 0}
figure svg,.bars{display:block;width:100%;height:auto}
.bars{max-width:34rem;margin:1rem 0 0}
figcaption{font-size:.875rem;line-height:1.45;margin-top:.5rem}
.legend{display:flex;flex-wrap:wrap;gap:.25rem 1.25rem;list-style:none;margin:.5rem 0 0;padding:0;font-size:.875rem;color:var(--quiet)}
.legend svg{display:inline-block;width:1.75rem;height:.75rem;margin-right:.4rem;vertical-align:-.05rem}
dl{margin:1rem 0}
dt{font-size:.875rem}
dd{margin:0 0 .75rem;overflow-wrap:anywhere}
footer{padding-top:2rem;padding-bottom:3rem;color:var(--quiet);font-size:.875rem}
svg text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;fill:var(--quiet)}
.grid{stroke:var(--rule);stroke-width:1;fill:none}
.axis{stroke:var(--quiet);stroke-width:1;fill:none}
.awake{fill:var(--awake)}
.most{fill:var(--most)}
.serving{stroke:var(--serving);stroke-width:1.75;fill:none;stroke-linejoin:round}
.demand{stroke:var(--demand);stroke-width:1.5;fill:none;stroke-linejoin:round}
.took{fill:var(--serving)}
.budget{stroke:var(--demand);stroke-width:2}
@media (min-width:40rem){.figures>li,figure{padding:1.25rem}.figures{grid-template-columns:repeat(2,minmax(0,1fr))}header{padding-top:3rem}h1{font-size:2rem}}
@media (min-width:60rem){.figures{grid-template-columns:repeat(3,minmax(0,1fr))}.curves{grid-template-columns:repeat(2,minmax(0,1fr))}}
@media print{body{background:none}.figures>li,figure{break-inside:avoid}}
"""

STYLE: Final = (
    f":root{{color-scheme:light dark;{_palette(LIGHT)}}}\n"
    f"@media (prefers-color-scheme:dark){{:root{{{_palette(DARK)}}}}}\n{_RULES}"
)
"""Nothing is fetched: the fonts are the reader's own, and the pictures are drawn in the page."""
