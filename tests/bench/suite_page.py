# SPDX-License-Identifier: MIT
"""docs/benchmarks.md, whole, from docs/benchmarks.json. The prose is tests/bench/page.md, in
which <!-- bench:NAME --> stands for a result's table and plot, or NAME is `machine`, `marks`
or `soak`. Nobody writes into the page, and the prose has no figures of a run: what
is true of every run is said there, what was true of one is in its JSON."""
import json
import os
import re
import subprocess
import sys

from measure import BUSY, ratios, spread
from suite import quiet

HERE = os.path.dirname(os.path.abspath(__file__))
PROSE = f"{HERE}/page.md"
PLACE = re.compile(r"^<!-- bench:([\w-]+) -->\n", re.M)
MADE = "<!-- Made by scripts/bench --page of tests/bench/page.md and benchmarks.json: change those. -->\n"
PLOT = """set terminal svg noenhanced size 760,360 font 'sans,11' background rgb 'white'
set output '{path}'
set logscale x
set xlabel "{x}"
set ylabel "{unit}"
set key outside right top
set grid
set offsets graph 0.02, graph 0.02, 0, 0
set yrange [{least}:*]
{data}
plot {lines}
"""
BARS = """set terminal svg noenhanced size 760,{height} font 'sans,11' background rgb 'white'
set output '{path}'
set xlabel "{unit}"
set style fill solid 0.6
set xrange {range}
set yrange [{low}:0.5]
{log}
set grid x
unset key
$d << END
{data}END
set lmargin 30
plot $d using 2:1:({base}):2:($1-0.35):($1+0.35):ytic(5) with boxxyerror lc rgb '#4477aa', \\
  $d using 2:1:3:4 with xerrorbars lc rgb 'black' pt 0
"""


def number(value):
    if value == 0:
        return "0"
    size = abs(value)
    return f"{value:,.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 0.1 else f"{value:.3g}"


def triple(values):
    middle, low, high = (number(value) for value in values)
    return middle if low == high else f"{middle} ({low} to {high})"


def stamp(result):
    command = f", `{result['command']}`" if result.get("command") else ""
    rounds = f"{result['rounds']} round{'s' if result['rounds'] != 1 else ''}"
    beside = f", steal {result['steal']:.0%}, others {result['others']:.0%}" if "steal" in result else ""
    busy = "" if quiet(result) else " **Taken on a busy machine.**"
    return f"{result['at']}, commit {result['commit']}, load {result['load']}{beside}, {rounds}{command}.{busy}"


def table(result):
    rows = []
    if "peers" in result:
        reference = result["reference"]
        for name, values in result["peers"].items():
            ratio = triple(ratios(result["peers"], name, reference)) if name != reference else "1"
            rows.append((name, triple(spread(values)), ratio))
    else:
        base = result["summary"][result["reference"]][0]
        rows = [(name, triple(values), number(values[0] / base) if name != result["reference"] else "1")
                for name, values in result["summary"].items()]
    head = f"| | {result['unit']} ({result['better']} is better) | of {result['reference']} |\n| --- | --- | --- |\n"
    return head + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def growth(result):
    names = list(result["series"])
    points = {name: {point[0]: point[1:] for point in result["series"][name]} for name in names}
    text = f"| {result['x']} | " + " | ".join(names) + " |\n" + "| --- " * (len(names) + 1) + "|\n"
    for x in sorted({x for each in points.values() for x in each}):
        cells = [triple([*points[name][x], points[name][x][0], points[name][x][0]][:3]) if x in points[name] else "" for name in names]
        text += f"| {x:,} | " + " | ".join(cells) + " |\n"
    return text


def draw(script):
    """A plot that can't be made stays as it was: the tables say the same."""
    try:
        subprocess.run(["gnuplot"], input=script, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"bench: no plot: {error}", file=sys.stderr)


