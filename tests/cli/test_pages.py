#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The HTML pages: what is in them, and how they behave in a real browser.

Routes, and the names of functions, are the work of strangers. Those of the
trace here try to be markup, script, gnuplot and shell all at once.
"""

import html.parser
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import browser  # noqa: E402

BUILD = os.environ["PAIL_BUILD"]
PAIL = os.path.join(BUILD, "bin", "pail")
MS = 1_000_000
HOSTILE = ("GET /<script>hacked=1</script>", "GET /\"'><img src=x onerror=hacked=2>",
           "GET /`touch PWNED`'.system('touch PWNED').'", "GET /&lt;&#x3c;b&gt;\\033 @x $(touch PWNED)")
GNUPLOT = shutil.which("gnuplot")


def run(*words, code=0, **options):
    done = subprocess.run([PAIL, *words], capture_output=True, text=True, check=False, timeout=60, **options)
    assert done.returncode == code, (words, done.returncode, done.stderr)
    return done


def make_trace(folder):
    """A hundred requests a route; one route has needs enough for a tail."""
    path = os.path.join(folder, "t.db")
    rows, at = ["arrival_ns,service_ns,need_bytes,route"], 0
    for i in range(1200):
        at += (i * 7919 % 13 + 1) * MS // 4
        route = HOSTILE[i // 3 % 4] if i % 3 == 0 else "GET /plain"
        need = 4096 + i * 7919 % 4999 * (20 if i % 50 == 0 else 1)
        quoted = '"' + route.replace('"', '""') + '"'
        rows.append(f"{at},{(i % 9 + 1) * MS},{need},{quoted}")
    with open(os.path.join(folder, "t.csv"), "w", encoding="utf-8") as file:
        file.write("\n".join(rows) + "\n")
    run("import", "--format", "csv", "-o", path, os.path.join(folder, "t.csv"))
    with sqlite3.connect(path) as db:
        names = ["main", "serve", "handle_<b>", "parse_json", "render", "tiny_allocation"]
        for i, name in enumerate(names, 1):
            db.execute("INSERT INTO frame(id, address, module, function, file, line) VALUES (?,?,?,?,?,?)",
                       (i, i * 64, "/usr/bin/demo", name, f"{name}.c", i * 10))
        for i, (frames, size) in enumerate((([4, 3, 2, 1], 600000), ([5, 3, 2, 1], 300000), ([6, 2, 1], 100000)), 1):
            stack = 0
            for frame in reversed(frames):
                stack = db.execute("INSERT INTO stack(caller, frame) VALUES (?, ?)", (stack, frame)).lastrowid
            db.execute("INSERT INTO site(id, name, stack, allocations, requested_bytes, live_peak_bytes, left_bytes)"
                       " VALUES (?,?,?,?,?,?,?)", (i, names[frames[0] - 1], stack, 10 * i, size, size // 2, 0))
            db.execute("INSERT INTO site_use(site, route, requests, allocations, requested_bytes, escapes, escaped_bytes,"
                       " freed_by_request, freed_by_connection, freed_by_other, kept_ns_sum, kept_ns_max)"
                       " VALUES (?, (SELECT min(id) FROM route), 5, ?, ?, 1, 64, 0, 0, 0, 0, 0)", (i, 10 * i, size))
    db.close()
    return path


class Markup(html.parser.HTMLParser):
    """The tags of a page and all their attributes, as a browser's parser sees them."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs


