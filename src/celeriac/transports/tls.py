"""What goes wrong with TLS, told with its cure."""

from __future__ import annotations

from typing import Final

_OTHER_NAME: Final = frozenset({62, 64})
"""OpenSSL's numbers for a certificate of another host, and of another address."""
_UNKNOWN_SIGNER: Final = frozenset({18, 19, 20, 21})


def explain(error: OSError, ca_option: str) -> str | None:
    """Return why a server is not talked to, and what to do; None for what is no matter of TLS.

    `ca_option`: how the URL names the file of trusted certificates.
    """
    import ssl  # OpenSSL: 3 ms and 4 MB that programs without it do not need

    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its TLS certificate is not accepted: {error.verify_message}; {_cure(error.verify_code, ca_option)}"
    if isinstance(error, ssl.SSLError) and error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
        return "it does not speak TLS on this port: correct the port, or the scheme of the URL"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or error}"
    return None


def _cure(code: int, ca_option: str) -> str:
    if code in _OTHER_NAME:
        return "write the name in the URL that the certificate bears, or have one made for the name in the URL"
    if code in _UNKNOWN_SIGNER:
        return f"give the certificate of whoever signed it as {ca_option}=/path/to/ca.pem in the URL"
    return "have the server's certificate renewed, and look at this machine's clock"
