"""The page of the benchmarks is one of the report's pages."""

import os
import re
import subprocess
import sys

from awm import store


def test_it_has_the_bar_the_tables_and_the_figures(workspace):
    (workspace / "report").mkdir()
    (workspace / "report" / "01_data_collection.html").touch()
    script = store.CHECKOUT / "benchmarks" / "page.py"
    environment = os.environ | {"PYTHONPATH": str(store.CHECKOUT)}
    subprocess.run([sys.executable, script], check=True, env=environment, capture_output=True)
    html = (workspace / "report" / "benchmarks.html").read_text("utf-8")
    bar = re.search(r'<header class="bar">.*?</header>', html, re.S)[0]
    for expected in ("index.html", "01_data_collection.html", 'id="toggle-theme"'):
        assert expected in bar
    assert "<h1" in html and "<footer>" in html
    numbers = [int(n) for n in re.findall(r"<strong>Table (\d+)\.</strong>", html)]
    assert numbers == list(range(1, len(numbers) + 1)) and len(numbers) >= 5
    assert html.count('<svg class="wide"') == 3 and "is not here" not in html
