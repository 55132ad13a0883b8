"""The command as people use it: what it makes, what it refuses, what it prints, and its exit status."""

from __future__ import annotations

import io
import json
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from ports import free_port

from certs import list_certificates
from server import cli, commands
from server.commands import bench
from server.core.errors import EmsError
from server.runtime import create, demo, ports
from server.runtime.bus import BusError, request
from server.runtime.config import read_entries, read_site
from server.runtime.users import Users

COMMANDS = ["init", "run", "demo", "certs", "users", "status", "bench"]
COMMANDS += [f"certs {action}" for action in ("create", "trust", "reject", "list")]
COMMANDS += [f"users {action}" for action in ("add", "remove", "list")]


@pytest.fixture(autouse=True)
def light_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes that are right but cheap."""
    monkeypatch.setattr("server.runtime.users.PasswordHasher", lambda: PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A site as `ems init` makes it, and what was printed."""
    directory = tmp_path_factory.mktemp("cli") / "site"
    done = ems("init", directory, "--name", "Head office", "--port", "4841")
    assert done.returncode == 0, done.stderr
    return directory, done.stdout


def ems(*arguments: object, text: str = "") -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    command = [sys.executable, "-m", "server.cli", *map(str, arguments)]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)


def printed(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """The command in this process: status, output, errors."""
    status = cli.main(list(map(str, arguments)))
    said = capsys.readouterr()
    return status, said.out, said.err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main([*command.split(), "--help"])
    said = capsys.readouterr().out
    assert stop.value.code == 0
    assert "examples:\n  ems " in said or "examples:\n  echo" in said


def test_a_new_site_is_complete_and_private(made: tuple[Path, str]) -> None:
    directory, _ = made
    file = read_site(directory)
    assert (file.site.name, file.opcua.port, sorted(file.services)) == ("Head office", 4841, ["historian", "ui"])
    assert {stat.S_IMODE((directory / folder).stat().st_mode) for folder in ("certs", "run")} == {0o700}
    keys = [directory / "users.toml", *directory.glob("certs/**/*.key.pem")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys} == {0o600}
    assert len(keys) == 5
    uris = {c.common_name: c.application_uri for c in list_certificates(directory) if c.state == "own"}
    own = f"urn:{socket.gethostname()}:unified-ems:{file.site.id}"
    assert uris == {"server": own, "panel": f"{own}:panel", "historian": f"{own}:historian"}


def test_the_password_is_printed_once_and_lets_the_admin_in(made: tuple[Path, str]) -> None:
    directory, said = made
    password = next(line.split()[1] for line in said.splitlines() if line.startswith("password"))
    admin = Users(directory).verify("admin", password)
    assert admin is not None
    assert {"Operator", "Engineer", "SecurityAdmin"} <= admin.roles
    assert password not in "".join(p.read_text(errors="replace") for p in directory.rglob("*") if p.is_file())


def test_two_sites_have_nothing_in_common(tmp_path: Path) -> None:
    one, two = create.create_site(tmp_path / "a"), create.create_site(tmp_path / "b")
    assert one.id != two.id
    assert one.password != two.password
    assert (tmp_path / "a" / "certs/ca/ca.der").read_bytes() != (tmp_path / "b" / "certs/ca/ca.der").read_bytes()


@pytest.mark.parametrize("content", ["site.toml", "something.txt"])
def test_init_overwrites_nothing(tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / content).write_text("mine")
    status, _, error = printed(capsys, "init", tmp_path)
    assert status == commands.FAILED
    assert "already; nothing was changed" in error or "is not empty" in error
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [(content, "mine")]


@pytest.mark.parametrize("existed", [True, False])
def test_a_site_that_cannot_be_finished_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, existed: bool) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(create, "issue", full)
    if existed:
        (tmp_path / "site").mkdir()
    with pytest.raises(OSError, match="No space"):
        create.create_site(tmp_path / "site")
    assert (tmp_path / "site").exists() == existed
    assert list(tmp_path.glob("site/*")) == []


