"""HTTPS to the server with certificates of no public authority: only those that the launch named are trusted."""

from __future__ import annotations

import hashlib
import http.server
import socketserver
import ssl
import subprocess
import threading

import pytest

from finetune_trainer.protocol.connection import Connection
from finetune_trainer.protocol.hub import HubFailure, hub_of
from finetune_trainer.protocol.tls import FINGERPRINT

EC = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


def openssl(*args: str) -> None:
    subprocess.run(["openssl", *args], check=True, capture_output=True)


def sha256(path) -> str:
    first = path.read_text().split("-----END")[0] + "-----END CERTIFICATE-----\n"
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(first)).hexdigest()


@pytest.fixture(scope="module")
def certs(tmp_path_factory):
    """An authority, and certificates of it for 127.0.0.1 and for another name."""
    at = tmp_path_factory.mktemp("certs")
    ca = ["-keyout", at / "ca.key", "-out", at / "ca.pem", "-subj", "/CN=Authority"]
    openssl("req", "-x509", *EC, *map(str, ca), "-days", "2", "-addext", "basicConstraints=critical,CA:TRUE")
    for name, san in (("here", "IP:127.0.0.1"), ("elsewhere", "DNS:elsewhere.example")):
        openssl("req", "-new", *EC, "-keyout", f"{at}/{name}.key", "-out", f"{at}/{name}.csr", "-subj", f"/CN={name}")
        (at / "ext").write_text(f"subjectAltName={san}\nbasicConstraints=CA:FALSE\n")
        signed = ["-CA", f"{at}/ca.pem", "-CAkey", f"{at}/ca.key", "-CAcreateserial", "-days", "2"]
        openssl("x509", "-req", "-in", f"{at}/{name}.csr", *signed, "-out", f"{at}/{name}.pem", "-extfile", f"{at}/ext")
        (at / f"{name}-chain.pem").write_text((at / f"{name}.pem").read_text() + (at / "ca.pem").read_text())
    return at


class Answer(http.server.BaseHTTPRequestHandler):
    """Answers `{}` and notes the token of each request."""

    def do_GET(self):
        self.server.tokens.append(self.headers["authorization"])
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def do_CONNECT(self):
        """As a forward proxy does: passes bytes on in both directions."""
        self.server.tokens.append(self.headers["proxy-authorization"])
        host, port = self.path.split(":")
        self.send_response(200)
        self.end_headers()
        with socketserver.socket.create_connection((host, int(port))) as there:
            back = threading.Thread(target=_copy, args=(there, self.connection), daemon=True)
            back.start()
            _copy(self.connection, there)
            back.join(2)
        self.close_connection = True

    def log_message(self, *args):
        pass


def _copy(source, target):
    try:
        while piece := source.recv(65536):
            target.sendall(piece)
        target.shutdown(1)
    except OSError:
        pass


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = allow_reuse_address = True

    def handle_error(self, request, client_address):
        pass  # a client that refuses the certificate ends the handshake


def serve(chain=None, key=None):
    server = Server(("127.0.0.1", 0), Answer)
    server.tokens = []
    if chain:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain, key)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server


@pytest.fixture
def home(request, certs):
    """The server with the certificate that the test names."""
    server = serve(certs / f"{request.param}.pem", certs / f"{request.param.removesuffix('-chain')}.key")
    yield server
    server.shutdown()
    server.server_close()


def ask(server, monkeypatch, pins: str | None):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv(FINGERPRINT, raising=False)
    if pins is not None:
        monkeypatch.setenv(FINGERPRINT, pins)
    connection = Connection(f"https://127.0.0.1:{server.server_address[1]}", "secret-token", timeout=10)
    try:
        return connection.json("GET", "/spec")
    finally:
        connection.close()


@pytest.mark.parametrize("home", ["here-chain"], indirect=True)
def test_an_authority_or_the_certificate_itself_can_be_named(home, certs, monkeypatch):
    ca, own = sha256(certs / "ca.pem"), sha256(certs / "here.pem")
    assert ask(home, monkeypatch, ca) == {}
    assert ask(home, monkeypatch, own) == {}
    printed = ":".join(own.upper()[i : i + 2] for i in range(0, 64, 2))
    assert ask(home, monkeypatch, f"{'0' * 64}, {printed}") == {}
    assert home.tokens == ["Bearer secret-token"] * 3


@pytest.mark.parametrize("home", ["here-chain"], indirect=True)
def test_without_a_fingerprint_or_with_another_nothing_is_sent(home, monkeypatch):
    with pytest.raises(OSError, match="self-signed certificate"):
        ask(home, monkeypatch, None)
    with pytest.raises(OSError, match="no certificate of 127.0.0.1"):
        ask(home, monkeypatch, "0" * 64)
    assert home.tokens == []


@pytest.mark.parametrize("home", ["elsewhere-chain"], indirect=True)
def test_an_authority_vouches_only_for_the_name_of_its_certificate(home, certs, monkeypatch):
    with pytest.raises(OSError, match="IP address mismatch"):
        ask(home, monkeypatch, sha256(certs / "ca.pem"))
    assert home.tokens == []
    # The certificate itself is exactly the one that was named, whatever name is in it.
    assert ask(home, monkeypatch, sha256(certs / "elsewhere.pem")) == {}


@pytest.mark.parametrize("home", ["here"], indirect=True)
def test_a_certificate_of_a_private_authority_is_trusted_by_itself(home, certs, monkeypatch):
    assert ask(home, monkeypatch, sha256(certs / "here.pem")) == {}
    with pytest.raises(OSError, match="no certificate of"):
        ask(home, monkeypatch, sha256(certs / "ca.pem"))  # the server does not send it


@pytest.mark.parametrize("home", ["here-chain"], indirect=True)
def test_requests_go_through_the_proxy_of_the_environment(home, certs, monkeypatch):
    proxy = serve()
    try:
        monkeypatch.setenv("https_proxy", f"http://user:pass%20word@127.0.0.1:{proxy.server_address[1]}")
        monkeypatch.setenv("no_proxy", "")
        monkeypatch.setenv(FINGERPRINT, sha256(certs / "ca.pem"))
        connection = Connection(f"https://127.0.0.1:{home.server_address[1]}", "secret-token", timeout=10)
        assert connection.json("GET", "/spec") == {}
        connection.close()
        assert set(proxy.tokens) == {"Basic dXNlcjpwYXNzIHdvcmQ="}
        assert home.tokens == ["Bearer secret-token"]
    finally:
        proxy.shutdown()
        proxy.server_close()


@pytest.mark.parametrize("home", ["here-chain"], indirect=True)
def test_the_hub_is_checked_by_authorities_of_the_machine_and_not_by_the_servers_fingerprint(
    home, certs, monkeypatch, tmp_path
):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv(FINGERPRINT, "0" * 64)
    hub = hub_of({"hub": {"url": f"https://127.0.0.1:{home.server_address[1]}/acme/small/resolve/{'0' * 40}/"}})
    file = {"path": "config.json", "size": 2, "sha256": hashlib.sha256(b"{}").hexdigest()}
    with pytest.raises(HubFailure, match="certificate verify failed"):
        hub.download(file, tmp_path / "part")
    monkeypatch.setenv("SSL_CERT_FILE", str(certs / "ca.pem"))
    hub.download(file, tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == b"{}"
    assert home.tokens == [None]
