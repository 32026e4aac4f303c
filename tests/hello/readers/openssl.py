"""Reads hellos from stdin, each behind its length, and writes the server name that OpenSSL reads in each.

The answer to a hello is a length and the name; the length 0xffffffff means that OpenSSL refused the hello.
The arguments are a certificate and its key, without which OpenSSL reads no hello."""

import ssl
import struct
import sys

names = []


def note(_connection, name, _context):
    names.append(name)
    return ssl.ALERT_DESCRIPTION_HANDSHAKE_FAILURE


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
context.sni_callback = note
source, sink = sys.stdin.buffer, sys.stdout.buffer
while header := source.read(4):
    hello = source.read(*struct.unpack(">I", header))
    names.clear()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    incoming.write(hello)
    try:
        context.wrap_bio(incoming, outgoing, server_side=True).do_handshake()
    except ssl.SSLError:
        pass
    if names and names[0] is not None:
        name = names[0].encode()
        sink.write(struct.pack(">I", len(name)) + name)
    else:
        sink.write(b"\xff" * 4)
    sink.flush()
