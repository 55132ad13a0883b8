"""Secrets of entries: encrypted where they lie, told to nobody, and lost with their key only."""

from __future__ import annotations

import io
import tomllib
from pathlib import Path
from typing import Any

import pytest

from server.cli import main
from server.core.errors import EmsError
from server.runtime import secret_entries, secrets
from server.runtime.audit import tail
from server.runtime.keys import KEY_FILE, KeyUnusable, SiteKey, create_key, key_place
from server.runtime.plan import SitePlan, make_plan
from server.runtime.registry import Registry
from server.runtime.secret_entries import held, protect_entries, rotate
from server.runtime.secure_start import secure_start

PASSWORD, TOKEN = 'hunter2 "quoted" ü', "t0ken"
CONFIG = """
from pydantic import BaseModel, ConfigDict, Field, SecretStr

class Broker(BaseModel):
    model_config = ConfigDict(extra="forbid")
    host: str
    token: SecretStr | None = None

class Config(BaseModel):
    model_config = ConfigDict(extra="forbid")
    host: str
    password: SecretStr = Field(min_length=2)
    broker: Broker | None = None
"""
DRIVER = """
def describe(alias, config):
    return ()
"""
ENTRY = """# How the box by the door is reached.
driver = "vault"     # ours
host = "10.0.0.7"
password = "hunter2 \\"quoted\\" ü"   # from the sticker; password = "not this"

[broker]
host = 'broker'
token = 't0ken'
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site with a driver that has secrets, and an entry with both in plain text."""
    site = tmp_path / "site"
    folder = site / "custom" / "drivers" / "vault"
    folder.mkdir(parents=True)
    (folder / "manifest.toml").write_text('domain = "vault"\nname = "Vault"\nversion = "1"\n')
    (folder / "__init__.py").write_text("")
    (folder / "config.py").write_text(CONFIG)
    (folder / "driver.py").write_text(DRIVER)
    (site / "entries").mkdir()
    (site / "custom" / "controllers").mkdir()
    (site / "site.toml").write_text('[site]\nid = "vault1"\n')
    (site / "entries" / "box0.toml").write_text(ENTRY)
    return site


def text(site: Path) -> str:
    return (site / "entries" / "box0.toml").read_text()


def planned(site: Path) -> SitePlan:
    return make_plan(site, Registry(site / "registry.json"))


def opened(site: Path) -> tuple[str, str]:
    (entry,) = planned(site).entries
    assert not entry.problem, entry.problem
    return entry.config.password.get_secret_value(), entry.config.broker.token.get_secret_value()


def test_plain_text_is_encrypted_when_the_site_starts_and_the_rest_of_the_file_stays(site: Path) -> None:
    assert protect_entries(site) == []
    sealed = tomllib.loads(text(site))
    assert sealed["password"].startswith("enc:")
    assert sealed["broker"]["token"].startswith("enc:")
    assert PASSWORD not in text(site)
    assert TOKEN not in text(site)
    restored = text(site).replace(f'"{sealed["password"]}"', '"hunter2 \\"quoted\\" ü"')
    assert restored.replace(f'"{sealed["broker"]["token"]}"', "'t0ken'") == ENTRY
    assert opened(site) == (PASSWORD, TOKEN)
    before = text(site)
    assert protect_entries(site) == []
    assert text(site) == before
    assert [(r["event"], r["action"], r["entry"], r["fields"]) for r in tail(site, 10)] == [
        ("secrets", "encrypted", "box0", ["password", "broker.token"])
    ]


def test_the_key_is_its_owners_only_and_each_secret_has_a_cipher_text_of_its_own(site: Path) -> None:
    secure_start(site)
    assert oct((site / KEY_FILE).stat().st_mode & 0o777) == "0o600"
    key = SiteKey.load(site)
    assert secrets.seal(key, "a", "password", "same") != secrets.seal(key, "a", "password", "same")


def test_a_key_others_may_read_is_not_used(site: Path) -> None:
    protect_entries(site)
    (site / KEY_FILE).chmod(0o640)
    (entry,) = planned(site).entries
    assert entry.problem == (
        f"entries/box0.toml: password: is encrypted, and does not open: {site / KEY_FILE}: others may read it; "
        f"`chmod 600 {site / KEY_FILE}`"
    )


def moved_to_another_field(text: str) -> str:
    values = tomllib.loads(text)
    return text.replace(values["broker"]["token"], values["password"])


def changed(text: str) -> str:
    sealed = tomllib.loads(text)["password"]
    return text.replace(sealed, sealed[:-6] + ("AAAAA=" if sealed[-6:] != "AAAAA=" else "BBBBB="))


@pytest.mark.parametrize(
    ("spoil", "field", "words"),
    [
        (lambda t: t.replace("enc:", "enc:00000000:x:"), "password", "it needs the key 00000000, the site has "),
        (changed, "password", "it was changed, or belongs to another entry or field"),
        (moved_to_another_field, "broker.token", "it was changed, or belongs to another entry or field"),
        (lambda t: t.replace(tomllib.loads(t)["password"], "enc:"), "password", "it needs the key "),
    ],
    ids=["other key", "changed", "moved", "empty"],
)
def test_what_does_not_open_is_told_with_its_reason_and_the_rest_starts(site: Path, spoil: Any, field: str, words: str) -> None:
    protect_entries(site)
    (site / "entries" / "box0.toml").write_text(spoil(text(site)))
    (site / "entries" / "box1.toml").write_text(ENTRY)
    protect_entries(site)
    box0, box1 = planned(site).entries
    assert box0.problem.startswith(f"entries/box0.toml: {field}: is encrypted, and does not open: {words}")
    assert not box1.problem


