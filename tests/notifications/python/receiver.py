"""A receiver of change notifications as its authors would write it: HTTPS, PyJWT for the tokens, cryptography for the rest.

It knows nothing of presenced but the address of its key set.
"""

import base64
import datetime
import hashlib
import hmac
import json
import os
import ssl
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, padding, serialization
from cryptography.hazmat.primitives.asymmetric import padding as rsa_padding
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.x509.oid import NameOID

PUBLISHER = "0bf30f3b-4a52-48df-9a82-234910c4a086"


class EncryptionKey:
    """A key pair for rich notifications, with the self-signed certificate a subscription is given."""

    def __init__(self, certificate_id):
        self.id = certificate_id
        self.private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, certificate_id)])
        start = datetime.datetime(2024, 1, 1)
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(name)
        builder = builder.public_key(self.private.public_key()).serial_number(1)
        builder = builder.not_valid_before(start).not_valid_after(start + datetime.timedelta(days=3650))
        self.certificate = builder.sign(self.private, hashes.SHA256())
        self.der = self.certificate.public_bytes(serialization.Encoding.DER)
        self.base64 = base64.b64encode(self.der).decode()

    def decrypt(self, content):
        """The plaintext of an encryptedContent; raises when anything about it is wrong."""
        assert content["encryptionCertificateId"] == self.id, content
        assert content["encryptionCertificateThumbprint"] == hashlib.sha1(self.der).hexdigest().upper()
        return decrypt(self.private, content)


def decrypt(private, content):
    """The plaintext of an encryptedContent, and the key that is its own; raises when anything about it is wrong."""
    oaep = rsa_padding.OAEP(mgf=rsa_padding.MGF1(hashes.SHA1()), algorithm=hashes.SHA1(), label=None)
    key = private.decrypt(base64.b64decode(content["dataKey"], validate=True), oaep)
    assert len(key) == 32
    data = base64.b64decode(content["data"], validate=True)
    signature = base64.b64encode(hmac.new(key, data, hashlib.sha256).digest()).decode()
    assert hmac.compare_digest(signature, content["dataSignature"]), "the signature is wrong"
    decryptor = Cipher(algorithms.AES(key), modes.CBC(key[:16])).decryptor()
    padded = decryptor.update(data) + decryptor.finalize()
    unpadder = padding.PKCS7(128).unpadder()
    return json.loads(unpadder.update(padded) + unpadder.finalize()), key


class Receiver:
    """An HTTPS server on a free port that keeps what it was sent."""

    def __init__(self, certificate, key):
        self.changes, self.lifecycle, self.validation_tokens, self.bodies = [], [], [], []
        self.grown = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_POST(self):
                query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if "validationToken" in query:
                    assert self.headers["Content-Type"] == "text/plain; charset=utf-8", self.headers
                    assert body == b"", body
                    return self.answer(200, query["validationToken"][0].encode(), "text/plain")
                assert self.headers["Content-Type"] == "application/json; charset=utf-8", self.headers
                receiver.take(json.loads(body))
                self.answer(202, b"", None)

            def answer(self, status, body, content_type):
                self.send_response(status)
                if content_type:
                    self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.minimum_version = ssl.TLSVersion.TLSv1_2
        tls.load_cert_chain(certificate, key)
        self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"https://localhost:{self.server.server_port}/notify"

    @classmethod
    def for_presenced(cls):
        """A receiver whose certificate presenced trusts: `presenced exec` provides one."""
        return cls(os.environ["PRESENCED_RECEIVER_CERTIFICATE"], os.environ["PRESENCED_RECEIVER_KEY"])

    def take(self, body):
        with self.grown:
            self.bodies.append(body)
            self.validation_tokens += body.get("validationTokens", [])
            for item in body["value"]:
                (self.lifecycle if "lifecycleEvent" in item else self.changes).append(item)
            self.grown.notify_all()

    def wait_for(self, count, what="changes"):
        """The first `count` items, as soon as they are there."""
        with self.grown:
            there = self.grown.wait_for(lambda: len(getattr(self, what)) >= count, timeout=60)
            assert there, f"{len(getattr(self, what))} of {count} {what} came"
            return list(getattr(self, what))


def validate(tokens, base_url, tenant, app):
    """Checks validation tokens as the documentation tells receivers to, against the server's own key set."""
    tls = ssl.create_default_context(cafile=os.environ["PRESENCED_CA"])
    keys = jwt.PyJWKClient(f"{base_url}/common/discovery/keys", ssl_context=tls)
    for token in tokens:
        claims = jwt.decode(
            token,
            keys.get_signing_key_from_jwt(token).key,
            algorithms=["RS256"],
            audience=app,
            issuer=f"{base_url}/{tenant}/v2.0",
            options={"require": ["exp", "iat", "nbf", "aud", "iss", "tid"]},
        )
        assert claims["appid"] == claims["azp"] == PUBLISHER, claims
        assert claims["tid"] == tenant, claims
