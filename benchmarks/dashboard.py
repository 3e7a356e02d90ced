"""How fast the dashboard is in a real browser, and whether its memory grows.

    python -m benchmarks.dashboard [--only SCENARIO …]

`visit`: until the page is there, from a server that has just started and from one that is warm.
`upload`: from choosing a file of ResNet-50's size to its chart. `interaction`: a chart of 4,000
calls, made up. `memory`: of the web process and of its workers after up to 20 analyses in a row.
Needs Linux, the development requirements and a browser (`make browser`).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from statistics import median

from playwright.sync_api import Browser, Page

from benchmarks.browser import MIB, PATIENCE, Line, Server, parser_for, poll, run, server, visit
from tests.app.conftest import make_result
from tests.e2e.driving import FIND_PLOT, main_chart, upload
from tests.hostile.parts import chain

CALLS = 4000
ANALYSES = (1, 5, 10, 20)
REPEATS = 3
# In a process of its own: Keras has no place beside the browser.
MAKE_RESNET = (
    "import sys, keras; keras.applications.ResNet50(weights=None).save(sys.argv[1], "
    "include_optimizer=False)"
)
IS_DRAWN = """() => document.querySelector('[data-testid=stDataFrame]')
    && document.querySelector('.js-plotly-plot .scatterlayer .trace')
    && !document.querySelector('[data-stale=true]')
    && document.querySelector('[data-testid=stApp]').dataset.testScriptState === 'notRunning'"""
# Milliseconds from a call of Plotly's to the next picture on the screen.
TIMED = """async (gd, [source, argument]) => {
    const start = performance.now();
    await (new Function('gd', 'argument', 'return ' + source))(gd, argument);
    await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
    return performance.now() - start;
}"""

# Figures: (what, seconds, what else there is to say)


def first_visits(browser: Browser, folder: Path) -> Iterator[Line]:
    """Until the page is there."""
    start = time.perf_counter()
    with server(folder) as running:
        yield "server answers", time.perf_counter() - start, "after its process was started"
        for told in ("the server's first page", "the second, another browser", "the third"):
            context = browser.new_context(viewport={"width": 1440, "height": 900})
            page = context.new_page()
            start = time.perf_counter()
            page.goto(running.address)
            page.get_by_role("button", name="Analyse").wait_for()
            seconds = time.perf_counter() - start
            painted = "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
            paint = page.wait_for_function(painted).json_value()
            yield told, seconds, f"usable; first paint after {paint / 1000:.2f} s"
            context.close()


def uploads(browser: Browser, folder: Path) -> Iterator[Line]:
    """A ResNet-50, from choosing the file to its chart; a worker stands by."""
    path = folder / "resnet50.keras"
    subprocess.run(
        [sys.executable, "-c", MAKE_RESNET, str(path)],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    data = folder / "data"
    data.mkdir()
    with server(data) as running:
        page = visit(browser, running.address)
        await_warm_worker(running)
        start = time.perf_counter()
        upload(page, path)
        page.wait_for_url("**job=**", timeout=PATIENCE * 1000)
        uploaded = time.perf_counter() - start
        main_chart(page).locator(".xtitle").wait_for(timeout=PATIENCE * 1000)
        first = time.perf_counter() - start
        (key_folder,) = poll(lambda: [f for f in data.iterdir() if len(f.name) == 64])
        result = key_folder / "result.json"
        poll(result.exists)
        analyzed = time.perf_counter() - start - uploaded
        await_drawn(page)
        total = time.perf_counter() - start
        size = f"{path.stat().st_size / MIB:,.0f} MB"
        timings = json.loads(result.read_text())["timings"]
        told = ", ".join(f"{name} {seconds:.1f}" for name, seconds in timings.items())
        rest = total - uploaded - analyzed
        yield "upload", uploaded, f"{size}; {uploaded / total:.0%} of the whole"
        yield "analysis", analyzed, f"{analyzed / total:.0%}; seconds of the worker's: {told}"
        yield "drawing", rest, f"{rest / total:.0%}, the page's half second of polling included"
        yield "first chart", first, "what is predicted of the default weights, upload included"
        yield "all of it", total, ""


def interactions(browser: Browser, folder: Path) -> Iterator[Line]:
    """A chart of 4,000 calls."""
    plain = make_result(CALLS, growth=1.002, uploaded=True, name="made-up.keras")
    key = plant(folder, plain)
    with server(folder) as running:
        page = visit(browser, running.address)
        for told in ("first render, server reads the result", "again, result in memory"):
            start = time.perf_counter()
            page.goto(f"{running.address}/?job={key}")
            await_drawn(page)
            yield told, time.perf_counter() - start, "page and chart, from the address"
        traces = main_chart(page).evaluate("gd => gd._fullData.length")
        points = main_chart(page).evaluate("gd => gd._fullData.reduce((n, t) => n + t.y.length, 0)")
        yield "the chart", 0.0, f"{traces} traces, {points:,} points"
        yield from chart_times(page)
        # Views of the mean and of more are for experts.
        start = time.perf_counter()
        page.goto(f"{running.address}/?job={key}&expert=true")
        await_drawn(page)
        yield "with every figure", time.perf_counter() - start, "page and chart, from the address"
        # The two ends of what a visitor waits for: the click, and what it was for.
        for label, title in (("Mean", "mean"), ("Variance", "variance")):
            start = time.perf_counter()
            page.get_by_role("radio", name=label, exact=True).click()
            page.locator(".ytitle", has_text=title).first.wait_for()
            await_drawn(page)
            yield f"view: {label.lower()}", time.perf_counter() - start, "server and browser"
        start = time.perf_counter()
        page.get_by_role("textbox", name="Filter").fill("block12[0-9]/conv$")
        page.keyboard.press("Enter")
        page.get_by_text(f"10 of {CALLS:,} layers").wait_for()
        yield "filter the table", time.perf_counter() - start, "by a regular expression"
        start = time.perf_counter()
        page.get_by_role("slider").last.press("PageDown")
        page.locator(".xtitle", has_text=f"of {CALLS:,}").wait_for()
        await_drawn(page)
        yield "fewer calls by the slider", time.perf_counter() - start, "server and browser"


def chart_times(page: Page) -> Iterator[Line]:
    """Plotly's own times."""
    yield "draw", repeated(page, "Plotly.redraw(gd)"), "in the browser alone"
    zoom = "Plotly.relayout(gd, {'xaxis.range': argument})"
    zooms = [timed(page, zoom, [CALLS * start, CALLS * (start + 0.2)]) for start in (0.1, 0.3, 0.6)]
    yield "zoom", median(zooms), "to a fifth of the calls"
    whole = [-0.01 * CALLS, 1.01 * CALLS]
    yield "zoom out", repeated(page, zoom, whole), "to all calls"
    toggle = "Plotly.restyle(gd, {visible: gd._fullData[0].visible === true ? 'legendonly' : true}"
    yield "toggle a trace", repeated(page, f"{toggle}, [0])", times=4), ""
    plot = main_chart(page).evaluate(FIND_PLOT)
    middle = plot["top"] + plot["height"] / 2
    start = time.perf_counter()
    page.mouse.move(plot["left"] + 0.3 * plot["width"], middle)
    page.mouse.down()
    page.mouse.move(plot["left"] + 0.5 * plot["width"], middle, steps=10)
    page.mouse.up()
    timed(page, "null")
    yield "zoom by mouse", time.perf_counter() - start, "ten steps of dragging included"
    timed(page, zoom, whole)


