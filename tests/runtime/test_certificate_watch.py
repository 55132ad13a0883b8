"""Certificates that end soon, and files that cannot be used, are told weeks ahead with what to do about it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certs import TrustList, create_authority, issue, renew, renew_authority
from server.runtime.certificate_watch import SOURCE, WARN_DAYS, CertificateWatch, certificate_problems


@pytest.fixture
def site(tmp_path: Path) -> Path:
    create_authority(tmp_path, "Test")
    issue(tmp_path, "server", application_uri="urn:test:server", hosts=[], days=400)
    return tmp_path


def told(site: Path, days: float = 0.0) -> list[str]:
    return [p.text for p in certificate_problems(site, datetime.now(UTC) + timedelta(days=days))]


@pytest.mark.parametrize(
    ("after_days", "expected"),
    [
        (0, ""),
        (400 - WARN_DAYS - 1, ""),
        (400 - WARN_DAYS + 1, f"own certificate server expires in {WARN_DAYS - 2} days, on "),
        (399.5, "own certificate server expires in 0 days, on "),
        (401, "own certificate server expired on "),
    ],
)
def test_what_expires_soon_is_told_with_its_remedy(site: Path, after_days: float, expected: str) -> None:
    found = told(site, after_days)
    assert [t.startswith(expected) for t in found] == ([True] if expected else [])
    assert all(t.endswith("; `ems certs renew server` renews it") for t in found)


def test_the_authority_and_peers_are_told_too(site: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    create_authority(other, "Other")
    scada = issue(other, "scada", application_uri="urn:scada", hosts=[], days=20)
    TrustList(site).trust_file(scada.certificate)
    (text,) = told(site)
    assert "trusted certificate scada expires in 19 days" in text
    assert text.endswith("its owner has to renew it (urn:scada)")
    assert any("issuer certificate Test authority expire" in t and "`ems certs renew ca`" in t for t in told(site, 3640))


def test_who_was_refused_is_nobodys_concern(site: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    create_authority(other, "Other")
    trust = TrustList(site)
    trust.trust_file(issue(other, "scada", application_uri="urn:scada", hosts=[], days=20).certificate)
    (info,) = (site / "certs" / "trusted").glob("*.der")
    trust.reject(info.name.partition("[")[2][:40])
    assert told(site) == []


def test_files_that_cannot_be_used_are_told(site: Path) -> None:
    (site / "certs" / "trusted" / "broken.der").write_bytes(b"x")
    (site / "certs" / "issuers" / "broken.crl").write_bytes(b"x")
    assert told(site) == [
        "certs/trusted/broken.der: not a certificate; it trusts nobody",
        "certs/issuers/broken.crl: the revocation list cannot be read, or a newer one is overdue",
    ]


def test_renewal_ends_the_warning(site: Path) -> None:
    issue(site, "server", application_uri="urn:test:server", hosts=[], days=10)
    assert len(told(site)) == 1
    renew(site, "server")
    renew_authority(site)
    assert told(site) == []


def test_the_watch_looks_now_and_then(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = CertificateWatch(site)
    assert watch.problems() == ()
    issue(site, "server", application_uri="urn:test:server", hosts=[], days=10)
    assert watch.problems() == (), "it has just looked"
    monkeypatch.setattr("server.runtime.certificate_watch.LOOK_EVERY_S", 0.0)
    assert [p.source for p in watch.problems()] == [SOURCE]
