"""Measures `sne map` on synthetic networks: time to place them, size of the page, and how fluent it is in Chromium.

python benchmarks/map_page.py --networks 20000 --layout tsne

The page is opened from its file in headless Chromium with WebGL in software, which is the slowest case: load until the
first drawing, then redraws after a filter, a search, another colour and a click on the legend, and one step of panning.
Median of five. Times are those of the page's own clock, from the change to the finished drawing, and, because other
processes slow that down, the processor time of the process that runs the page. Other times are processor time.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from sne.report.map import draw
from sne.report.map_data import Column, MapData
from sne.report.map_page import map_page

CHROMIUM = (
    "chromium", "--headless=new", "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist", "--remote-debugging-pipe", "--window-size=1600,1000",
)  # fmt: skip

SETTLED = """new Promise((done) => {
  const root = document.documentElement.dataset, before = root.draws ?? "0";
  ACTION;
  const look = () => root.draws !== before ? done(Number(root.drawn)) : setTimeout(look, 5);
  look();
})"""
"""Makes a change and waits until the page is drawn again; gives the milliseconds that it took."""

ACTIONS = {
    "range filter": """const add = document.getElementById('add-filter');
        if (!document.querySelector('#filters input')) {
          add.value = [...add.options].find((one) => one.text === 'test_accuracy').value;
          add.dispatchEvent(new Event('change'));
        }
        const slider = document.querySelector('#filters input[type=range]');
        slider.value = Number(slider.value) ? 0 : 500;
        slider.dispatchEvent(new Event('input'))""",
    "search": """const search = document.getElementById('search');
        search.value = search.value ? '' : 'adam';
        search.dispatchEvent(new Event('input'))""",
    "colour by text": """const colour = document.getElementById('colour');
        colour.selectedIndex = colour.selectedIndex === 3 ? 2 : 3;
        colour.dispatchEvent(new Event('change'))""",
    "legend": "document.querySelector('#legend button').click()",
}

PAN = """(async () => {
  const map = document.getElementById('map'), start = performance.now();
  await Plotly.relayout(map, {'xaxis.range': [-1 + Math.random() / 5, 1], 'yaxis.range': [-1, 1]});
  await new Promise(requestAnimationFrame);
  return performance.now() - start;
})()"""


class Browser:
    """Headless Chromium that is driven through pipes."""

    def __init__(self, profile: str) -> None:
        reads, self._to = os.pipe()
        self._from, writes = os.pipe()

        def place_pipes() -> None:
            os.dup2(reads, 30)  # 3 and 4 may be the pipes themselves
            os.dup2(writes, 31)
            os.dup2(30, 3)
            os.dup2(31, 4)

        self._process = subprocess.Popen(
            [*CHROMIUM, f"--user-data-dir={profile}", "about:blank"], preexec_fn=place_pipes, close_fds=False,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._number, self._rest, self._session = 0, b"", None
        (target,) = [one for one in self.call("Target.getTargets")["targetInfos"] if one["type"] == "page"]
        attached = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Calls a method of the browser and waits for its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self._rest:
                self._rest += os.read(self._from, 1 << 16)
            text, _, self._rest = self._rest.partition(b"\0")
            answer = json.loads(text)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def value(self, expression: str) -> Any:
        """Evaluates an expression in the page; promises are awaited."""
        found = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"])
        return found["result"].get("value")

    def busy(self) -> float:
        """Returns the processor time, in ms, of the processes that run pages."""
        session, self._session = self._session, None
        processes = self.call("SystemInfo.getProcessInfo")["processInfo"]
        self._session = session
        return 1000 * sum(process["cpuTime"] for process in processes if process["type"] == "renderer")

    def close(self) -> None:
        """Ends the browser."""
        self._session = None
        self.call("Browser.close")
        self._process.wait()


def synthetic(networks: int, seed: int = 0) -> MapData:
    """Networks in 40 groups, with names, properties and predictions as those of a zoo."""
    generator = np.random.default_rng(seed)
    group = generator.integers(0, 40, networks)
    embeddings = generator.normal(size=(40, 288))[group] * 2 + generator.normal(size=(networks, 288)) * 1.5
    measured = np.clip(group / 50 + 0.1 * generator.normal(size=networks) + 0.1, 0, 1)
    columns = [
        Column.of("run", [f"small_cnn-{row // 2:05d}" for row in range(networks)]),
        Column.of("family", [f"family_{number % 5}" for number in group]),
        Column.of("dataset", [("mnist", "fashion_mnist", "cifar10", "svhn")[number // 10] for number in group]),
        Column.of("config.optimizer", [("adam", "sgd", "rmsprop")[row % 3] for row in range(networks)]),
        Column("test_accuracy", measured),
    ]
    for name in ("train_accuracy", "test_loss", "config.weight_decay", "config.learning_rate", "generalization_gap"):
        columns.append(Column(name, np.exp(generator.normal(size=networks))))
    for name in ("test_accuracy", "generalization_gap", "progress", "config.learning_rate"):
        values = measured + 0.05 * generator.normal(size=networks)
        columns.append(Column(f"predicted {name}", values, values - 0.1, values + 0.1))
    names = tuple(f"/zoos/synthetic::small_cnn-{row // 2:05d}@{400 * (1 + row % 2)}" for row in range(networks))
    return MapData(names, embeddings.astype(np.float32), tuple(columns))


def report(browser: Browser, name: str, expression: str) -> None:
    """Prints how long a change takes."""
    times, busy = [], []
    for _ in range(6):
        before = browser.busy()
        times.append(browser.value(expression))
        busy.append(browser.busy() - before)
    print(f"{name}: {statistics.median(times[1:]):.0f} ms, busy {statistics.median(busy[1:]):.0f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=int, default=20_000)
    parser.add_argument("--layout", default="tsne")
    parser.add_argument("--page", type=Path, help="measure this page instead of making one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        page = arguments.page
        if page is None:
            data, start = synthetic(arguments.networks), time.process_time()
            drawing = draw(data, layout=arguments.layout)
            print(f"place {len(data):,} networks, {arguments.layout}: {time.process_time() - start:.1f} s")
            start, page = time.process_time(), Path(folder) / "map.html"
            page.write_text(map_page(drawing, title="synthetic"), encoding="utf-8")
            print(f"write the page: {time.process_time() - start:.1f} s")
        print(f"size of the page: {page.stat().st_size / 1e6:.1f} MB; load average {os.getloadavg()[0]:.1f}")
        browser = Browser(f"{folder}/profile")
        browser.call("Page.navigate", url=page.resolve().as_uri())
        while not browser.value("document.documentElement?.dataset.ready ?? ''"):
            time.sleep(0.05)
        ready = browser.value("Number(document.documentElement.dataset.ready)")
        print(f"load until the first drawing: {ready:.0f} ms, busy {browser.busy():.0f} ms")
        for name, action in ACTIONS.items():
            report(browser, name, SETTLED.replace("ACTION", action))
        report(browser, "step of panning", PAN)
        browser.close()


if __name__ == "__main__":
    main()
