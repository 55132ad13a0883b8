"""X.509 for one site: its own authority, the certificates it issues, and the list of peers it trusts.

certs/ca        the site's authority (key readable by its owner only)
certs/own       certificates of our own applications: server, panel, historian
certs/trusted   peers a person trusts, one DER file each
certs/issuers   authorities a person trusts, and their CRLs
certs/rejected  peers that tried and were refused; `ems certs trust` moves one to trusted
"""

from .authority import Paths, create_authority, issue
from .errors import CertificateError
from .own import load_own
from .trust import CertificateInfo, TrustList, list_certificates

__all__ = [
    "CertificateError",
    "CertificateInfo",
    "Paths",
    "TrustList",
    "create_authority",
    "issue",
    "list_certificates",
    "load_own",
]
