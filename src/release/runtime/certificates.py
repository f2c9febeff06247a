"""Tells an OpenSSL that came with this Python where the host keeps the certificates that it trusts.

It was compiled for another machine and looks where that one had them. What the environment says already is left alone.
"""
import os

# Debian and Ubuntu; Red Hat and its family; the same, as a link that older ones lack; SUSE and Alpine.
FILES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
DIRECTORY = "/etc/ssl/certs"


def tell():
    if "SSL_CERT_FILE" in os.environ or "SSL_CERT_DIR" in os.environ:
        return
    for file in FILES:
        if os.path.isfile(file):
            os.environ["SSL_CERT_FILE"] = file
            break
    if os.path.isdir(DIRECTORY):
        os.environ["SSL_CERT_DIR"] = DIRECTORY


tell()