def plot(result, folder):
    data, lines = "", []
    for i, (name, points) in enumerate(result["series"].items()):
        data += f"$d{i} << END\n" + "".join(f"{point[0]} {point[1]}\n" for point in points) + "END\n"
        lines.append(f"$d{i} with linespoints lw 2 pt 7 ps 0.6 title \"{name}\"")
    values = [point[1] for points in result["series"].values() for point in points]
    wide = max(values) > 20 * min(values)
    script = PLOT.format(path=f"{folder}/bench-{result['name']}.svg", x=result["x"], unit=result["unit"], data=data, least="*" if wide else 0,
                         lines=", ".join(lines))
    draw("set logscale y\n" + script if wide else script)


def bars(result, folder):
    """Each one's median, with its least and most."""
    rows = {name: spread(values) for name, values in result["peers"].items()} if "peers" in result else result["summary"]
    data = "".join(f"{-i} {middle} {low} {high} \"{name}\"\n" for i, (name, (middle, low, high)) in enumerate(rows.items()))
    values = [value for triple in rows.values() for value in triple]
    wide = max(values) > 50 * min(values) > 0
    script = BARS.format(path=f"{folder}/bench-{result['name']}.svg", unit=f"{result['unit']} ({result['better']} is better)", data=data,
                         height=90 + 26 * len(rows), low=0.5 - len(rows), log="set logscale x" if wide else "",
                         range=f"[{min(values) / 2}:*]" if wide else "[0:*]", base=min(values) / 2 if wide else 0)
    draw(script)


def block(result, folder):
    """Its text; with a folder its plot, too."""
    text = f"**{result['title']}**, {result['unit']}. " if "series" in result else f"**{result['title']}.** "
    text += stamp(result) + "\n\n" + (growth(result) if "series" in result else table(result))
    if folder:
        (plot if "series" in result else bars)(result, folder)
    text += f"\n![{result['title']}](img/bench-{result['name']}.svg)\n"
    if result.get("skipped"):
        text += "\nLeft out: " + "; ".join(f"{name}, {why}" for name, why in result["skipped"].items()) + ".\n"
    if "note" in result:
        text += f"\n{result['note'][0].upper()}{result['note'][1:]}.\n"
    return text


def marks(results):
    """What a reader must know of all of them together."""
    busy = [name for name, result in results.items() if not quiet(result)]
    commits = sorted({result["commit"] for result in results.values()})
    return (f"{len(results)} results, of commit{'s' if len(commits) != 1 else ''} {', '.join(commits)}; taken on a busy machine (steal or other "
            f"processes above {BUSY:.0%} of the processors' time): {', '.join(busy) if busy else 'none'}.\n")


def soak(document):
    text = (f"{document['began']}, {document['minutes']:g} minutes, commit {document['commit']}, median load {document['load']}, answers "
            + ", ".join(f"{count:,} {status}" for status, count in document["statuses"].items()) + "\n\n| asked | held | |\n| --- | --- | --- |\n")
    for check in document["checks"]:
        text += f"| {check['name']} | {'yes' if check['held'] else '**no**'} | {check['what']} |\n"
    return text


def page(results, soaked=None, folder=None):
    """All of it; with a folder its plots, too."""
    texts = {"machine": "".join(f"- {each}\n" for each in sorted({result["machine"] for result in results.values()})), "marks": marks(results)}
    if soaked:
        texts["soak"] = soak(soaked)
    with open(PROSE, encoding="utf-8") as file:
        prose = file.read()
    missing = set(results) - set(PLACE.findall(prose))
    if missing:
        raise SystemExit(f"{PROSE} has no place for {', '.join(sorted(missing))}: put <!-- bench:NAME --> where it belongs")

    def fill(match):
        name = match.group(1)
        return block(results[name], folder) if name in results else texts.get(name, "(not measured yet)\n")

    return MADE + PLACE.sub(fill, prose)


def read(figures):
    """The results, and what the soak has left."""
    with open(figures, encoding="utf-8") as file:
        results = {result["name"]: result for result in json.load(file)["results"]}
    soaked = f"{HERE}/../../docs/soak.json"
    if not os.path.exists(soaked):
        return results, None
    with open(soaked, encoding="utf-8") as file:
        return results, json.load(file)


def make(figures, path, folder):
    os.makedirs(folder, exist_ok=True)
    text = page(*read(figures), folder)
    with open(path + ".new", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(path + ".new", path)
