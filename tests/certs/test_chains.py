"""Chains, revocation lists, renewal: whom the site believes when there is more than one authority between them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certs import (
    CertificateError,
    TrustList,
    create_authority,
    damaged_files,
    issue,
    list_certificates,
    load_own,
    outdated_crls,
    renew,
    renew_authority,
    revoke,
)
from certs.certificate import hosts, parse
from certs.own import install, keep_key, next_key

DER = serialization.Encoding.DER
NOW = datetime.now(UTC)


class Holder(NamedTuple):
    """A certificate with its key."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(DER)


def made(
    name: str,
    by: Holder | None = None,
    *,
    authority: bool = False,
    path_length: int | None = None,
    days: int = 10,
    signs: bool = True,
    purposes: tuple[x509.ObjectIdentifier, ...] = (),
    uri: str = "urn:peer",
) -> Holder:
    """A certificate issued by `by`, or self-signed."""
    key = rsa.generate_private_key(65537, 2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer, signer = (by.certificate.subject, by.key) if by is not None else (subject, key)
    begin = NOW - timedelta(days=20)
    builder = x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(begin).not_valid_after(begin + timedelta(days=20 + days))
    builder = builder.add_extension(x509.BasicConstraints(authority, path_length if authority else None), True)
    enciphers = not authority
    usage = x509.KeyUsage(True, False, enciphers, enciphers, False, authority and signs, authority and signs, False, False)
    builder = builder.add_extension(usage, True)
    if purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), False)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), False)
    return Holder(builder.sign(signer, hashes.SHA256()), key)


def crl(by: Holder, *gone: Holder, days: int = 10, signer: Holder | None = None) -> bytes:
    """A revocation list of `by`."""
    rows = [x509.RevokedCertificateBuilder(h.certificate.serial_number, NOW).build() for h in gone]
    begin = NOW - timedelta(days=20)
    builder = x509.CertificateRevocationListBuilder(by.certificate.subject, begin, begin + timedelta(days=20 + days), [], rows)
    return builder.sign((signer or by).key, hashes.SHA256()).public_bytes(DER)


ROOT = made("root", authority=True)
MIDDLE = made("middle", ROOT, authority=True, path_length=0)
LEAF = made("leaf", MIDDLE)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    create_authority(tmp_path, "Test site")
    return tmp_path


def put(site: Path, folder: str, *holders: Holder) -> None:
    for holder in holders:
        TrustList(site).keep(holder.certificate, folder)


def reason(site: Path, der: bytes, **options: bool) -> str:
    """Why a certificate is refused; empty when it is trusted."""
    try:
        TrustList(site).check(der, **options)
    except CertificateError as error:
        return error.reason
    return ""


@pytest.mark.parametrize(
    ("trusted", "issuers", "sent", "expected"),
    [
        ([], [], [], "untrusted"),
        ([LEAF], [], [], ""),
        ([MIDDLE], [], [], ""),
        ([ROOT], [MIDDLE], [], ""),
        ([ROOT], [], [MIDDLE], ""),
        ([ROOT], [], [], "untrusted"),
        ([], [ROOT, MIDDLE], [], "untrusted"),
        ([], [ROOT], [MIDDLE], "untrusted"),
        ([], [], [MIDDLE, ROOT], "untrusted"),
    ],
    ids=[
        "nobody known",
        "itself trusted",
        "its issuer trusted",
        "root trusted, the link known",
        "root trusted, the link sent along",
        "root trusted, the link missing",
        "issuers alone trust nobody",
        "nor with what is sent along",
        "what is sent along trusts nobody",
    ],
)
def test_a_chain_must_lead_to_somebody_trusted(
    site: Path, trusted: list[Holder], issuers: list[Holder], sent: list[Holder], expected: str
) -> None:
    put(site, "trusted", *trusted)
    put(site, "issuers", *issuers)
    assert reason(site, LEAF.der + b"".join(h.der for h in sent)) == expected


