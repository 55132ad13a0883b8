"""The panel as a process of its own, beside a site that tests steer (fake_site.py)."""

from __future__ import annotations

import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from chromium import log_in
from playwright.sync_api import Page
from ports import free_port

ROOT = Path(__file__).parents[2]


@dataclass
class Panel:
    """A running panel. `order` steers its site."""

    url: str
    directory: Path
    process: subprocess.Popen[str]

    def order(self, line: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def log_in(self, page: Page, user: str = "operator", password: str = "secret") -> None:
        log_in(page, self.url, user, password)

    def visit(self, page: Page, path: str) -> None:
        """Log in and go to a page."""
        self.log_in(page)
        page.locator("#main").wait_for()
        page.goto(self.url + path)


def _answers(url: str) -> bool:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with urllib.request.urlopen(url + "/login", timeout=2, context=context) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


@contextmanager
def running(directory: Path) -> Iterator[Panel]:
    """The panel, from its first answer to its end; it leaves no traceback in its log."""
    port = free_port()
    command = [sys.executable, str(Path(__file__).parent / "fake_site.py"), str(port), str(directory)]
    with (directory / "log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=log, stderr=log, text=True, env={"PYTHONPATH": str(ROOT)}
        )
        found = Panel(f"https://127.0.0.1:{port}", directory, process)
        until = time.monotonic() + 60
        try:
            while not _answers(found.url):
                assert process.poll() is None, (directory / "log").read_text()
                assert time.monotonic() < until, "the panel does not answer"
                time.sleep(0.2)
            yield found
            assert process.stdin
            process.stdin.close()
            assert process.wait(20) == 0
        finally:
            process.kill()
            process.wait()
    assert "Traceback" not in (directory / "log").read_text()
