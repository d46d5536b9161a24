"""report.html: one file without references to others. A plot for each suite, log scale, a
dot for the median and a line from the smallest to the largest sample; then a table."""

import html
import math

STYLE = """
:root { --bg: #fff; --fg: #1a1a1a; --soft: #666; --line: #ddd; --alt: #f6f6f6;
  --native: #666; --shadowbox: #0b6bcb; --tcg: #d9480f; --uml: #7048a8; --kvm: #2b8a3e; }
@media (prefers-color-scheme: dark) { :root { --bg: #16181c; --fg: #e6e6e6; --soft: #9a9a9a;
  --line: #33373d; --alt: #1e2126; --native: #aaa; --shadowbox: #5aa9f2; --tcg: #ff8a4c;
  --uml: #b18ae0; --kvm: #69c77d; } }
body { background: var(--bg); color: var(--fg); font: 15px/1.45 system-ui, sans-serif;
  max-width: 68em; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.5em; } h2 { font-size: 1.15em; margin: 2em 0 .3em; }
p, dl { max-width: 46em; } .soft { color: var(--soft); } .warn { color: var(--tcg); }
.wide { overflow-x: auto; }
svg { display: block; } svg text { fill: var(--fg); font: 12px system-ui, sans-serif; }
svg .tick { fill: var(--soft); } svg .grid { stroke: var(--line); } svg .one { stroke: var(--soft); }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: .2em .7em; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } tbody tr:nth-child(odd) { background: var(--alt); }
td small { color: var(--soft); }
""" + "".join(f".{n} {{ fill: var(--{n}); stroke: var(--{n}); }} .key.{n}::before {{ color: var(--{n}); }}\n"
              for n in ("native", "shadowbox", "tcg", "uml", "kvm")) + """
.key { margin-right: 1.2em; stroke: none; } .key::before { content: "\\25cf "; }
"""

TITLES = {
    "micro": ("Single operations", "time, relative to the median of the native run"),
    "prog": ("Whole programs", "elapsed time of the first execution, relative to native"),
    "cold": ("Cost of translation", "first and second execution in a new machine, relative to native"),
    "nano": ("Nanobenchmarks on bare metal", "cycles of the time stamp counter"),
    "boot": ("Kernel boot", "milliseconds"),
    "vmm": ("Footprint", "percent of a CPU; MiB"),
}
RELATIVE = ("micro", "prog", "cold")
LEFT, RIGHT, STEP = 150, 30, 11


def esc(text):
    return html.escape(str(text), quote=True)


class Axis:
    """A logarithmic axis over the values, from a power of ten to another."""

    def __init__(self, values, width):
        low, high = math.log10(min(values)), math.log10(max(values))
        # With room for half a decade's label at either end.
        self.low, self.high = low - 0.06 * (high - low + 1), high + 0.06 * (high - low + 1)
        self.width = width

    def at(self, value):
        return LEFT + (math.log10(value) - self.low) / (self.high - self.low) * self.width

    def ticks(self):
        steps = (1,) if self.high - self.low > 3 else (1, 2, 5)
        for decade in range(math.floor(self.low), math.ceil(self.high) + 1):
            for step in steps:
                if self.low <= math.log10(step * 10.0 ** decade) <= self.high:
                    yield step * 10.0 ** decade


def points(rows, summary, engines, relative):
    """[(row, [(engine, min, median, max, title)])]"""
    found = []
    for row in rows:
        cells = summary[row["name"]]
        base = cells.get("native", {}).get("median") if relative else 1
        if not base:
            continue
        marks = [(e["name"], *(max(c[k] / base, 1e-3) for k in ("min", "median", "max")), c)
                 for e in engines for c in [cells.get(e["name"], {})] if "median" in c]
        if marks:
            found.append((row, marks))
    return found


def mark(axis, y, engine, low, median, high, cell):
    title = f"{engine}: {cell['median']:.4g} {cell['unit']} ({cell['min']:.4g} to {cell['max']:.4g}, {cell['n']} samples)"
    return (f'<g class="{engine}"><title>{esc(title)}</title>'
            f'<line x1="{axis.at(low):.1f}" x2="{axis.at(high):.1f}" y1="{y}" y2="{y}" stroke-width="2"/>'
            f'<circle cx="{axis.at(median):.1f}" cy="{y}" r="3.5"/></g>')


