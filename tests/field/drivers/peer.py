"""The client and the server of Python's ssl module, and of http.client.

peer.py serve CERT KEY PORT:KIND...    serves HTTP at each port; a line "ready" says when
peer.py call ssl|http CA PORT          a line of standard input is a batch of calls, a line of output its result

A KIND is the TLS version (12, 13) and the session tickets (t: yes, n: no).
A batch is "NAME PATH RESUME NOTIFY FIRST CALLS"; README.md says what these mean.
"""
import http.client
import socket
import ssl
import sys
import threading

BODY = b"0123456789abcdef0123456789abcdef01234567\trefs/heads/main\n"
VERSIONS = {"12": ssl.TLSVersion.TLSv1_2, "13": ssl.TLSVersion.TLSv1_3}
TIMEOUT = 20


def read_head(stream):
    head = b""
    while b"\r\n\r\n" not in head:
        more = stream.recv(4096)
        if not more:
            return None
        head += more
    return head.decode()


def serve_one(context, raw):
    """Serves until one side closes, as http.server does, or with a close_notify."""
    raw.settimeout(TIMEOUT)
    quiet = False
    try:
        stream = context.wrap_socket(raw, server_side=True)
        while head := read_head(stream):
            path = head.split(" ")[1]
            quiet = "quiet" in path
            close = path.startswith("/close") or "connection: close" in head.lower()
            keep = "close" if close else "keep-alive"
            answer = f"HTTP/1.1 200 OK\r\ncontent-length: {len(BODY)}\r\nconnection: {keep}\r\n\r\n"
            stream.sendall(answer.encode() + BODY)
            if close:
                break
        if quiet:
            stream.shutdown(socket.SHUT_WR)
        else:
            raw = stream.unwrap()
        raw.close()
        stream.close()
    except OSError:
        raw.close()


def serve(cert, key, places):
    for place in places:
        port, kind = place.split(":")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        context.minimum_version = context.maximum_version = VERSIONS[kind[:2]]
        if kind[2] == "n":
            context.options |= ssl.OP_NO_TICKET
            context.num_tickets = 0
        listener = socket.create_server(("127.0.0.1", int(port)), backlog=128)

        def accept(context=context, listener=listener):
            while True:
                raw, _ = listener.accept()
                threading.Thread(target=serve_one, args=(context, raw), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
    print("ready", flush=True)
    sys.stdin.read()


def call_ssl(context, port, name, path, session, notify, first):
    raw = socket.create_connection((name, port), timeout=TIMEOUT)
    stream = context.wrap_socket(raw, server_hostname=name, session=session)
    keep = "close" if first == "server" else "keep-alive"
    stream.sendall(f"GET {path} HTTP/1.1\r\nhost: {name}\r\nconnection: {keep}\r\n\r\n".encode())
    got = b""
    while BODY not in got:
        more = stream.recv(4096)
        if not more:
            raise OSError(f"only {got!r}")
        got += more
    session = stream.session
    if first == "server":
        try:
            while stream.recv(4096):
                pass
        except (ConnectionResetError, ssl.SSLError):
            pass
    if notify == "yes":
        try:
            raw = stream.unwrap()
        except OSError:
            pass
    raw.close()
    stream.close()
    return session


def call_http(context, port, name, path, session, notify, first):
    client = http.client.HTTPSConnection(name, port, context=context, timeout=TIMEOUT)
    client.request("GET", path, headers={"Connection": "close"} if first == "server" else {})
    got = client.getresponse().read()
    client.close()
    if BODY not in got:
        raise OSError(f"only {got!r}")


def main():
    if sys.argv[1] == "serve":
        return serve(sys.argv[2], sys.argv[3], sys.argv[4:])
    call = {"ssl": call_ssl, "http": call_http}[sys.argv[2]]
    context = ssl.create_default_context(cafile=sys.argv[3])
    for line in sys.stdin:
        name, path, resume, notify, first, calls = line.split()
        session, done, error = None, 0, ""
        for _ in range(int(calls)):
            try:
                got = call(context, int(sys.argv[4]), name, path, session, notify, first)
                session = got if resume == "yes" else None
                done += 1
            except OSError as reason:
                error = repr(reason)
        print(done, error, flush=True)


main()