class Made(unittest.TestCase):
    """What the files are, looked at without a browser."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.trace = make_trace(cls.folder.name)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def pages(self):
        conf = self.path("pail.conf")
        with open(conf, "w", encoding="utf-8") as file:
            file.write("[bucket <i>x]\nsize = 64K\ncount = 12\n")
        yield "plan", ("plan", self.trace, "--html", self.path("plan.html"), "--target", "0.02", "--classes", "2",
                       "--provisional")
        yield "report", ("report", self.trace, "--html", self.path("report.html"), "--plan", conf)

    def test_a_page_holds_all_and_trusts_nothing(self):
        for name, words in self.pages():
            with self.subTest(page=name):
                run(*words, cwd=self.folder.name)
                with open(self.path(name + ".html"), encoding="utf-8") as file:
                    page = file.read()
                policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page).group(1)
                self.assertIn("default-src 'none'", policy)
                self.assertNotIn("unsafe", policy)
                seen = Markup(page)
                self.assertEqual((seen.tags.count("script"), seen.tags.count("style")), (1, 1))
                self.assertEqual({"img", "iframe", "object", "embed", "link", "base", "form"} & set(seen.tags), set())
                self.assertEqual([name for name, _ in seen.attributes
                                  if name in ("src", "srcset", "action", "style", "data") or name.startswith("on")], [])
                links = [value for name, value in seen.attributes if name.endswith("href")]
                self.assertEqual([link for link in links if not link.startswith("#")], [])
                self.assertTrue("&lt;script&gt;hacked=1" in page)
                ids = re.findall(r"\sid=[\"']([^\"']+)", page)
                self.assertEqual(len(ids), len(set(ids)), "an id is there twice")
                self.assertEqual("<svg" in page.split("class=\"flame\"")[0], bool(GNUPLOT))
        self.assertEqual([f for f in os.listdir(self.folder.name) if "PWNED" in f], [])

    @unittest.skipUnless(shutil.which("tidy"), "tidy is not installed")
    def test_a_page_is_valid_html(self):
        for name, words in self.pages():
            with self.subTest(page=name):
                run(*words)
                done = subprocess.run(["tidy", "-quiet", "-errors", "--drop-empty-elements", "no", self.path(name + ".html")],
                                      capture_output=True, text=True, check=False, timeout=60)
                self.assertEqual(done.stderr, "")

    def test_without_gnuplot_there_is_a_line_and_all_but_plots(self):
        empty = self.path("empty")
        os.makedirs(empty, exist_ok=True)
        for name, words in self.pages():
            with self.subTest(page=name):
                done = run(*words, env=dict(os.environ, PATH=empty))
                self.assertRegex(done.stderr, r"^pail \w+: gnuplot is not installed[^\n]*gnuplot-nox\)\n$")
                with open(self.path(name + ".html"), encoding="utf-8") as file:
                    page = file.read()
                self.assertTrue("GET /plain" in page)
                self.assertFalse('class="plot"' in page)

    def test_making_a_page_needs_no_network(self):
        """In a network namespace of its own, which has not even a loopback."""
        alone = next((words for words in (["unshare", "-n"], ["unshare", "-rn"])
                      if shutil.which("unshare") and
                      subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0), None)
        if alone is None:
            self.skipTest("no network namespace to be had here")
        for name, words in self.pages():
            with self.subTest(page=name):
                subprocess.run([*alone, PAIL, *words], check=True, timeout=60, capture_output=True)
                self.assertGreater(os.path.getsize(self.path(name + ".html")), 10000)

    @unittest.skipUnless(GNUPLOT, "gnuplot is not installed")
    def test_plots_are_scripts_that_gnuplot_runs(self):
        folder = self.path("plots")
        run("plan", self.trace, "--target", "0.02", "--provisional", "--plots", folder)
        scripts = sorted(name for name in os.listdir(folder) if name.endswith(".gp"))
        self.assertEqual(scripts, ["plan-heat.gp", "plan-load.gp", "plan-pareto.gp", "plan-routes.gp"])
        for name in scripts:
            subprocess.run([GNUPLOT, "-d", name], cwd=folder, check=True, timeout=60, capture_output=True)
            with open(os.path.join(folder, name[:-2] + "svg"), encoding="utf-8") as file:
                self.assertTrue(file.read().rstrip().endswith("</svg>"))
        self.assertEqual([f for f in os.listdir(folder) if "PWNED" in f], [])

    @unittest.skipUnless(GNUPLOT, "gnuplot is not installed")
    def test_plots_are_drawn_in_the_terminal_as_text(self):
        done = run("plan", self.trace, "--target", "0.02", "--provisional", "--term")
        self.assertIn("Bound in bytes against the rate of rejections\n", done.stdout)
        drawn = done.stdout.split("rate of rejections\n")[1]
        self.assertNotIn("\x1b", drawn)
        self.assertLessEqual(max(map(len, drawn.splitlines()[:20])), 80)

    def test_wrong_words_are_one_line(self):
        for words, code, why in (
                (("report", self.trace, "--html", "x", "--json"), 2, "--html excludes"),
                (("report", self.trace, "--plan", "x"), 2, "--plan is for --html"),
                (("plan", self.trace, "--term", "--json"), 2, "--json and --term"),
                (("plan", self.trace, "--target", "0.5", "--plots", self.trace), 3, "is no folder"),
                (("report", self.trace, "--html", "/nonexistent/x.html"), 3, "/nonexistent/x.html"),
                (("report", self.trace, "--html", self.path("x.html"), "--plan", self.path("none")), 3, "none")):
            with self.subTest(words=words):
                done = run(*words, code=code)
                self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
                self.assertIn(why, done.stderr)


CONTRAST = """(() => {
const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
const known = {};
const rgb = c => known[c] = known[c] || paint(c);
const paint = c => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = c; canvas.fillRect(0, 0, 1, 1);
    return Array.from(canvas.getImageData(0, 0, 1, 1).data); };
const light = c => { const [r, g, b] = c.slice(0, 3).map(v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b; };
const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + .05) / (y + .05); };
const ground = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor);
    if (c[3] === 255) return c; } return [255, 255, 255, 255]; };
