"""`ems certs`, `ems users` and `ems audit` as one types them; whatever they change is in the audit trail."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest

from certs import CertificateError, TrustList, create_authority, issue, list_certificates
from server.cli import main
from server.runtime.audit import tail
from server.runtime.audit_chain import audit_files
from server.runtime.keys import create_key
from server.runtime.users import Users


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """As much of a site as these commands need."""
    (tmp_path / "site.toml").write_text('[site]\nid = "abcd"\n')
    create_key(tmp_path)
    create_authority(tmp_path, "Test")
    issue(tmp_path, "server", application_uri="urn:site:server", hosts=["10.0.0.5"], days=30)
    issue(tmp_path, "historian", application_uri="urn:site:historian", hosts=[], days=300)
    users = Users(tmp_path)
    users.add("admin", ["SecurityAdmin"], password="correct horse battery")
    users.add("historian", ["Observer"], certificate=own(tmp_path, "historian"))
    return tmp_path


def own(site: Path, name: str) -> bytes:
    return (site / "certs" / "own" / f"{name}.der").read_bytes()


def mark(site: Path, name: str) -> str:
    return next(c.thumbprint for c in list_certificates(site) if c.common_name == name)


def ems(site: Path, *words: str) -> int:
    return main([*words, "--dir", str(site)])


def rows(site: Path) -> list[tuple[str, ...]]:
    shown = ("event", "action", "certificate", "name")
    return [tuple(str(row[k]) for k in shown if k in row) for row in tail(site, 100)]


def test_renewal_takes_what_expires_soon_and_tells_users_of_certificates(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = own(site, "server"), own(site, "historian")
    assert ems(site, "certs", "renew") == 0
    assert (own(site, "server") != before[0], own(site, "historian") != before[1]) == (True, False)
    assert ems(site, "certs", "renew") == 0
    assert "nothing expires within 90 days" in capsys.readouterr().out
    assert ems(site, "certs", "renew", "historian", "ca", "--days", "100") == 0
    certificate = TrustList(site).check(own(site, "historian"))
    account = Users(site).by_certificate(certificate)
    assert account is not None
    assert account.name == "historian"
    assert rows(site) == [("certificates", "renew", name) for name in ("server", "historian", "ca")]
    assert "root" in tail(site, 1)[0]["user"] or "command line" in tail(site, 1)[0]["user"]


def test_a_renewal_may_revoke_the_old_one(site: Path) -> None:
    old = own(site, "server")
    assert ems(site, "certs", "renew", "server", "--revoke") == 0
    with pytest.raises(CertificateError, match="revoked"):
        TrustList(site).check(old)
    assert TrustList(site).check(own(site, "server"))


def test_a_client_of_ours_is_revoked_by_its_thumbprint(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    issue(site, "scada", application_uri="urn:scada", hosts=[])
    assert ems(site, "certs", "revoke", mark(site, "scada")[:8]) == 0
    with pytest.raises(CertificateError, match="revoked"):
        TrustList(site).check(own(site, "scada"))
    assert ems(site, "certs", "revoke", "00000000") == 1
    assert "no certificates of the site's authority begin so" in capsys.readouterr().err
    assert ems(site, "certs", "renew", "nobody") == 1


def test_trust_and_reject_are_audited(site: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    create_authority(other, "Other")
    stranger = issue(other, "stranger", application_uri="urn:stranger", hosts=[])
    assert ems(site, "certs", "trust", str(stranger.certificate)) == 0
    assert ems(site, "certs", "reject", mark(site, "stranger")[:10]) == 0
    assert [row[:2] for row in rows(site)] == [("certificates", "trust"), ("certificates", "reject")]


def test_the_list_says_how_long_each_is_valid(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ems(site, "certs", "list") == 0
    shown = capsys.readouterr().out
    assert re.search(r"own +\w{8} +\d{4}-\d\d-\d\d +29 days \(renew\) +server", shown)
    assert re.search(r"own +\w{8} +\d{4}-\d\d-\d\d +299 days +historian", shown)


def test_a_users_scope_is_given_shown_and_taken_back(
    site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def add(*words: str) -> int:
        monkeypatch.setattr("sys.stdin", io.StringIO("a long enough password\n"))
        return ems(site, "users", "add", "tom", "--password-stdin", *words)

    assert add("--role", "Observer", "--scope", "tenant-a", "--scope", "tenant-b") == 0
    assert ems(site, "users", "list") == 0
    assert re.search(r"tom +password +Observer +tenant-a, tenant-b", capsys.readouterr().out)
    assert add("--replace", "--whole-site") == 0
    assert Users(site)._refresh()["tom"].scope is None
    assert ems(site, "users", "remove", "tom") == 0
    assert rows(site) == [("users", action, "tom") for action in ("add", "change", "remove")]
    assert "long enough" not in str(tail(site, 10))


def test_the_last_admin_is_not_removed(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ems(site, "users", "remove", "admin") == 1
    assert "admin is the last SecurityAdmin of the whole site" in capsys.readouterr().err
    assert "admin" in Users(site)


def test_the_trail_is_shown_verified_and_found_broken(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ems(site, "audit", "verify") == 0
    assert "nothing was audited yet" in capsys.readouterr().out
    ems(site, "certs", "renew", "server")
    ems(site, "certs", "renew", "historian")
    capsys.readouterr()
    assert ems(site, "audit", "verify") == 0
    assert capsys.readouterr().out == "whole: 2 rows, 1 to 2\n"
    assert ems(site, "audit", "tail", "--rows", "1") == 0
    assert "action renew, certificate historian" in capsys.readouterr().out
    assert ems(site, "audit", "tail", "--json") == 0
    assert [json.loads(line)["certificate"] for line in capsys.readouterr().out.splitlines()] == ["server", "historian"]
    (file,) = audit_files(site)
    file.write_text(file.read_text().replace('"server"', '"panel"'))
    assert ems(site, "audit", "verify") == 1
    assert "BROKEN: data/audit/000000000001.jsonl, line 1: row 1 was changed" in capsys.readouterr().out
