"""X.509 for one site: its own authority, the certificates it issues, and the list of peers it trusts.

certs/ca        the site's authority (key readable by its owner only) and the list of what it revoked
certs/own       certificates of our own applications: server, panel, historian
certs/trusted   peers and authorities a person trusts, one DER file each, and revocation lists
certs/issuers   authorities that only complete chains, and revocation lists
certs/rejected  peers that tried and were refused; `ems certs trust` moves one to trusted
"""

from .authority import Paths, create_authority, issue, renew, renew_authority, revoke, revoke_certificate
from .certificate import CertificateInfo, damaged_files, list_certificates
from .chain import outdated_crls
from .errors import CertificateError
from .own import load_own
from .trust import TrustList

__all__ = [
    "CertificateError",
    "CertificateInfo",
    "Paths",
    "TrustList",
    "create_authority",
    "damaged_files",
    "issue",
    "list_certificates",
    "load_own",
    "outdated_crls",
    "renew",
    "renew_authority",
    "revoke",
    "revoke_certificate",
]
