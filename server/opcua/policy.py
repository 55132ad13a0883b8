"""Security policies as rows of a table, and the symmetric sealing of chunks they share.

Every policy here signs symmetric chunks with HMAC-SHA256 and enciphers them with AES-CBC (Part 7, 6.6); they differ in the
RSA paddings, the AES key length and the URIs. Which of them a site offers, and in which modes, is a setting of the site.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from asyncua import ua
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

_BASE: Final = "http://opcfoundation.org/UA/SecurityPolicy#"
_OAEP_SHA1: Final = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)  # what the policy prescribes
_OAEP_SHA256: Final = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
_PSS_SHA256: Final = padding.PSS(padding.MGF1(hashes.SHA256()), 32)

MAC_SIZE: Final = 32
BLOCK_SIZE: Final = 16


@dataclass(frozen=True, slots=True)
class Policy:
    """One security policy of the RSA family (Part 7, 6.6.161 and following).

    encryption_overhead: bytes of an RSA block that the padding takes; cipher_key_size: AES key, bytes; level: preference
    among the endpoints that encrypt, higher is better.
    """

    uri: str
    signature_uri: str
    signature_padding: Any
    encryption_uri: str
    encryption_padding: Any
    encryption_overhead: int
    cipher_key_size: int
    level: int
    nonce_length: int = 32

    def security_level(self, mode: ua.MessageSecurityMode) -> int:
        """Preference among all endpoints: whatever encrypts is better than what only signs."""
        return self.level if mode == SIGN_AND_ENCRYPT else self.level - 10

    def sign(self, key: rsa.RSAPrivateKey, data: bytes) -> bytes:
        """The asymmetric signature over `data`."""
        return key.sign(data, self.signature_padding, hashes.SHA256())

    def verify(self, key: rsa.RSAPublicKey, data: bytes, signature: bytes) -> bool:
        """True when `signature` over `data` was made with the private half of `key`."""
        try:
            key.verify(signature, data, self.signature_padding, hashes.SHA256())
        except InvalidSignature:
            return False
        return True

    def encrypt(self, key: rsa.RSAPublicKey, data: bytes) -> bytes:
        """`data` in RSA blocks."""
        step = key.key_size // 8 - self.encryption_overhead
        return b"".join(key.encrypt(data[i : i + step], self.encryption_padding) for i in range(0, len(data), step))

    def decrypt(self, key: rsa.RSAPrivateKey, data: bytes, blocks_max: int) -> bytes:
        """The contents of RSA blocks. ValueError when they are damaged or more than `blocks_max`."""
        size = key.key_size // 8
        if not data or len(data) % size or len(data) > blocks_max * size:
            raise ValueError(f"{len(data)} bytes are not 1 to {blocks_max} RSA blocks of {size}")
        return b"".join(key.decrypt(data[i : i + size], self.encryption_padding) for i in range(0, len(data), size))

    def derive(self, secret: bytes, seed: bytes, mode: ua.MessageSecurityMode) -> Keys:
        """The keys of one direction from the two nonces (Part 6, 6.7.5)."""
        size = self.cipher_key_size
        material = _p_sha256(secret, seed, MAC_SIZE + size + BLOCK_SIZE)
        if mode == ua.MessageSecurityMode.Sign:
            return Keys(material[:MAC_SIZE])
        return CipherKeys(material[:MAC_SIZE], material[MAC_SIZE : MAC_SIZE + size], material[MAC_SIZE + size :])


_RSA_SHA256_URI: Final = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
_OAEP_URI: Final = "http://www.w3.org/2001/04/xmlenc#rsa-oaep"

BASIC256SHA256: Final = Policy(
    _BASE + "Basic256Sha256", _RSA_SHA256_URI, padding.PKCS1v15(), _OAEP_URI, _OAEP_SHA1, 42, 32, level=20
)
AES128_SHA256_RSAOAEP: Final = Policy(
    _BASE + "Aes128_Sha256_RsaOaep", _RSA_SHA256_URI, padding.PKCS1v15(), _OAEP_URI, _OAEP_SHA1, 42, 16, level=21
)
AES256_SHA256_RSAPSS: Final = Policy(
    _BASE + "Aes256_Sha256_RsaPss",
    "http://opcfoundation.org/UA/security/rsa-pss-sha2-256",
    _PSS_SHA256,
    "http://opcfoundation.org/UA/security/rsa-oaep-sha2-256",
    _OAEP_SHA256,
    66,
    32,
    level=22,
)

NONE_URI: Final = _BASE + "None"

SIGN: Final = ua.MessageSecurityMode.Sign
SIGN_AND_ENCRYPT: Final = ua.MessageSecurityMode.SignAndEncrypt
POLICIES: Final = {p.uri.rpartition("#")[2]: p for p in (AES256_SHA256_RSAPSS, AES128_SHA256_RSAOAEP, BASIC256SHA256)}
MODES: Final = {mode.name: mode for mode in (SIGN_AND_ENCRYPT, SIGN)}

Offer: TypeAlias = tuple[tuple[Policy, ua.MessageSecurityMode], ...]
"""What a session may run over, best first. Each row becomes an endpoint."""


def offer(policies: Iterable[str] = tuple(POLICIES), modes: Iterable[str] = tuple(MODES)) -> Offer:
    """Every combination of these, by name; all there are when nothing is said."""
    wanted = [m for name, m in MODES.items() if name in modes]
    return tuple((p, mode) for mode in wanted for name, p in POLICIES.items() if name in policies)


def offered(offer: Offer, uri: str | None, mode: ua.MessageSecurityMode) -> Policy | None:
    """The policy of an offered pair of policy and mode, or None."""
    return next((p for p, m in offer if p.uri == uri and m == mode), None)


def by_uri(offer: Offer, uri: str | None) -> Policy | None:
    """An offered policy in whatever mode, or None."""
    return next((p for p, _ in offer if p.uri == uri), None)


class Keys:
    """Keys of one direction of a channel that signs: a chunk ends with the MAC of all before it."""

    __slots__ = ("_mac_key",)
    padded = False
    """True when what follows the clear bytes of a chunk is padded to whole blocks, its MAC included."""

    def __init__(self, mac_key: bytes) -> None:
        self._mac_key = mac_key

    def seal(self, chunk: bytearray, size: int, clear: int) -> None:
        """Write the MAC into the last bytes before `size`, and encipher `chunk[clear:size]` in place where the mode says so.

        The caller leaves BLOCK_SIZE bytes of room after `size`, which the cipher interface asks for and does not use.
        """
        view = memoryview(chunk)
        end = size - MAC_SIZE
        view[end:size] = hmac.digest(self._mac_key, view[:end], "sha256")

    def unseal(self, chunk: bytes, clear: int) -> bytes | None:
        """The plain bytes between `clear` and the MAC, padding included; None when the MAC does not fit."""
        return self._verified(chunk[:clear], chunk[clear:])

    def _verified(self, head: bytes, plain: bytes) -> bytes | None:
        end = len(plain) - MAC_SIZE
        if end <= 0:
            return None
        expected = hmac.digest(self._mac_key, head + plain[:end], "sha256")
        return plain[:end] if hmac.compare_digest(expected, plain[end:]) else None


class CipherKeys(Keys):
    """Keys of one direction of a channel that signs and enciphers."""

    __slots__ = ("_cipher",)
    padded = True

    def __init__(self, mac_key: bytes, cipher_key: bytes, initialisation: bytes) -> None:
        super().__init__(mac_key)
        self._cipher = Cipher(algorithms.AES(cipher_key), modes.CBC(initialisation))

    def seal(self, chunk: bytearray, size: int, clear: int) -> None:
        """Append the MAC, then encipher."""
        super().seal(chunk, size, clear)
        view = memoryview(chunk)
        self._cipher.encryptor().update_into(view[clear:size], view[clear:])

    def unseal(self, chunk: bytes, clear: int) -> bytes | None:
        """Decipher, then verify."""
        if (len(chunk) - clear) % BLOCK_SIZE:
            return None
        return self._verified(chunk[:clear], self._cipher.decryptor().update(memoryview(chunk)[clear:]))


def _p_sha256(secret: bytes, seed: bytes, size: int) -> bytes:
    """The pseudo-random function P_SHA256 of TLS 1.2 (RFC 5246, 5)."""
    result = b""
    link = seed
    while len(result) < size:
        link = hmac.digest(secret, link, "sha256")
        result += hmac.digest(secret, link + seed, "sha256")
    return result[:size]
