"""A small HTTP server that stands in for llama-server, in a process of its own.

It does what the last message of a conversation names, and refuses whoever has not its key.
"""

import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


def value_of(flag: str) -> str:
    return sys.argv[sys.argv.index(flag) + 1]


def piece(text: str | None, reason: str | None = None) -> dict[str, Any]:
    return {"choices": [{"delta": {"content": text}, "finish_reason": reason}]}


class Handler(BaseHTTPRequestHandler):
    key = ""

    def reply(self, value: object, code: int = 200) -> None:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def event(self, value: object) -> None:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.wfile.write(b"data: " + data + b"\n\n")
        self.wfile.flush()

    def do_GET(self) -> None:
        self.reply({"status": "ok"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers["Authorization"] != "Bearer " + self.key:
            self.reply({"error": "no key"}, 401)
        elif self.path == "/apply-template":
            self.reply({"prompt": "P:" + body["messages"][-1]["content"]})
        elif self.path == "/tokenize":
            asked = (body["add_special"], body["parse_special"], len(body["content"]))
            self.reply({"tokens": [int(x) for x in asked]})
        elif self.path == "/completion":
            reversed_ids = body["prompt"][::-1][: body["n_predict"]]
            self.reply(b"<html>" if body["prompt"] == [0] else {"tokens": reversed_ids})
        elif self.path == "/v1/completions":
            assert body["cache_prompt"] is False
            self.completion(body["prompt"])
        else:
            assert body["temperature"] == 0
            what = body["messages"][-1]["content"]
            assert body["cache_prompt"] is (what == "warm")
            self.chat(what)

    def completion(self, ids: list[int]) -> None:
        self.send_response(200)
        self.end_headers()
        for number in ids:
            self.event({"choices": [{"text": f"{number} ", "finish_reason": None}]})
        self.event({"choices": [{"text": "", "finish_reason": "stop"}]})
        self.event({"choices": [], "usage": {"prompt_tokens": len(ids), "completion_tokens": 1}})
        self.event(b"[DONE]")

    def chat(self, what: str) -> None:
        if what == "refuse":
            self.reply({"error": {"message": "too long"}}, 400)
            return
        self.send_response(200)
        self.end_headers()
        time.sleep({"slow": 0.3, "silent": 60.0}.get(what, 0.0))
        self.event(piece(None))
        self.event(piece("one "))
        if what == "truncate":
            return
        if what == "die":
            os._exit(7)
        if what == "nonsense":
            self.event(b"{")
        if what == "error":
            self.event({"error": {"message": "out of memory"}})
        self.event(piece("two"))
        self.event(piece(None, "stop"))
        usage = {"prompt_tokens": 5, "completion_tokens": 2}
        clock = {"prompt_ms": 120.0, "predicted_ms": 80.0, "prompt_n": 5}
        self.event({"choices": [], "usage": usage, "timings": clock})
        self.event(b"[DONE]")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


def main() -> None:
    if "refused" in value_of("--model"):
        sys.exit("error: unknown model architecture")
    Handler.key = Path(value_of("--api-key-file")).read_text().strip()
    assert Handler.key not in sys.argv
    assert (value_of("--host"), value_of("--parallel")) == ("127.0.0.1", "1")
    server = ThreadingHTTPServer((value_of("--host"), int(value_of("--port"))), Handler)
    print(f"I srv llama_server: listening on http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
