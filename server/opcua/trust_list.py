"""The trust list as a file that clients read and write (Part 12, 7.8.2; Part 20): one snapshot for each open handle.

Only who opened a file uses its handle; it is closed with his session. There may be several readers or one writer. What was
written counts as a whole, when CloseAndUpdate has checked all of it. The site's own authority is not part of the list: no
client can make the site distrust itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from asyncua import ua
from asyncua.ua.ua_binary import struct_to_binary
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from certs import CertificateError, TrustList
from certs.certificate import check_key, is_authority, parse, readable, thumbprint
from certs.chain import parse_crl, read_crl
from certs.files import write_atomically

from .decode import DecodeError, Reader, struct_decoder
from .metadata import Refused

if TYPE_CHECKING:
    from .session import Session

SIZE_MAX: Final = 1 << 20
HANDLES_MAX: Final = 8
READ, WRITE = 1, 2 | 4
"""OpenFileMode bits (Part 20, 4.2.1): read; write and erase what is there. Nothing else makes sense for a trust list."""
_CODES: Final = ua.StatusCodes
_MASKS: Final = ua.TrustListMasks
_DECODE: Final = struct_decoder(ua.TrustListDataType)
_FOLDERS: Final = (
    ("trusted", _MASKS.TrustedCertificates, "TrustedCertificates", _MASKS.TrustedCrls, "TrustedCrls"),
    ("issuers", _MASKS.IssuerCertificates, "IssuerCertificates", _MASKS.IssuerCrls, "IssuerCrls"),
)
_OF_CERTIFICATES: Final = (_MASKS.TrustedCertificates, _MASKS.IssuerCertificates)


@dataclass(eq=False)
class _Open:
    """An open file."""

    session: Session
    writing: bool
    content: bytearray
    position: int = 0


class TrustListFile:
    """The trust list of one server as a file."""

    def __init__(self, trust: TrustList) -> None:
        self._trust = trust
        self._open: dict[int, _Open] = {}
        self._last = 0

    @property
    def open_count(self) -> int:
        """Handles in use."""
        return len(self._open)

    def open(self, session: Session, mode: int, masks: int = int(_MASKS.All)) -> int:
        """A handle. Refused for another mode, and while others stand in the way."""
        if mode not in (READ, WRITE):
            raise Refused(int(_CODES.BadInvalidArgument))
        writing = mode == WRITE
        if any(o.writing for o in self._open.values()) or (writing and self._open):
            raise Refused(int(_CODES.BadNotWritable if writing else _CODES.BadNotReadable))
        if len(self._open) >= HANDLES_MAX:
            raise Refused(int(_CODES.BadResourceUnavailable))
        content = bytearray() if writing else bytearray(struct_to_binary(snapshot(self._trust.folder, masks)))
        self._last += 1
        self._open[self._last] = _Open(session, writing, content)
        session.on_close.append(lambda *_: self._drop(session))
        return self._last

    def close(self, session: Session, handle: int) -> None:
        """Close a file; what was written is forgotten."""
        self._of(session, handle)
        del self._open[handle]

    def read(self, session: Session, handle: int, length: int) -> bytes:
        """The next bytes. Refused BadInvalidArgument for a negative length."""
        file = self._of(session, handle)
        if file.writing or length < 0:
            raise Refused(int(_CODES.BadInvalidState if file.writing else _CODES.BadInvalidArgument))
        part = bytes(file.content[file.position : file.position + length])
        file.position += len(part)
        return part

    def write(self, session: Session, handle: int, data: bytes) -> None:
        """Put bytes at the position. Refused BadEncodingLimitsExceeded beyond SIZE_MAX."""
        file = self._of(session, handle)
        if not file.writing:
            raise Refused(int(_CODES.BadNotWritable))
        if file.position + len(data) > SIZE_MAX:
            raise Refused(int(_CODES.BadEncodingLimitsExceeded))
        file.content[file.position : file.position + len(data)] = data
        file.position += len(data)

    def position(self, session: Session, handle: int) -> int:
        """Where the next byte is read or written."""
        return self._of(session, handle).position

    def seek(self, session: Session, handle: int, position: int) -> None:
        """Go on elsewhere; beyond the end means at the end."""
        file = self._of(session, handle)
        file.position = min(position, len(file.content))

    def update(self, session: Session, handle: int) -> None:
        """Close a file that was written, and let its content count. Refused with what is wrong with it; then nothing changed."""
        file = self._of(session, handle)
        if not file.writing:
            raise Refused(int(_CODES.BadInvalidState))
        del self._open[handle]
        apply(self._trust, bytes(file.content))

    def add(self, der: bytes, *, trusted: bool) -> None:
        """Trust a certificate; or with trusted False take it for an authority that completes chains."""
        self._check_nobody_writes()
        certificate = _certificate(der)
        if not trusted and not is_authority(certificate):
            raise Refused(int(_CODES.BadCertificateInvalid))
        self._trust.keep(certificate, "trusted" if trusted else "issuers")

    def remove(self, mark: str, *, trusted: bool) -> None:
        """Take a certificate away, by its whole thumbprint; with an authority its revocation lists go too."""
        self._check_nobody_writes()
        folder = self._trust.folder / ("trusted" if trusted else "issuers")
        for file, certificate in readable(folder):
            if thumbprint(certificate) == mark.lower():
                for crl in [
                    f for f in folder.glob("*.crl") if read_crl(f).issuer == certificate.subject and is_authority(certificate)
                ]:
                    crl.unlink()
                file.unlink()
                return
        raise Refused(int(_CODES.BadInvalidArgument))

    def size(self) -> int:
        """Bytes of the list as it is now."""
        return len(struct_to_binary(snapshot(self._trust.folder)))

    def _of(self, session: Session, handle: int) -> _Open:
        file = self._open.get(handle)
        if file is None or file.session is not session:
            raise Refused(int(_CODES.BadInvalidArgument))
        return file

    def _drop(self, session: Session) -> None:
        self._open = {h: o for h, o in self._open.items() if o.session is not session}

    def _check_nobody_writes(self) -> None:
        if any(o.writing for o in self._open.values()):
            raise Refused(int(_CODES.BadInvalidState))


def snapshot(certs: Path, masks: int = int(_MASKS.All)) -> ua.TrustListDataType:
    """The trust list as it is, with the parts that the mask names."""
    found = ua.TrustListDataType(SpecifiedLists=ua.UInt32(masks))
    for folder, of_certificates, certificates, of_crls, crls in _FOLDERS:
        if masks & of_certificates:
            setattr(found, certificates, [c.public_bytes(Encoding.DER) for _, c in readable(certs / folder)])
        if masks & of_crls:
            lists = (read_crl(f) for f in sorted((certs / folder).glob("*.crl")))
            setattr(found, crls, [c.public_bytes(Encoding.DER) for c in lists])
    return found


def apply(trust: TrustList, content: bytes) -> None:
    """Make the lists that `content` specifies what it says. Refused BadCertificateInvalid or BadDecodingError before anything."""
    reader = Reader(content)
    try:
        wanted: Any = _DECODE(reader)
    except DecodeError as error:
        raise Refused(int(_CODES.BadDecodingError)) from error
    lists: dict[tuple[str, int], list[Any]] = {
        (folder, mask): [read(der or b"") for der in getattr(wanted, name) or ()]
        for folder, *parts in _FOLDERS
        for mask, name, read in zip(parts[::2], parts[1::2], (_certificate, _crl), strict=True)
    }
    if not all(is_authority(c) for c in lists["issuers", _MASKS.IssuerCertificates]):
        raise Refused(int(_CODES.BadCertificateInvalid))
    for (folder, mask), content_of_list in lists.items():
        if wanted.SpecifiedLists & mask:
            replace = _replace_certificates if mask in _OF_CERTIFICATES else _replace_crls
            replace(trust, folder, content_of_list)


def _replace_certificates(trust: TrustList, folder: str, wanted: list[Any]) -> None:
    """New ones first, so that nobody who stays trusted is refused meanwhile."""
    kept = {trust.keep(certificate, folder) for certificate in wanted}
    for file in set((trust.folder / folder).glob("*.der")) - kept:
        file.unlink()


def _replace_crls(trust: TrustList, name: str, wanted: list[Any]) -> None:
    folder = trust.folder / name
    kept = {folder / f"{crl.fingerprint(hashes.SHA256()).hex()[:40]}.crl": crl for crl in wanted}
    for file, crl in kept.items():
        write_atomically(file, crl.public_bytes(Encoding.DER))
    for file in set(folder.glob("*.crl")) - set(kept):
        file.unlink()


def _certificate(der: bytes) -> x509.Certificate:
    try:
        certificate = parse(der)
        check_key(certificate)
    except CertificateError as error:
        raise Refused(int(_CODES.BadCertificateInvalid)) from error
    return certificate


def _crl(der: bytes) -> x509.CertificateRevocationList:
    try:
        return parse_crl(der)
    except CertificateError as error:
        raise Refused(int(_CODES.BadCertificateInvalid)) from error