const poor = [];
for (const e of document.querySelectorAll('body *')) {
    if (!Array.from(e.childNodes).some(n => n.nodeType === 3 && n.data.trim()) || ['SCRIPT', 'STYLE'].includes(e.tagName))
        continue;
    const s = getComputedStyle(e), svg = e instanceof SVGElement;
    const box = svg && e.closest('.flame') && e.parentNode.querySelector('rect');
    const under = box ? rgb(getComputedStyle(box).fill) : ground(svg ? e.closest('svg').parentElement : e);
    const r = ratio(rgb(svg ? s.fill : s.color), under);
    if (r < 4.5) poor.push([e.tagName, e.textContent.slice(0, 30), r]);
}
return poor.slice(0, 5); })()"""

UNLABELLED = """Array.from(document.querySelectorAll('button, input, a, [role=button], [role=img], [role=region], svg, nav'))
.filter(e => !(e.getAttribute('aria-label') || e.getAttribute('aria-labelledby') || e.closest('[role=img]') ||
    e.textContent.trim() || (e.labels && e.labels.length))).map(e => e.outerHTML.slice(0, 80))"""


@unittest.skipUnless(browser.PROGRAM, "chromium is not installed")
class Seen(unittest.TestCase):
    """The same pages in headless Chromium."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        trace = make_trace(cls.folder.name)
        cls.report = os.path.join(cls.folder.name, "report.html")
        run("report", trace, "--html", cls.report)
        cls.plan = os.path.join(cls.folder.name, "plan.html")
        cls.config = os.path.join(cls.folder.name, "pail.conf")
        run("plan", trace, "--html", cls.plan, "--target", "0.02", "--provisional", "-o", cls.config)
        cls.browser = browser.Browser()
        cls.addClassCleanup(cls.browser.close)

    def open(self, path, **options):
        page = self.browser.open(path, **options)
        self.addCleanup(page.close)
        self.addCleanup(self.assert_quiet, page, path)
        return page

    def assert_quiet(self, page, path):
        self.assertEqual(page.said, [])
        self.assertEqual(page.asked, ["file://" + path])
        self.assertEqual(page.run("typeof hacked"), "undefined")

    def column(self, page, table, n):
        return page.run(f"Array.from(document.querySelectorAll('#{table} tbody tr')).filter(r => !r.hidden)"
                        f".map(r => r.cells[{n}].getAttribute('data-v') || r.cells[{n}].textContent)")

    def test_a_head_sorts_its_table_and_says_so(self):
        page = self.open(self.report)
        sorts = "Array.from(document.querySelectorAll('#table-routes th[aria-sort]')).map(e => e.ariaSort)"
        self.assertEqual(page.run(sorts)[5], "descending")
        page.click("#table-routes th:nth-child(2) button")
        counts = list(map(int, self.column(page, "table-routes", 1)))
        self.assertEqual(counts, sorted(counts, reverse=True))
        self.assertEqual(page.run(sorts)[:6], ["none", "descending", "none", "none", "none", "none"])
        # by the keyboard: the head is a button
        page.run("document.querySelector('#table-routes th button').focus()")
        page.key("Enter", 13, "\r")
        names = self.column(page, "table-routes", 0)
        self.assertEqual(page.run(sorts)[0], "ascending")
        self.assertEqual((set(names), names[-1]), ({*HOSTILE, "GET /plain"}, "GET /plain"))
        page.key("Enter", 13, "\r")
        self.assertEqual(self.column(page, "table-routes", 0), names[::-1])
        self.assertEqual(page.run(sorts)[0], "descending")

    def test_a_search_leaves_the_rows_with_all_its_words(self):
        page = self.open(self.report)
        page.run("document.querySelector('#table-routes-search').focus()")
        page.type("get PLAIN")
        self.assertEqual(self.column(page, "table-routes", 0), ["GET /plain"])
        self.assertEqual(page.run("document.querySelector('.hits').textContent"), "1 of 5")

    def test_the_flame_graph_zooms_searches_and_goes_back(self):
        page = self.open(self.report)
        wide = ("(n => { const g = Array.from(document.querySelectorAll('.flame g')).find(g => g.dataset.name === n);"
                "return g.style.display === 'none' ? 0 : g.getBoundingClientRect().width; })")
        whole = page.run(wide + "('all allocations')")
        self.assertAlmostEqual(page.run(wide + "('parse_json')"), .6 * whole, delta=6)
        page.click(".flame g[data-name=render]")
        self.assertAlmostEqual(page.run(wide + "('render')"), whole, delta=6)
        self.assertEqual(page.run(wide + "('parse_json')"), 0)
        self.assertIn("render.c:50", page.run("document.querySelector('.flamebox .detail').textContent"))
        page.click(".flamebox [data-do=reset]")
        self.assertAlmostEqual(page.run(wide + "('parse_json')"), .6 * whole, delta=6)
        page.run("document.querySelector('#flame-search').focus()")
        page.type("tiny")
        self.assertEqual(page.run("document.querySelector('.flamebox .hits').textContent"), "1 frames, 10.0 %")
        self.assertEqual(page.run("document.querySelectorAll('.flame .hit').length"), 1)

    def test_the_flame_graph_goes_by_the_keyboard(self):
        page = self.open(self.report)
        page.run("document.querySelector('.flame g[tabindex=\"0\"]').focus()")
        name = "document.activeElement.dataset.name"
        for key, now in (("ArrowUp", "main"), ("ArrowUp", "serve"), ("ArrowUp", "handle_<b>"), ("ArrowRight", "tiny_allocation"),
                         ("ArrowLeft", "handle_<b>"), ("ArrowDown", "serve")):
            page.key(key)
            self.assertEqual(page.run(name), now)
        page.key("ArrowUp")
        page.key("Enter", 13, "\r")
        self.assertEqual(page.run("document.querySelector('.flame g[data-name=tiny_allocation]').style.display"), "none")
        page.key("Escape", 27)
        self.assertEqual(page.run("document.querySelector('.flame g[data-name=tiny_allocation]').style.display"), "")
        self.assertEqual(page.run(name), "all allocations")

    def test_the_configuration_is_there_to_copy(self):
        page = self.open(self.plan)
        with open(self.config, encoding="utf-8") as file:
            self.assertEqual(page.run("document.querySelector('#config-text').textContent"), file.read())
        page.click("button[data-copy]")
        for _ in range(200):
            said = page.run("document.querySelector('button[data-copy]').parentNode.querySelector('[role=status]').textContent")
            if said:
                break
        self.assertIn("cop", said)

    def all_pages(self):
        return [self.report, self.plan]

    def test_words_can_be_read_by_day_and_by_night(self):
        for path in self.all_pages():
            for dark in (False, True):
                with self.subTest(path=path, dark=dark):
                    page = self.open(path, dark=dark)
                    self.assertEqual(page.run("matchMedia('(prefers-color-scheme: dark)').matches"), dark)
                    self.assertEqual(page.run(CONTRAST), [])

    def test_on_a_phone_nothing_sticks_out(self):
        for path in self.all_pages():
            page = self.open(path, width=360, height=740)
            self.assertLessEqual(page.run("document.documentElement.scrollWidth"), 360)
            self.assertIn("width=device-width", page.run("document.querySelector('meta[name=viewport]').content"))

    def test_everything_has_a_name_and_its_place(self):
        for path in self.all_pages():
            page = self.open(path)
            self.assertEqual(page.run(UNLABELLED), [])
            self.assertEqual(page.run("['header', 'nav', 'main', 'footer', 'h1'].map(t => document.querySelectorAll('body ' + t).length)"),
                             [1] * 5)
            self.assertEqual(page.run("document.documentElement.lang"), "en")
            self.assertEqual(page.run("Array.from(document.querySelectorAll('nav a')).filter(a => "
                                      "!document.getElementById(a.hash.slice(1))).length"), 0)
            page.key("Tab", 9)
            self.assertEqual(page.run("document.activeElement.className"), "skip")


if __name__ == "__main__":
    unittest.main()
