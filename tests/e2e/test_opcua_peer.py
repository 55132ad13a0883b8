"""node-opcua as the customer's SCADA: it does what it may, and nothing without trust, role or encryption."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from demo_site import EMS, DemoSite

from certs import Paths, create_authority, issue

PEERS = Path(__file__).parents[1] / "peers"
URI = "urn:scada:peer"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not shutil.which("node") or not (PEERS / "node_modules" / "node-opcua").exists(),
        reason="node-opcua is not installed: npm ci --prefix tests/peers",
    ),
]


def ems(*arguments: str | Path, text: str = "") -> str:
    done = subprocess.run([EMS, *arguments], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def scada(demo: DemoSite) -> Paths:
    return issue(demo.directory, "scada", application_uri=URI, hosts=["127.0.0.1"])


@pytest.fixture(scope="module")
def people(demo: DemoSite) -> dict[str, str]:
    passwords = {"olga": "an operator's long password", "otto": "an observer's long password"}
    for name, role in (("olga", "Operator"), ("otto", "Observer")):
        ems("users", "add", name, "--role", role, "--password-stdin", "--dir", demo.directory, text=passwords[name])
    return passwords


def peer(demo: DemoSite, certificate: Paths, tmp_path: Path, steps: list[str], **options: Any) -> dict[str, Any]:
    settings = {
        "endpoint": demo.printed(r"(opc\.tcp://\S+)"),
        "certificate": str(certificate.chain),
        "key": str(certificate.key),
        "authority": str(demo.directory / "certs" / "ca" / "ca.der"),
        "applicationUri": URI,
        "pki": str(tmp_path / "pki"),
        "steps": steps,
    }
    command = ["node", "site_client.cjs", json.dumps(settings | options)]
    done = subprocess.run(command, cwd=PEERS, capture_output=True, text=True, timeout=90, check=False, env={**os.environ})
    assert done.stdout.strip(), done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_an_operator_browses_reads_subscribes_and_takes_the_override(demo, scada, people, tmp_path) -> None:
    steps = ["browse", "read", "unit", "subscribe", "override", "setpoint", "reaction", "release"]
    said = peer(demo, scada, tmp_path, steps, user="olga", password=people["olga"])
    assert said["connect"] == "Good"
    assert "error" not in said, said
    assert {"Mode", "GridPower", "AcquireManualOverride"} <= set(said["browse"])
    assert said["read"]["status"] == "Good"
    assert said["read"]["type"] == "Double"
    assert 0 <= said["read"]["value"] <= 100
    assert said["unit"] == {"symbol": "W", "unitId": 5723220}
    assert said["subscribe"]["count"] >= 20
    assert said["subscribe"]["rising"]
    assert (said["override"], said["setpoint"], said["reaction"], said["release"]) == ("Good", "Good", 1234, "Good")


def test_an_observer_reads_but_takes_nothing(demo, scada, people, tmp_path) -> None:
    said = peer(demo, scada, tmp_path, ["read", "override", "setpoint"], user="otto", password=people["otto"])
    assert said["read"]["status"] == "Good"
    assert said["override"] == "BadUserAccessDenied"
    assert said["setpoint"] == "BadUserAccessDenied"


@pytest.mark.parametrize(
    ("options", "refusal"),
    [
        ({"user": "olga", "password": "wrong"}, "BadUserAccessDenied|BadIdentityTokenRejected"),
        ({"user": "nobody", "password": "wrong"}, "BadUserAccessDenied|BadIdentityTokenRejected"),
        ({}, "BadIdentityTokenRejected|BadIdentityTokenInvalid|ANONYMOUS|nonymous"),
        (
            {"mode": "None", "user": "olga", "password": "x"},
            "BadSecurityPolicyRejected|BadSecurityModeRejected|[Ss]ecurity|endpoint",
        ),
    ],
    ids=["wrong password", "unknown user", "anonymous", "without encryption"],
)
def test_it_is_refused(demo, scada, people, tmp_path, options, refusal) -> None:
    said = peer(demo, scada, tmp_path, ["read"], **options)
    assert "read" not in said
    assert re.search(refusal, said["connect"]), said


def test_it_is_refused_without_trust_until_a_person_trusts_it(demo, people, tmp_path) -> None:
    create_authority(tmp_path, "Somebody else")
    stranger = issue(tmp_path, "stranger", application_uri=URI, hosts=["127.0.0.1"])
    said = peer(demo, stranger, tmp_path, ["read"], user="olga", password=people["olga"])
    assert "read" not in said
    listed = ems("certs", "list", "--dir", demo.directory)
    (line,) = [row for row in listed.splitlines() if "stranger" in row]
    mark = next(word for word in line.split() if len(word) >= 8 and all(c in "0123456789abcdef" for c in word))
    ems("certs", "trust", mark, "--dir", demo.directory)
    said = peer(demo, stranger, tmp_path, ["read"], user="olga", password=people["olga"])
    assert said["read"]["status"] == "Good"
