"""Foreign controllers at the running demo: node-opcua, and the program of the how-to as it is printed there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bridged_site import ems
from demo_site import DemoSite, PlantBench
from ports import free_port

from certs import Paths, issue
from server.runtime.demo import make_demo

ROOT = Path(__file__).parents[2]
PEERS = ROOT / "tests" / "peers"
HOW_TO = ROOT / "docs" / "how-to" / "write-a-foreign-controller.md"
URI = "urn:mpc"

pytestmark = pytest.mark.slow


def fenced(info: str) -> str:
    """The block of the how-to that is marked so."""
    found = re.search(rf"^```{re.escape(info)}\n(.*?)^```$", HOW_TO.read_text(), re.MULTILINE | re.DOTALL)
    assert found, info
    return found[1]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoSite]:
    directory = tmp_path_factory.mktemp("foreign") / "site"
    make_demo(directory)
    file = directory / "site.toml"
    file.write_text(file.read_text() + fenced("toml site.toml"))
    with DemoSite(directory, free_port(), free_port()) as site:
        yield site


@pytest.fixture(scope="module")
def mpc(demo: DemoSite) -> Paths:
    paths = issue(demo.directory, "mpc", application_uri=URI, hosts=["127.0.0.1"])
    ems("users", "add", "mpc", "--role", "Controller", "--certificate", paths.certificate, "--dir", demo.directory)
    return paths


@pytest.mark.skipif(
    not shutil.which("node") or not (PEERS / "node_modules" / "node-opcua").exists(), reason="npm ci --prefix tests/peers"
)
def test_node_opcua_proposes_and_is_arbitrated(demo: DemoSite, plant: PlantBench, mpc: Paths, tmp_path: Path) -> None:
    settings = {
        "endpoint": demo.printed(r"(opc\.tcp://\S+)"),
        "certificate": str(mpc.chain),
        "key": str(mpc.key),
        "authority": str(demo.directory / "certs" / "ca" / "ca.der"),
        "applicationUri": URI,
        "pki": str(tmp_path / "pki"),
    }
    command = ["node", "foreign.cjs", json.dumps(settings)]
    done = subprocess.run(command, cwd=PEERS, capture_output=True, text=True, timeout=90, check=False)
    assert done.stdout.strip(), done.stderr
    said: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    assert "error" not in said, said
    refused = said["refused"]
    assert [refused[why]["status"] for why in ("unknown", "nan", "priority")] == ["BadInvalidArgument"] * 3
    assert refused["unknown"]["refusals"] == ["0: 'ess9' is not in this site"]
    assert refused["nan"]["refusals"] == ["0: ess0: NaN is no power"]
    assert refused["priority"]["refusals"] == ["0: ess0: priority 1 is not in 15..1000"]
    assert refused["many"]["status"] == "BadTooManyOperations"
    assert said["taken"] == {"status": "Good", "refusals": []}
    assert (said["setpoint"], said["short"], said["last"]) == (321, 123, 222)
    assert "a plan of node-opcua (proposed by mpc)" in said["explanation"]
    assert 50 < said["left"] <= 60
    assert said["after"] == "asks for nothing"
    demo.wait(lambda: plant.setpoint_w != 222, 10, "what it proposed last ended with its session, not with its lease")


def test_the_program_of_the_how_to_does_what_it_says(demo: DemoSite, plant: PlantBench, mpc: Paths, tmp_path: Path) -> None:
    program = tmp_path / "charge_at_night.py"
    program.write_text(fenced("python"))
    certificates = [str(mpc.certificate), str(mpc.key), str(demo.directory / "certs" / "own" / "server.der")]
    endpoint = demo.printed(r"(opc\.tcp://\S+)")
    running = subprocess.Popen([sys.executable, str(program), endpoint, *certificates], stdout=subprocess.PIPE, text=True)
    try:
        demo.wait(lambda: plant.setpoint_w == -1_500, 20, "the battery charges with 1.5 kW")
    finally:
        running.kill()
        running.wait()
    demo.wait(lambda: plant.setpoint_w != -1_500, 10, "killed, it is forgotten with its lease")