def test_a_name_with_quotes_survives(tmp_path: Path) -> None:
    create.create_site(tmp_path / "s", name='Müller\'s "big" house \\ barn')
    assert read_site(tmp_path / "s").site.name == 'Müller\'s "big" house \\ barn'


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["init", "x", "--port", "0"], "0 is not in 1..65535"),
        (["demo", "--speed", "fast"], "'fast' is not a number"),
        (["demo", "--speed", "-1"], "-1 is not in 0..3600"),
        (["dance"], "invalid choice: 'dance'"),
        ([], "the following arguments are required: COMMAND"),
        (["users", "add", "anna", "--role", "King"], "invalid choice: 'King'"),
    ],
)
def test_wrong_usage_is_explained_with_status_2(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    assert says in capsys.readouterr().err


def test_a_cell_of_several_lines_stays_in_its_column() -> None:
    assert commands.table(("a", "b", "c"), [("1", "two\nlines", "x"), ("", "", "y")]) == (
        "a  b      c\n1  two    x\n   lines\n          y"
    )


def test_users_are_added_listed_and_removed(
    made: tuple[Path, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, _ = made
    monkeypatch.setattr("sys.stdin", io.StringIO("a long password\n"))
    add = ("users", "add", "anna", "--role", "Operator", "--password-stdin", "--dir", directory)
    assert printed(capsys, *add) == (commands.OK, "user anna: Operator\n", "")
    assert printed(capsys, *add) == (commands.FAILED, "", "there is a user anna already; --replace changes it\n")
    assert Users(directory).verify("anna", "a long password") is not None
    _, listed, _ = printed(capsys, "users", "list", "--dir", directory)
    assert [line.split()[0] for line in listed.splitlines()] == ["name", "admin", "historian", "anna"]
    assert printed(capsys, "users", "remove", "anna", "--dir", directory)[0] == commands.OK
    assert printed(capsys, "users", "remove", "anna", "--dir", directory)[2].startswith("there is no user anna; known: admin")


def test_a_lost_password_is_replaced_and_the_roles_stay(
    made: tuple[Path, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, _ = made
    before = next(user for user in Users(directory) if user.name == "admin").roles
    monkeypatch.setattr("sys.stdin", io.StringIO("another long password\n"))
    assert printed(capsys, "users", "add", "admin", "--replace", "--password-stdin", "--dir", directory)[0] == commands.OK
    admin = Users(directory).verify("admin", "another long password")
    assert admin is not None
    assert admin.roles == before


@pytest.mark.parametrize(("password", "says"), [("short\n", "10 characters"), ("", "10 characters")])
def test_a_poor_password_is_refused(
    made: tuple[Path, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, password: str, says: str
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(password))
    status, _, error = printed(capsys, "users", "add", "otto", "--role", "Observer", "--password-stdin", "--dir", made[0])
    assert status == commands.FAILED
    assert says in error


def test_a_typed_password_must_be_typed_twice(
    made: tuple[Path, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = iter(["a long password", "a lung password"])
    monkeypatch.setattr("getpass.getpass", lambda prompt: next(typed))
    assert printed(capsys, "users", "add", "otto", "--role", "Observer", "--dir", made[0])[2] == "the two are not the same\n"


def test_without_a_terminal_the_other_way_to_give_a_password_is_named(
    made: tuple[Path, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(_: str) -> str:
        raise EOFError

    monkeypatch.setattr("getpass.getpass", nobody)
    status, _, error = printed(capsys, "users", "add", "otto", "--role", "Observer", "--dir", made[0])
    assert (status, "--password-stdin reads it" in error) == (commands.FAILED, True)


def test_a_service_certificate_is_renewed_together_with_its_user(
    made: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    directory, _ = made
    before = {u.name: u.certificate_sha256 for u in Users(directory)}
    assert printed(capsys, "certs", "create", "historian", "--days", "30", "--dir", directory)[0] == commands.OK
    after = {u.name: u.certificate_sha256 for u in Users(directory)}
    assert after["historian"] not in ("", before["historian"])
    assert after["admin"] == ""


def test_a_foreign_certificate_is_trusted_listed_and_rejected(
    made: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory, _ = made
    other = create.create_site(tmp_path / "other").directory
    file = other / "certs" / "own" / "panel.der"
    assert printed(capsys, "certs", "trust", file, "--dir", directory)[0] == commands.OK
    _, listed, _ = printed(capsys, "certs", "list", "--dir", directory)
    (row,) = [line.split() for line in listed.splitlines() if line.startswith("trusted")]
    assert printed(capsys, "certs", "reject", row[1], "--dir", directory)[0] == commands.OK
    assert [c.state for c in list_certificates(directory) if c.thumbprint.startswith(row[1])] == ["rejected"]
    status, _, error = printed(capsys, "certs", "trust", "zzzz", "--dir", directory)
    assert (status, error) == (
        commands.FAILED,
        "'zzzz': no rejected certificates begin so; give 4 or more characters of one's thumbprint\n",
    )
    status, _, error = printed(capsys, "certs", "trust", directory / "nowhere.der", "--dir", directory)
    assert (status, error) == (commands.FAILED, f"{directory}/nowhere.der: No such file or directory\n")
    damaged = directory / "damaged.der"
    damaged.write_text("no certificate")
    status, _, error = printed(capsys, "certs", "trust", damaged, "--dir", directory)
    assert status == commands.FAILED
    assert error.startswith(f"{damaged}: not an X.509 certificate")


def test_a_certificate_name_cannot_leave_its_folder(made: tuple[Path, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "certs", "create", "../../x", "--dir", made[0])[0] == commands.FAILED
    assert printed(capsys, "certs", "create", "gateway", "--days", "0", "--dir", made[0])[2] == "days: 0 is not in 1..3650\n"


def test_the_site_is_the_one_that_is_near(
    made: tuple[Path, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(made[0])
    assert printed(capsys, "users", "list")[0] == commands.OK
    monkeypatch.chdir(made[0].parent)
    assert printed(capsys, "users", "list")[0] == commands.OK
    monkeypatch.chdir(tmp_path)
    assert "there is no site here" in printed(capsys, "users", "list")[2]
    assert "is no site: it has no site.toml" in printed(capsys, "users", "list", "--dir", tmp_path)[2]


def test_status_of_a_site_that_is_not_run_has_status_3(made: tuple[Path, str], capsys: pytest.CaptureFixture[str]) -> None:
    status, said, _ = printed(capsys, "status", "--dir", made[0])
    assert (status, said) == (commands.NOT_RUNNING, f"{made[0]} is not being run\n")
    status, said, _ = printed(capsys, "status", "--dir", made[0], "--json")
    assert (status, json.loads(said)) == (commands.NOT_RUNNING, {"state": "stopped"})


@pytest.mark.parametrize(
    ("prepare", "says"),
    [
        (lambda d: None, "is no folder; `ems init"),
        (lambda d: d.mkdir(), "site.toml: there is none in "),
        (lambda d: (d.mkdir(), (d / "site.toml").write_text("[site]\nid = 7\n")), "site.toml: site.id: 7 is not a text"),
    ],
)
def test_a_site_that_cannot_be_run_says_why(tmp_path: Path, prepare: Any, says: str) -> None:
    prepare(tmp_path / "site")
    done = ems("run", tmp_path / "site")
    assert (done.returncode, done.stdout) == (commands.FAILED, "")
    assert says in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_site_runs_and_its_status_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = tmp_path / "site"
    create.create_site(directory, name="House", port=free_port())
    path = directory / "site.toml"
    path.write_text(
        path.read_text()
        .replace('module = "ui"', 'module = "ui"\nenabled = false')
        .replace('.historian"', '.historian"\nenabled = false')
    )
    (directory / "entries" / "meter0.toml").write_text('driver = "modbus"\nunit_id = 300\n')
    site = subprocess.Popen([sys.executable, "-m", "server.cli", "run", str(directory)], stderr=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: running(directory))
        status, said, _ = printed(capsys, "status", "--dir", directory)
        assert status == commands.OK
        assert said.startswith("House: degraded   panel -   OPC UA opc.tcp://127.0.0.1:")
        assert "entries/meter0.toml: unit_id: 300 is not in 1..247" in said
        status, said, _ = printed(capsys, "status", "--dir", directory, "--json")
        found = json.loads(said)
        assert {"state", "cycle", "processes", "entries", "alarms", "endpoints"} <= set(found)
        second = ems("run", directory)
        assert (second.returncode, "is being run already" in second.stderr) == (commands.FAILED, True)
    finally:
        site.send_signal(signal.SIGINT)
        _, errors = site.communicate(timeout=30)
    assert site.returncode == 0, errors
    assert "entries/meter0.toml: unit_id: 300 is not in 1..247" in errors
    assert list((directory / "run").iterdir()) == []


def running(directory: Path) -> bool:
    try:
        return request(directory, "status")["state"] not in ("starting", "stopping")
    except BusError:
        return False


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# the demo


def test_the_demo_is_made_once_and_taken_again(tmp_path: Path) -> None:
    password = demo.make_demo(tmp_path / "demo")
    assert password
    assert demo.make_demo(tmp_path / "demo") == ""
    sources = read_entries(tmp_path / "demo")
    assert all(source.content is not None for source in sources)
    assert len(read_site(tmp_path / "demo").controller) >= 5


def test_taken_ports_are_moved_together_and_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    demo.make_demo(tmp_path / "demo")
    before = plant_ports(tmp_path / "demo")
    taken = {before[2], 4840, 4841, 8443}
    monkeypatch.setattr(ports, "is_free", lambda port, host="127.0.0.1": port not in taken)
    notes = adapt(tmp_path / "demo", speed=60.0)
    file = read_site(tmp_path / "demo")
    assert file.opcua.port >= 4842  # others on this machine may have claimed that one
    assert file.services["ui"].settings["port"] >= 8444
    (moved,) = {b - a for a, b in zip(before, plant_ports(tmp_path / "demo"), strict=True)}
    assert moved % 10 == 0 < moved
    assert len(notes) == 3
    assert "speed = 60.0\n" in (tmp_path / "demo" / "entries" / "plant.toml").read_text()
    assert "never change it" in (tmp_path / "demo" / "site.toml").read_text()
    assert adapt(tmp_path / "demo") == []


def adapt(directory: Path, port: int | None = None, speed: float | None = None) -> list[str]:
    with ports.PortClaims() as claims:
        return demo.adapt_demo(directory, claims, port=port, ui_port=None, speed=speed)


def test_demos_that_start_at_once_never_take_the_same_ports(tmp_path: Path) -> None:
    demo.make_demo(tmp_path / "demo0")
    program = (
        "import sys; from pathlib import Path; from server.runtime import demo, ports\n"
        "sys.stdin.read(1)\n"
        "with ports.PortClaims() as claims:\n"
        "    demo.adapt_demo(Path(sys.argv[1]), claims, port=None, ui_port=None, speed=None)\n"
        "    print('adapted', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    sites = [tmp_path / f"demo{n}" for n in range(4)]
    for site in sites[1:]:
        shutil.copytree(sites[0], site)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    starting = [subprocess.Popen([sys.executable, "-c", program, str(site)], text=True, **pipes) for site in sites]
    try:
        for process in starting:
            process.stdin.write("go")
            process.stdin.flush()
        assert [process.stdout.readline() for process in starting] == ["adapted\n"] * len(sites)
    finally:
        for process in starting:
            process.communicate()
    taken = [port for site in sites for port in (*plant_ports(site), read_site(site).opcua.port)]
    assert len(set(taken)) == sum(len({*plant_ports(site)}) + 1 for site in sites)


def test_a_claim_is_given_back_and_taken_whole_or_not_at_all() -> None:
    first, second, third = (free_port() for _ in range(3))
    with ports.PortClaims() as ours, ports.PortClaims() as theirs:
        assert ours.take(first)
        assert ours.take(first)
        assert not theirs.take_all([second, first, third])
        assert theirs.take_all([second, third])
    with ports.PortClaims() as others:
        assert others.take_all([first, second, third])


def plant_ports(directory: Path) -> list[int]:
    return sorted(source.content.settings["port"] for source in read_entries(directory) if source.content is not None)


def test_a_wanted_port_that_is_taken_is_refused(tmp_path: Path) -> None:
    demo.make_demo(tmp_path / "demo")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(demo.DemoError, match=f"port {port} for the OPC UA server is taken by another program"):
            adapt(tmp_path / "demo", port=port)


def test_a_site_that_is_not_the_demo_is_left_alone(tmp_path: Path) -> None:
    create.create_site(tmp_path / "mine")
    before = (tmp_path / "mine" / "site.toml").read_bytes()
    assert demo.make_demo(tmp_path / "mine") == ""
    with pytest.raises(demo.DemoError, match="is a site, but not the demo"):
        adapt(tmp_path / "mine")
    assert (tmp_path / "mine" / "site.toml").read_bytes() == before


@pytest.mark.parametrize(
    ("table", "key", "expected"),
    [
        ("", "port", "port = 9 # top\n[a]\nport=2\n[a.b]\n  port = 3   # deep\n"),
        ("a", "port", "port = 1 # top\n[a]\nport=9\n[a.b]\n  port = 3   # deep\n"),
        ("a.b", "port", "port = 1 # top\n[a]\nport=2\n[a.b]\n  port = 9   # deep\n"),
    ],
)
def test_one_setting_of_a_file_is_changed_and_its_comment_kept(table: str, key: str, expected: str) -> None:
    text = "port = 1 # top\n[a]\nport=2\n[a.b]\n  port = 3   # deep\n"
    assert demo.set_value(text, table, key, 9) == expected


# bench


def test_a_benchmark_prints_machine_commit_and_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Bench:
        @staticmethod
        def figures(duration_s: float = 1.0, channels: int = 10) -> dict[str, float]:
            return {"control.work_p99_ms": duration_s, "control.channels": float(channels)}

    monkeypatch.setattr(bench, "load_bench", lambda root, name: Bench)
    status, said, _ = printed(capsys, "bench", "control", "duration_s=2.5", "channels=7", "--json")
    result = json.loads(said)
    assert status == commands.OK
    assert set(result) == {"machine", "commit", "figures"}
    assert result["figures"] == {"control.work_p99_ms": 2.5, "control.channels": 7.0}
    assert printed(capsys, "bench", "control", "size=1")[2] == "size: unknown setting; known: duration_s, channels\n"
    assert printed(capsys, "bench", "control", "channels=x")[2] == "channels: 'x' is not a number\n"


def test_a_benchmark_needs_the_source(tmp_path: Path) -> None:
    with pytest.raises(EmsError, match="benchmarks come with a source checkout"):
        bench.load_bench(tmp_path, "control")
