"""A server over HTTP that misbehaves in the way that its path names; prints its port first."""

import gzip
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

MEGABYTE = b"a" * 1024 * 1024
TOOL = {"name": "echo", "description": "Says it.", "inputSchema": {"type": "object"}}
LOGIN = {"token": "the token", "code": "the code"}


def answer(request: dict) -> dict:
    results = {
        "initialize": {
            "protocolVersion": "2025-06-18",
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "hostile", "version": "1"},
        },
        "tools/list": {"tools": [TOOL]},
        "tools/call": {"content": [{"type": "text", "text": "hello"}]},
    }
    if request["method"] not in results:
        error = {"code": -32601, "message": "Method not found"}
        return {"jsonrpc": "2.0", "id": request["id"], "error": error}
    return {"jsonrpc": "2.0", "id": request["id"], "result": results[request["method"]]}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def give(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content_Type": "application/json", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(self, *parts: bytes, kind: str = "text/event-stream") -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Connection", "close")
        self.end_headers()
        for part in parts:
            self.wfile.write(part)
        self.close_connection = True

    def do_DELETE(self) -> None:
        self.give(b"", 405)

    def do_GET(self) -> None:
        base = f"http://127.0.0.1:{self.server.server_port}"
        found = urlsplit(self.path)
        if found.path.startswith("/.well-known/oauth-protected-resource"):
            told = {"resource": f"{base}/login", "authorization_servers": [base]}
            self.give(json.dumps(told).encode())
        elif found.path.startswith("/.well-known/oauth-authorization-server"):
            told = {
                "issuer": base,
                "authorization_endpoint": f"{base}/authorize",
                "token_endpoint": f"{base}/token",
                "registration_endpoint": f"{base}/register",
                "response_types_supported": ["code"],
                "code_challenge_methods_supported": ["S256"],
            }
            self.give(json.dumps(told).encode())
        else:
            self.give(b"", 405)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        how = self.path.strip("/")
        if how == "register":
            client = {**json.loads(body), "client_id": "one", "client_id_issued_at": 1}
            self.give(json.dumps(client).encode(), 201)
            return
        if how == "token":
            right = parse_qs(body.decode()).get("code") == [LOGIN["code"]]
            told = {"access_token": LOGIN["token"], "token_type": "Bearer", "expires_in": 3600}
            self.give(
                json.dumps(told if right else {"error": "invalid_grant"}).encode(),
                200 if right else 400,
            )
            return
        if how == "login" and self.headers.get("Authorization") != f"Bearer {LOGIN['token']}":
            self.give(b"{}", 401, WWW_Authenticate="Bearer")
            return
        request = json.loads(body)
        if "id" not in request:
            self.give(b"", 202)
        elif request["method"] == "tools/call" or how.startswith("start-"):
            self.misbehave(how.removeprefix("start-"), request)
        else:
            self.give(json.dumps(answer(request)).encode())

    def misbehave(self, how: str, request: dict) -> None:  # noqa: C901 - a list of sins
        right = json.dumps(answer(request)).encode()
        match how:
            case "error-page":
                self.give(b"<h1>It works!</h1>", 500, Content_Type="text/html")
            case "no-json":
                self.give(b"{this is no json")
            case "large-reply":
                self.stream(b'{"a":"', *[MEGABYTE] * 100, b'"}', kind="application/json")
            case "large-event":
                self.stream(b"event: message\ndata: ", *[MEGABYTE] * 100, b"\n\n")
            case "bomb":
                self.give(gzip.compress(MEGABYTE * 100), Content_Encoding="gzip")
            case "other-kind":
                self.give(right, Content_Type="text/plain")
            case "accepted":
                self.give(b"", 202)
            case "elsewhere":
                self.give(b"", 307, Location="http://169.254.169.254/latest/meta-data")
            case "silent":
                time.sleep(600)
            case "hangs-up":
                self.close_connection = True
                self.connection.close()
            case "empty-stream":
                self.stream(b": nothing to see\n\n")
            case "wrong-id":
                self.give(json.dumps({**answer(request), "id": 999}).encode())
            case "stream":
                self.stream(b"event: message\ndata: ", right, b"\n\n")
            case _:
                self.give(right)


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
print(server.server_port, flush=True)
sys.stdout.close()
server.serve_forever()
