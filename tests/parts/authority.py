"""A timestamp authority on loopback for the tests: OpenSSL's `ts` behind the HTTP of RFC 3161.

usage: authority.py FOLDER [PORT]      (its keys, certificates and serial numbers are made there, unless they are there)

    POST /…   a TimeStampReq; the answer is whatever `openssl ts -reply` makes of it

Prints `ready PORT CA-FILE` on standard output once it answers. Standard library only.
"""

import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

EXTENSIONS = """
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
[tsa]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = critical, timeStamping
"""
AUTHORITY = """
[tsa]
serial = serial
signer_cert = tsa.pem
signer_key = tsa.key
signer_digest = sha256
ess_cert_id_alg = sha256
default_policy = 1.3.6.1.4.1.32473.1
digests = sha256
accuracy = secs:1
clock_precision_digits = 6
"""
# A question has some seventy bytes.
MAX_QUERY_BYTES = 4096

folder = Path(sys.argv[1]).absolute()
# OpenSSL counts serial numbers in a file, and not for two at a time.
one_at_a_time = threading.Lock()


def openssl(*arguments):
    ran = subprocess.run(["openssl", *map(str, arguments)], cwd=folder, capture_output=True, check=False)
    if ran.returncode != 0:
        raise RuntimeError(f"openssl {arguments[0]} failed:\n{ran.stderr.decode(errors='replace')}")


def certify(name, subject, issuer):
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", f"{name}.key")
    openssl("req", "-new", "-key", f"{name}.key", "-subj", subject, "-out", f"{name}.csr")
    by = ["-CA", f"{issuer}.pem", "-CAkey", f"{issuer}.key"] if issuer else ["-signkey", f"{name}.key"]
    openssl("x509", "-req", "-in", f"{name}.csr", "-days", 2, "-sha256", "-extfile", "extensions.cnf",
            "-extensions", name, *by, "-out", f"{name}.pem")


class Answers(BaseHTTPRequestHandler):
    def do_POST(self):
        length = int(self.headers.get("Content-Length", 0))
        if self.headers.get("Content-Type") != "application/timestamp-query" or length > MAX_QUERY_BYTES:
            self.send_error(415)
            return
        query = self.rfile.read(length)
        with one_at_a_time, tempfile.TemporaryDirectory(dir=folder) as room:
            Path(room, "query").write_bytes(query)
            openssl("ts", "-reply", "-config", "tsa.cnf", "-section", "tsa",
                    "-queryfile", f"{room}/query", "-out", f"{room}/reply")
            reply = Path(room, "reply").read_bytes()
        self.send_response(200)
        self.send_header("Content-Type", "application/timestamp-reply")
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)


if not (folder / "tsa.pem").exists():
    (folder / "extensions.cnf").write_text(EXTENSIONS)
    (folder / "tsa.cnf").write_text(AUTHORITY)
    (folder / "serial").write_text("01\n")
    certify("ca", "/O=Tests/CN=Root of the clock", None)
    certify("tsa", "/O=Tests/CN=Clock", "ca")
server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2]) if len(sys.argv) > 2 else 0), Answers)
print(f"ready {server.server_port} {folder / 'ca.pem'}", flush=True)
server.serve_forever()
