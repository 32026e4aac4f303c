"""Peers that fail in one way each.

bad.py serve WAY PORT          silent: says nothing; banner: speaks first, as SSH does; reset, close: after the hello;
                               cut: resets in the middle of an answer over TLS; slow: never ends such an answer
bad.py call WAY PORT NAME      nothing: sends nothing; half: half a hello; gone: half a hello and a close; header: a
                               PROXY header before the hello; large: a hello of more than 64 KiB; reset: resets in the middle of the
                               answer; wait: waits for more once it has it; both: a second
                               connection beside that
"""
import socket
import ssl
import struct
import sys
import threading
import time

PATIENCE = 8


def reset(stream):
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.close()


def over_tls(raw):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain("server.pem", "server.key")
    stream = context.wrap_socket(raw, server_side=True)
    stream.recv(4096)
    stream.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n" + b"x" * 5000)
    return stream


def serve_one(way, raw):
    raw.settimeout(PATIENCE)
    try:
        if way == "banner":
            raw.sendall(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n")
        if way in ("reset", "close"):
            raw.recv(4096)
        if way == "reset":
            return reset(raw)
        if way in ("cut", "slow"):
            raw = over_tls(raw)
        if way == "cut":
            time.sleep(0.2)
            return reset(raw)
        if way != "close":
            while raw.recv(4096):
                pass
    except OSError:
        pass
    raw.close()


def serve(way, port):
    listener = socket.create_server(("127.0.0.1", port))
    while True:
        raw, _ = listener.accept()
        threading.Thread(target=serve_one, args=(way, raw), daemon=True).start()


def hello(name, protocols=()):
    context = ssl.create_default_context()
    if protocols:
        context.set_alpn_protocols(protocols)
    out = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=name)
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return out.read()


def large_hello(name):
    """A hello of more than 64 KiB: an extension that nobody knows fills it to the last byte that its length can say."""
    message = bytearray(hello(name)[5:])
    at = 4 + 2 + 32
    at += 1 + message[at]
    at += 2 + int.from_bytes(message[at : at + 2], "big")
    at += 1 + message[at]
    rest = 65535 - (len(message) - at - 2) - 4
    message[at : at + 2] = b"\xff\xff"
    message += struct.pack("!HH", 0xFAFA, rest) + bytes(rest)
    message[1:4] = (len(message) - 4).to_bytes(3, "big")
    parts = [message[n : n + 16000] for n in range(0, len(message), 16000)]
    return b"".join(b"\x16\x03\x01" + struct.pack("!H", len(part)) + part for part in parts)


def ask(port, name):
    context = ssl.create_default_context(cafile="ca.pem")
    raw = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    stream = context.wrap_socket(raw, server_hostname=name)
    stream.sendall(f"GET /keep HTTP/1.1\r\nhost: {name}\r\n\r\n".encode())
    stream.recv(4096)
    return stream


def call(way, port, name):
    if way in ("reset", "wait", "both"):
        first = stream = ask(port, name)
        if way == "reset":
            return reset(stream)
        if way == "both":
            said = hello(name)
            stream = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
            stream.sendall(said)
        while stream.recv(4096):
            pass
        stream.close()
        return first.close()
    said = {
        "nothing": lambda: b"",
        "half": lambda: hello(name)[:100],
        "gone": lambda: hello(name)[:100],
        "header": lambda: b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + hello(name),
        "large": lambda: large_hello(name),
    }[way]()
    raw = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    raw.sendall(said)
    if way == "gone":
        time.sleep(0.1)
        return raw.close()
    try:
        while raw.recv(4096):
            pass
    except OSError:
        pass
    raw.close()


if sys.argv[1] == "serve":
    serve(sys.argv[2], int(sys.argv[3]))
else:
    try:
        call(sys.argv[2], int(sys.argv[3]), sys.argv[4])
    except OSError as error:
        print(error, file=sys.stderr)