def plot(found, relative):
    width = 720
    axis = Axis([v for _, marks in found for m in marks for v in m[1:4]], width)
    parts, y = [], 22
    for row, marks in found:
        height = STEP * len(marks) + 8
        name = row["name"].split(".", 1)[1]
        parts.append(f'<text x="{LEFT - 10}" y="{y + height / 2:.0f}" text-anchor="end">{esc(name)}'
                     f'<title>{esc(row["what"])}</title></text>')
        for i, m in enumerate(marks):
            parts.append(mark(axis, y + 6 + STEP * i, *m))
        y += height
    grid = []
    for tick in axis.ticks():
        x = axis.at(tick)
        one = "one" if relative and tick == 1 else "grid"
        grid.append(f'<line class="{one}" x1="{x:.1f}" x2="{x:.1f}" y1="18" y2="{y}"/>'
                    + "".join(f'<text class="tick" x="{x:.1f}" y="{at}" text-anchor="middle">{tick:g}</text>'
                              for at in (12, y + 14)))
    return (f'<div class="wide"><svg width="{LEFT + width + RIGHT}" height="{y + 20}" role="img">'
            + "".join(grid + parts) + "</svg></div>")


def table(rows, summary, engines, human, ratio, short_ratio):
    out = ["<div class=wide><table><thead><tr><th>row"] + [f"<th>{esc(e['title'])}" for e in engines]
    out.append("<tbody>")
    for row in rows:
        cells = summary[row["name"]]
        out.append(f'<tr><td title="{esc(row["what"])}">{esc(row["name"])}')
        for e in engines:
            c = cells.get(e["name"])
            if not c:
                out.append("<td>")
            elif "median" not in c:
                out.append(f"<td>{esc(c['status'])}")
            else:
                r = ratio(cells, e["name"]) if e["name"] != "native" else None
                out.append(f"<td>{human(c['median'], c['unit'])}" + (f" &nbsp;<b>{short_ratio(r)}</b>" if r else "") +
                           f"<br><small>{human(c['min'], c['unit'])} – {human(c['max'], c['unit'])}</small>")
    out.append("</table></div>")
    return "".join(out)


def head(results):
    host, settings = results["host"], results["settings"]
    facts = [("Date", results["date"]), ("Host", f"{host.get('cpu', '?')}, {host['cpus']} CPUs, {host['system']}"),
             ("Guest", f"{settings['memory']}, 1 CPU, {settings['kernel']}"),
             ("shadowbox", f"{settings['revision']} {settings['shadowbox_args']}"), ("QEMU", host.get("qemu", "-")),
             ("Rounds", f"{settings['rounds']}, interleaved; micro: {settings['samples']} samples "
                        f"of {settings['ms']} ms in each")]
    out = ["<h1>shadowbox benchmarks</h1><dl class=soft>"]
    out += [f"<div>{esc(k)}: {esc(v)}</div>" for k, v in facts]
    out.append("</dl>")
    out += [f"<p class=soft>{esc(e['title'])} was not run: {esc(e['skipped'])}</p>"
            for e in results["engines"] if e["skipped"]]
    out += [f"<p class=warn>Warning: {esc(w)}</p>" for w in results["warnings"]]
    return "".join(out)


def render(results, human, ratio, short_ratio):
    summary = results["summary"]
    engines = [e for e in results["engines"] if not e["skipped"]]
    keys = "".join(f'<span class="key {e["name"]}">{esc(e["title"])}</span>' for e in engines)
    out = ["<!doctype html><html lang=en><meta charset=utf-8><title>shadowbox benchmarks</title>",
           '<meta name=viewport content="width=device-width">', f"<style>{STYLE}</style>", head(results),
           f"<p>{keys}<br><span class=soft>Dots are medians, lines reach from the smallest to the largest "
           "sample. Logarithmic scales; less is better everywhere.</span></p>"]
    for suite in ("micro", "prog", "cold", "nano", "boot", "vmm"):
        rows = [r for r in results["rows"] if r["suite"] == suite]
        if not rows:
            continue
        title, what = TITLES[suite]
        out.append(f"<h2>{title}</h2><p class=soft>{what}</p>")
        found = points(rows, summary, engines, suite in RELATIVE)
        if found:
            out.append(plot(found, suite in RELATIVE))
        out.append(f"<details><summary>Numbers</summary>{table(rows, summary, engines, human, ratio, short_ratio)}"
                   "</details>")
    return "".join(out) + "</html>\n"