def test_a_lost_key_is_told_and_none_is_made_in_its_place(site: Path) -> None:
    protect_entries(site)
    (site / KEY_FILE).unlink()
    assert protect_entries(site) == []
    (entry,) = planned(site).entries
    expected = f"{site / KEY_FILE}: the site's secret key: No such file or directory; bring it back from its copy"
    assert entry.problem == f"entries/box0.toml: password: is encrypted, and does not open: {expected}"
    assert not (site / KEY_FILE).exists()


def test_a_secret_that_cannot_be_encrypted_in_place_is_told_and_used(site: Path) -> None:
    (site / "entries" / "box0.toml").write_text('driver = "vault"\nhost = "x"\npassword = """hunter2"""\n')
    ((shown, problem),) = protect_entries(site)
    assert shown == "entries/box0.toml"
    assert "password: write it as password" in problem
    assert "hunter2" not in problem
    (entry,) = planned(site).entries
    assert entry.config.password.get_secret_value() == "hunter2"
    assert secure_start(site)[0].source == "entries/box0.toml"


@pytest.mark.parametrize("value", ["12345", '"x"', "true", '["hunter2"]', '{ a = "hunter2" }'])
def test_an_error_about_a_secret_does_not_show_it(site: Path, value: str) -> None:
    (site / "entries" / "box0.toml").write_text(f'driver = "vault"\nhost = "x"\npassword = {value}\n')
    (entry,) = planned(site).entries
    assert entry.problem.startswith("entries/box0.toml: password: the secret")
    assert "12345" not in entry.problem
    assert "hunter2" not in entry.problem


def test_no_secret_is_in_what_a_plan_says_of_itself(site: Path) -> None:
    protect_entries(site)
    plan = planned(site)
    assert PASSWORD not in repr(plan)
    assert TOKEN not in repr(plan)


def test_the_key_may_be_elsewhere(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create_key(tmp_path)
    (site / "site.toml").write_text(f'[site]\nid = "vault1"\n[secrets]\nkey = "{tmp_path / KEY_FILE}"\n')
    protect_entries(site)
    assert opened(site) == (PASSWORD, TOKEN)
    assert not (site / KEY_FILE).exists()

    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "ems").write_bytes((tmp_path / KEY_FILE).read_bytes())
    (credentials / "ems").chmod(0o440)
    (site / "site.toml").write_text('[site]\nid = "vault1"\n[secrets]\nkey = "credential:ems"\n')
    with pytest.raises(KeyUnusable, match="LoadCredential"):
        key_place(site)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    assert opened(site) == (PASSWORD, TOKEN)


def test_rotation_makes_a_new_key_and_forgets_the_old_one(site: Path) -> None:
    protect_entries(site)
    old, before = SiteKey.load(site), text(site)
    assert rotate(site) == ["box0"]
    new = SiteKey.load(site)
    assert len(new.keys) == 1
    assert new.keys != old.keys
    assert opened(site) == (PASSWORD, TOKEN)
    (site / "entries" / "box0.toml").write_text(before)
    assert "it needs the key" in planned(site).entries[0].problem


def test_a_rotation_that_is_cut_off_loses_nothing_and_is_done_again(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    protect_entries(site)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(secret_entries, "reseal", fail)
        with pytest.raises(OSError):
            rotate(site)
    assert opened(site) == (PASSWORD, TOKEN)
    assert rotate(site) == ["box0"]
    assert opened(site) == (PASSWORD, TOKEN)
    assert len(SiteKey.load(site).keys) == 1


def test_the_command_sets_lists_and_rotates(
    site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (site / "entries" / "box0.toml").write_text('# box\ndriver = "vault"\nhost = "x"\n\n[broker]\nhost = "y"\n')
    create_key(site)
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{PASSWORD}\n"))
    assert main(["secrets", "set", "box0", "password", "--stdin", "--dir", str(site)]) == 0
    assert tomllib.loads(text(site))["password"].startswith("enc:")
    assert main(["secrets", "list", "--dir", str(site)]) == 0
    assert main(["secrets", "rotate", "--dir", str(site)]) == 0
    assert main(["secrets", "set", "box0", "host", "--stdin", "--dir", str(site)]) == 1
    shown = capsys.readouterr()
    assert [line.split()[:3] for line in shown.out.splitlines() if line.startswith("box0")] == [
        ["box0", "password", "encrypted"],
        ["box0", "broker.token", "not"],
    ]
    assert PASSWORD not in shown.out + shown.err
    assert "there is no such secret; known: box0 password, box0 broker.token" in shown.err
    assert planned(site).entries[0].config.password.get_secret_value() == PASSWORD
    assert [r["action"] for r in tail(site, 10)] == ["set", "rotated"]
    assert PASSWORD not in str(tail(site, 10))


def test_every_state_of_a_secret_has_words(site: Path) -> None:
    assert [h.state for h in held(site)] == ["plain text: encrypted at the next start of the site"] * 2
    protect_entries(site)
    assert [h.state for h in held(site)] == ["encrypted"] * 2
    (site / KEY_FILE).unlink()
    assert all(h.state.startswith("does not open: ") for h in held(site))


def test_a_start_notes_which_files_were_changed(site: Path) -> None:
    secure_start(site)
    (site / "entries" / "box1.toml").write_text(ENTRY)
    secure_start(site)
    assert [row["changed"] for row in tail(site, 10) if row["event"] == "site-started"] == [[], ["entries/box1.toml"]]


@pytest.mark.parametrize("content", ["", "too short", "AAAA\n", "# only words\n"])
def test_a_damaged_key_file_is_told(site: Path, content: str) -> None:
    create_key(site)
    (site / KEY_FILE).write_text(content)
    with pytest.raises(EmsError, match="32 bytes in base64"):
        SiteKey.load(site)
