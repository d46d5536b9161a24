"""Reports: the table on the terminal, results.json, report.html."""

import json
import os
import statistics

import page

UNITS = {"ns": [("ns", 1), ("µs", 1e3), ("ms", 1e6), ("s", 1e9)],
         "ms": [("µs", 1e-3), ("ms", 1), ("s", 1e3)], "cycles": [("cyc", 1)]}


def human(value, unit):
    """Three significant digits, in the unit that suits."""
    for name, size in reversed(UNITS.get(unit, [(unit, 1)])):
        if value >= size:
            break
    value /= size
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:.{digits}f} {name}"


def spread(values):
    """Half the distance between the quartiles; of few values, between the extremes."""
    low, _, high = statistics.quantiles(values, n=4) if len(values) > 5 else (min(values), 0, max(values))
    return (high - low) / 2


def summarize(results):
    """row -> engine -> {min, median, max, unit, n, status}"""
    table = {row["name"]: {} for row in results["rows"]}
    groups = {}
    for s in results["samples"]:
        groups.setdefault((s["row"], s["engine"]), []).append(s)
    for (row, engine), samples in groups.items():
        values = [s["value"] for s in samples]
        table.setdefault(row, {})[engine] = {
            "min": min(values), "spread": spread(values), "median": statistics.median(values), "max": max(values),
            "unit": samples[0]["unit"], "n": len(values)}
    for f in results["failures"]:
        table.setdefault(f["row"], {}).setdefault(f["engine"], {})["status"] = f["status"]
    return table


def ratio(cells, engine, base="native"):
    a, b = cells.get(engine, {}).get("median"), cells.get(base, {}).get("median")
    return a / b if a is not None and b else None


def short_ratio(r):
    return "" if r is None else f"{r:.0f}x" if r >= 99.5 else f"{r:.1f}x" if r >= 9.95 else f"{r:.2f}x"


def cell_text(cells, engine):
    cell = cells.get(engine)
    if not cell:
        return "-"
    if "median" not in cell:
        return cell["status"]
    text = human(cell["median"], cell["unit"])
    if cell["n"] > 1 and cell["median"]:
        text += f" ±{cell['spread'] / cell['median'] * 100:.0f}%"
    if engine != "native":
        r = ratio(cells, engine)
        text += f" {short_ratio(r):>6}" if r else " " * 7
    return text + (" !" if cell.get("status") else "")


def earlier(cells, before):
    """The earlier median of shadowbox, and the change since."""
    now, then = (c.get("shadowbox", {}).get("median") for c in (cells, before))
    if not now or not then:
        return "-"
    return f"{human(then, before['shadowbox']['unit'])} {(now / then - 1) * 100:+.0f}%"


def terminal(results, summary, baseline, out):
    names = [e["name"] for e in results["engines"] if not e["skipped"]]
    versus = "shadowbox" in names and "tcg" in names
    lines = [["", *names] + (["tcg/sbx"] if versus else []) + (["sbx was"] if baseline else [])]
    for row, cells in summary.items():
        lines.append([row] + [cell_text(cells, n) for n in names] +
                     ([short_ratio(ratio(cells, "tcg", "shadowbox"))] if versus else []) +
                     ([earlier(cells, baseline.get(row, {}))] if baseline else []))
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for line in lines:
        print(line[0].ljust(widths[0]) + "".join("  " + c.rjust(w) for c, w in zip(line[1:], widths[1:])), file=out)
    print("medians; ± half the distance between quartiles (of few samples, between extremes); x: times native", file=out)


def write(results, folder, baseline, out):
    results["summary"] = summary = summarize(results)
    before = {}
    if baseline:
        with open(baseline) as f:
            before = json.load(f)["summary"]
    path = os.path.join(folder, "results.json")
    with open(path, "w") as f:
        json.dump(results, f, indent=1)
    page_path = os.path.join(folder, "report.html")
    with open(page_path, "w") as f:
        f.write(page.render(results, human, ratio, short_ratio))
    terminal(results, summary, before, out)
    print(f"{path}\n{page_path}", file=out)