def test_an_authority_may_issue_only_as_its_certificate_says(site: Path) -> None:
    put(site, "trusted", ROOT)
    too_deep = made("deep", MIDDLE, authority=True)
    no_authority = made("plain", ROOT)
    no_signer = made("mute", ROOT, authority=True, signs=False)
    expired = made("old", ROOT, authority=True, days=-1)
    put(site, "issuers", MIDDLE, too_deep, no_authority, no_signer, expired)
    assert reason(site, made("x", too_deep).der) == "untrusted"
    assert reason(site, made("x", no_authority).der) == "untrusted"
    assert reason(site, made("x", no_signer).der) == "untrusted"
    assert reason(site, made("x", expired).der) == "expired"
    assert reason(site, made("x", MIDDLE).der) == ""


def test_a_ring_of_issuers_ends(site: Path) -> None:
    first = made("a", authority=True)
    second = made("b", first, authority=True)
    ring = Holder(
        x509.CertificateBuilder(
            second.certificate.subject,
            first.certificate.subject,
            first.key.public_key(),
            5,
            NOW - timedelta(1),
            NOW + timedelta(1),
        )
        .add_extension(x509.BasicConstraints(True, None), True)
        .add_extension(x509.KeyUsage(True, False, False, False, False, True, True, False, False), True)
        .sign(second.key, hashes.SHA256()),
        first.key,
    )
    put(site, "issuers", second, ring)
    assert reason(site, made("x", ring).der) == "untrusted"


@pytest.mark.parametrize("folder", ["trusted", "issuers", "ca"])
def test_a_revoked_link_breaks_the_chain_wherever_the_list_lies(site: Path, folder: str) -> None:
    put(site, "trusted", ROOT)
    put(site, "issuers", MIDDLE)
    (site / "certs" / folder / "root.crl").write_bytes(crl(ROOT, MIDDLE))
    assert reason(site, LEAF.der) == "revoked"


def test_a_list_somebody_else_signed_revokes_nobody(site: Path) -> None:
    put(site, "trusted", MIDDLE)
    (site / "certs" / "trusted" / "forged.crl").write_bytes(crl(MIDDLE, LEAF, signer=ROOT))
    assert reason(site, LEAF.der) == ""
    (site / "certs" / "trusted" / "real.crl").write_bytes(crl(MIDDLE, LEAF))
    assert reason(site, LEAF.der) == "revoked"


def test_lists_that_are_old_or_damaged_are_told(site: Path) -> None:
    assert outdated_crls(site) == []
    old, damaged = site / "certs" / "trusted" / "old.crl", site / "certs" / "issuers" / "x.crl"
    old.write_bytes(crl(ROOT, days=-1))
    damaged.write_bytes(b"nonsense")
    assert outdated_crls(site) == [old, damaged]
    assert reason(site, LEAF.der) == "damaged", "nobody knows whom it revoked"


def test_a_damaged_certificate_trusts_nobody_and_keeps_nobody_out(site: Path) -> None:
    put(site, "trusted", LEAF)
    (site / "certs" / "trusted" / "broken.der").write_bytes(b"\x30\x03junk")
    assert damaged_files(site) == [site / "certs" / "trusted" / "broken.der"]
    assert reason(site, LEAF.der) == ""
    assert "leaf" in [c.common_name for c in list_certificates(site)]


@pytest.mark.parametrize(
    ("purposes", "expected"),
    [
        ((), ""),
        ((ExtendedKeyUsageOID.CLIENT_AUTH,), ""),
        ((ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH), ""),
        ((ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,), ""),
        ((ExtendedKeyUsageOID.SERVER_AUTH,), "usage"),
        ((ExtendedKeyUsageOID.CODE_SIGNING,), "usage"),
    ],
)
def test_a_client_must_have_a_certificate_for_clients(
    site: Path, purposes: tuple[x509.ObjectIdentifier, ...], expected: str
) -> None:
    put(site, "trusted", ROOT)
    assert reason(site, made("client", ROOT, purposes=purposes).der) == expected


def test_a_persons_certificate_needs_no_application_uri(site: Path) -> None:
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Anna")])
    usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 7, NOW - timedelta(1), NOW + timedelta(1))
    person = Holder(builder.add_extension(usage, True).sign(key, hashes.SHA256()), key)
    put(site, "trusted", person)
    assert reason(site, person.der, application=False) == ""
    assert reason(site, person.der) == "usage"


def test_clocks_that_differ_are_named(site: Path) -> None:
    with pytest.raises(
        CertificateError, match=r"is valid from .* UTC and here it is .* UTC: compare the clocks of both machines"
    ):
        TrustList(site).check(LEAF.der, now=NOW - timedelta(days=30))