def growth(browser: Browser, folder: Path) -> Iterator[Line]:
    """Memory after analyses in a row, each of a model that was not seen before."""
    data = folder / "data"
    data.mkdir()
    with server(data) as running:
        page = visit(browser, running.address)
        for place in range(1, max(ANALYSES) + 1):
            path = folder / f"model-{place}.json"
            path.write_text(json.dumps(chain(name=f"model-{place}")))
            page.goto(running.address)
            page.get_by_role("button", name="Analyse").wait_for()
            start = time.perf_counter()
            upload(page, path)
            await_drawn(page)
            seconds = time.perf_counter() - start
            if place in ANALYSES:
                await_warm_worker(running)
                yield f"analysis {place}", seconds, resident(running)


def resident(running: Server) -> str:
    web, workers = running.sizes()
    return f"web process {web / MIB:,.0f} MB, {len(workers)} worker(s) {sum(workers) / MIB:,.0f} MB"


# Helpers


def plant(folder: Path, result: dict[str, object]) -> str:
    """A finished job that no worker has run."""
    key = hashlib.sha256(str(result["model"]).encode()).hexdigest()
    (folder / key).mkdir(mode=0o700, parents=True)
    (folder / key / "result.json").write_text(json.dumps(result, allow_nan=False))
    return key


def await_drawn(page: Page) -> None:
    """Until chart and table are there, and nothing more is on its way."""
    page.wait_for_function(IS_DRAWN, timeout=PATIENCE * 1000)
    timed(page, "null")


def timed(page: Page, source: str, argument: object = None) -> float:
    return float(main_chart(page).evaluate(TIMED, [source, argument])) / 1000


def repeated(page: Page, source: str, argument: object = None, times: int = REPEATS) -> float:
    return median(timed(page, source, argument) for _ in range(times))


def await_warm_worker(running: Server) -> None:
    """Until one worker stands by that has imported Keras: its memory grows no more."""
    seen = [0]

    def stands_by() -> bool:
        _, sizes = running.sizes()
        seen.append(sizes[0] if len(sizes) == 1 else 0)
        return seen[-1] > 200 * MIB and seen[-1] == seen[-2]

    poll(stands_by, 1.0)


SCENARIOS = {
    "visit": first_visits,
    "upload": uploads,
    "interaction": interactions,
    "memory": growth,
}


def machine() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def main() -> None:
    arguments = parser_for(str(__doc__), SCENARIOS).parse_args()
    print(f"{machine()}, {os.cpu_count()} cores, {date.today()}")
    run(SCENARIOS, arguments.only)


if __name__ == "__main__":
    main()
