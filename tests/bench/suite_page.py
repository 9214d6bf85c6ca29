# SPDX-License-Identifier: MIT
"""docs/benchmarks.md's tables and plots from docs/benchmarks.json. What stands between
<!-- bench:NAME --> and <!-- bench end --> is replaced, where NAME is a result, or
`machine`, or `soak`; all else of the page is written by hand and stays."""
import json
import os
import re
import subprocess

from suite import ratios, spread

BLOCK = re.compile(r"(<!-- bench:([\w-]+) -->\n).*?(<!-- bench end -->)", re.S)
PLOT = """set terminal svg size 760,360 font 'sans,11' background rgb 'white'
set output '{path}'
set logscale x
set xlabel '{x}'
set ylabel '{unit}'
set key outside right top
set grid
set offsets graph 0.02, graph 0.02, 0, 0
set yrange [{least}:*]
{data}
plot {lines}
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
    return f"{result['at']}, commit {result['commit']}, load {result['load']}, {rounds}{command}"


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
    xs = [x for x, _ in result["series"][names[0]]]
    text = f"| {result['x']} | " + " | ".join(names) + " |\n" + "| --- " * (len(names) + 1) + "|\n"
    for i, x in enumerate(xs):
        text += f"| {x:,} | " + " | ".join(number(result["series"][name][i][1]) for name in names) + " |\n"
    return text


def plot(result, folder):
    data, lines = "", []
    for i, (name, points) in enumerate(result["series"].items()):
        data += f"$d{i} << END\n" + "".join(f"{x} {y}\n" for x, y in points) + "END\n"
        lines.append(f"$d{i} with linespoints lw 2 pt 7 ps 0.6 title '{name}'")
    values = [y for points in result["series"].values() for _, y in points]
    wide = max(values) > 20 * min(values)
    script = PLOT.format(path=f"{folder}/bench-{result['name']}.svg", x=result["x"], unit=result["unit"], data=data, least="*" if wide else 0,
                         lines=", ".join(lines))
    subprocess.run(["gnuplot"], input="set logscale y\n" + script if wide else script, text=True, check=True)


def block(result, folder):
    text = f"**{result['title']}**, {result['unit']}. " if "series" in result else f"**{result['title']}.** "
    text += stamp(result) + "\n\n"
    if "series" in result:
        plot(result, folder)
        text += growth(result) + f"\n![{result['title']}](img/bench-{result['name']}.svg)\n"
    else:
        text += table(result)
    if "note" in result:
        text += f"\n{result['note'][0].upper()}{result['note'][1:]}.\n"
    return text


def soak(document):
    text = (f"{document['began']}, {document['minutes']:g} minutes, commit {document['commit']}, median load {document['load']}, answers "
            + ", ".join(f"{count:,} {status}" for status, count in document["statuses"].items()) + "\n\n| asked | held | |\n| --- | --- | --- |\n")
    for check in document["checks"]:
        text += f"| {check['name']} | {'yes' if check['held'] else '**no**'} | {check['what']} |\n"
    return text


def make(figures, page, folder):
    os.makedirs(folder, exist_ok=True)
    with open(figures, encoding="utf-8") as file:
        results = {result["name"]: result for result in json.load(file)["results"]}
    texts = {"machine": "".join(f"- {each}\n" for each in sorted({result["machine"] for result in results.values()}))}
    kept = f"{os.path.dirname(figures)}/soak.json"
    if os.path.exists(kept):
        with open(kept, encoding="utf-8") as file:
            texts["soak"] = soak(json.load(file))
    with open(page, encoding="utf-8") as file:
        old = file.read()
    named = {match.group(2) for match in BLOCK.finditer(old)}
    missing = set(results) - named
    if missing:
        raise SystemExit(f"{page} has no place for {', '.join(sorted(missing))}: put <!-- bench:NAME --> and <!-- bench end --> where it belongs")

    def fill(match):
        name = match.group(2)
        text = block(results[name], folder) if name in results else texts.get(name)
        return match.group(0) if text is None else f"{match.group(1)}{text}{match.group(3)}"

    with open(page + ".new", "w", encoding="utf-8") as file:
        file.write(BLOCK.sub(fill, old))
    os.replace(page + ".new", page)