# Renewal and revocation of our own.


def test_renewal_keeps_name_uri_and_hosts_and_makes_a_new_key(site: Path) -> None:
    issue(site, "server", application_uri="urn:site", hosts=["ems.example", "10.0.0.5"], days=5)
    before, old_key = load_own(site, "server")
    renew(site, "server", days=100)
    after, key = load_own(site, "server")
    assert key.public_key() != old_key.public_key()
    assert hosts(parse(after)) == ["ems.example", "10.0.0.5"]
    (info,) = [c for c in list_certificates(site) if c.state == "own"]
    assert (info.common_name, info.application_uri, info.days_left()) == ("server", "urn:site", 99)
    assert reason(site, after) == reason(site, before) == "", "the old one stays valid until it is revoked"


def test_a_certificate_whose_key_is_gone_replaces_nothing(site: Path) -> None:
    issue(site, "server", application_uri="urn:site", hosts=[])
    before = load_own(site, "server")[0]
    with pytest.raises(CertificateError, match="not here any more"):
        install(site, "server", [made("server").certificate])
    assert load_own(site, "server")[0] == before


def test_a_renewal_that_is_cut_off_leaves_a_key_that_fits(site: Path) -> None:
    issue(site, "server", application_uri="urn:site", hosts=[])
    before, _ = load_own(site, "server")
    waiting = rsa.generate_private_key(65537, 2048)
    keep_key(site, "server", waiting)
    assert load_own(site, "server")[0] == before, "cut off before the certificate was replaced"

    paths = issue(site, "server", application_uri="urn:site", hosts=[])
    paths.key.rename(next_key(site, "server"))
    keep = load_own(site, "server")
    assert keep[1].public_key() == parse(keep[0]).public_key(), "cut off before the key was replaced"


def test_a_key_that_does_not_fit_is_told(site: Path) -> None:
    paths = issue(site, "server", application_uri="urn:site", hosts=[])
    other = issue(site, "other", application_uri="urn:other", hosts=[])
    paths.key.write_bytes(other.key.read_bytes())
    with pytest.raises(CertificateError, match=r"the key is not that of server\.der; `ems certs renew server`"):
        load_own(site, "server")


def test_what_is_not_ours_is_not_renewed(site: Path) -> None:
    with pytest.raises(CertificateError, match="the site has no certificate of this name; it has none"):
        renew(site, "server")
    paths = issue(site, "server", application_uri="urn:site", hosts=[])
    paths.certificate.write_bytes(LEAF.der)
    with pytest.raises(CertificateError, match="was issued by CN=middle, which has to renew it"):
        renew(site, "server")


def test_a_revoked_certificate_is_refused_and_earlier_revocations_stay(site: Path) -> None:
    first = issue(site, "one", application_uri="urn:one", hosts=[]).certificate.read_bytes()
    second = issue(site, "two", application_uri="urn:two", hosts=[]).certificate.read_bytes()
    marks = {c.common_name: c.thumbprint for c in list_certificates(site)}
    assert reason(site, first) == ""
    revoke(site, marks["one"][:10])
    assert (reason(site, first), reason(site, second)) == ("revoked", "")
    revoke(site, marks["two"])
    assert (reason(site, first), reason(site, second)) == ("revoked", "revoked")


@pytest.mark.parametrize("mark", ["", "abc", "0000000000"])
def test_nobody_is_revoked_by_accident(site: Path, mark: str) -> None:
    issue(site, "one", application_uri="urn:one", hosts=[])
    with pytest.raises(CertificateError, match="certificates of the site's authority begin so"):
        revoke(site, mark)


def test_the_authority_is_renewed_and_what_it_issued_stays_valid(site: Path) -> None:
    issued = issue(site, "server", application_uri="urn:site", hosts=[]).certificate.read_bytes()
    before = (site / "certs/ca/ca.der").read_bytes()
    renew_authority(site)
    assert (site / "certs/ca/ca.der").read_bytes() != before
    assert reason(site, issued) == ""
    assert reason(site, issue(site, "panel", application_uri="urn:panel", hosts=[]).certificate.read_bytes()) == ""
