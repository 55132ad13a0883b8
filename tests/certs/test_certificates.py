"""A site's authority issues, and its trust list believes exactly whom it should."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from certs import CertificateError, TrustList, create_authority, issue, list_certificates


@pytest.fixture
def site(tmp_path: Path) -> Path:
    create_authority(tmp_path, "Test site")
    return tmp_path


def self_signed(uri: str | None = "urn:peer", bits: int = 2048, start_h: int = -1, hours: int = 24) -> bytes:
    key = rsa.generate_private_key(65537, bits)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "../peer")])
    now = datetime.now(UTC) + timedelta(hours=start_h)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(hours=hours))
    builder = builder.add_extension(x509.KeyUsage(True, True, True, True, False, False, False, False, False), True)
    if uri:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def test_what_the_site_issues_is_trusted_and_carries_what_clients_check(site: Path) -> None:
    paths = issue(site, "server", application_uri="urn:site:server", hosts=["localhost", "127.0.0.1"])
    certificate = TrustList(site).check(paths.certificate.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["urn:site:server"]
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(a) for a in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    assert paths.chain.read_text().count("BEGIN CERTIFICATE") == 2


def test_keys_are_readable_by_their_owner_only(site: Path) -> None:
    paths = issue(site, "server", application_uri="urn:s", hosts=[])
    for key in (paths.key, site / "certs/ca/ca.key.pem"):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE((site / "certs/own").stat().st_mode) == 0o700


def test_an_authority_is_never_replaced(site: Path) -> None:
    with pytest.raises(CertificateError, match="has an authority already"):
        create_authority(site, "Test site")


@pytest.mark.parametrize(
    ("certificate", "reason"),
    [
        (self_signed(), "untrusted"),
        (self_signed(start_h=1), "not-yet-valid"),
        (self_signed(start_h=-25), "expired"),
        (self_signed(bits=1024), "weak-key"),
        (self_signed(uri=None), "usage"),
        (b"\x30\x82\xff\xffnonsense", "damaged"),
        (b"", "damaged"),
        (b"\x30" * 20_000, "damaged"),
    ],
    ids=["unknown", "from tomorrow", "of yesterday", "short key", "no ApplicationUri", "nonsense", "empty", "huge"],
)
def test_a_peer_is_refused_with_the_reason(site: Path, certificate: bytes, reason: str) -> None:
    with pytest.raises(CertificateError) as caught:
        TrustList(site).check(certificate)
    assert caught.value.reason == reason


def test_a_refused_peer_can_be_trusted_and_rejected_again(site: Path) -> None:
    trust, peer = TrustList(site), self_signed()
    with pytest.raises(CertificateError):
        trust.check(peer)
    (refused,) = [c for c in list_certificates(site) if c.state == "rejected"]
    assert refused.file.parent == site / "certs/rejected"
    trust.trust(refused.thumbprint[:8])
    assert trust.check(peer)
    trust.reject(refused.thumbprint)
    with pytest.raises(CertificateError, match="is not trusted"):
        trust.check(peer)


def test_a_chain_is_judged_by_its_first_certificate(site: Path) -> None:
    paths = issue(site, "panel", application_uri="urn:panel", hosts=[])
    chain = paths.certificate.read_bytes() + (site / "certs/ca/ca.der").read_bytes()
    assert TrustList(site).check(chain)


def test_another_sites_certificate_is_trusted_only_with_its_authority(site: Path, tmp_path_factory) -> None:
    other = tmp_path_factory.mktemp("other")
    create_authority(other, "Other site")
    foreign = issue(other, "scada", application_uri="urn:scada", hosts=[]).certificate.read_bytes()
    with pytest.raises(CertificateError, match="not trusted"):
        TrustList(site).check(foreign)
    TrustList(site).trust_file(other / "certs/ca/ca.pem")
    assert TrustList(site).check(foreign)


def test_an_authority_of_the_same_name_cannot_pass_for_the_sites_own(site: Path, tmp_path_factory) -> None:
    forger = tmp_path_factory.mktemp("forger")
    create_authority(forger, "Test site")
    forged = issue(forger, "server", application_uri="urn:site:server", hosts=[]).certificate.read_bytes()
    with pytest.raises(CertificateError, match="not trusted"):
        TrustList(site).check(forged)


def test_a_revoked_certificate_is_refused(site: Path) -> None:
    der = issue(site, "old", application_uri="urn:old", hosts=[]).certificate.read_bytes()
    key = serialization.load_pem_private_key((site / "certs/ca/ca.key.pem").read_bytes(), None)
    ca = x509.load_pem_x509_certificate((site / "certs/ca/ca.pem").read_bytes())
    now = datetime.now(UTC)
    gone = x509.RevokedCertificateBuilder(x509.load_der_x509_certificate(der).serial_number, now).build()
    crl = x509.CertificateRevocationListBuilder(ca.subject, now, now + timedelta(days=1), [], [gone]).sign(key, hashes.SHA256())
    (site / "certs/issuers/ca.crl").write_bytes(crl.public_bytes(serialization.Encoding.DER))
    with pytest.raises(CertificateError, match="revoked"):
        TrustList(site).check(der)


def test_the_rejected_folder_is_bounded(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("certs.trust.REJECTED_MAX", 2)
    for number in range(4):
        with pytest.raises(CertificateError):
            TrustList(site).check(self_signed(uri=f"urn:{number}"))
    assert len(list((site / "certs/rejected").glob("*.der"))) == 2
