"""PostgreSQL over TLS. Lines are those of peer.py.

pg.py serve CERT KEY PORT:KIND...   PostgreSQL's server, one for each KIND; it never gives session tickets
pg.py call LIBPQ CA PORT HOW        libpq, as its programs use it; HOW is its sslnegotiation: direct, for TLS from the
                                    first byte on, or postgres, for an SSLRequest first
"""
import ctypes
import os
import shutil
import subprocess
import sys

BODY = "0123456789abcdef0123456789abcdef01234567"
NATIVE = os.path.join(os.environ["POSTGRES"], "native")
OK, TUPLES_OK = 0, 2
# PostgreSQL refuses to run as root.
NOBODY = ["unshare", "--user", "--map-user=1000", "--"]


def start(cert, key, port, kind, data):
    secret = os.path.join(data, "server.key")
    shutil.copy(key, secret)
    os.chmod(secret, 0o600)
    with open(os.path.join(data, "pg_hba.conf"), "w") as rules:
        rules.write("hostssl all all 127.0.0.0/8 trust\n")
    version = "TLSv1.3" if kind.startswith("13") else "TLSv1.2"
    settings = {
        "listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": "", "ssl": "on",
        "ssl_cert_file": os.path.abspath(cert), "ssl_key_file": secret, "ssl_min_protocol_version": version,
        "ssl_max_protocol_version": version, "fsync": "off", "shared_buffers": "1MB", "max_connections": "50",
        "autovacuum": "off",
    }
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    return subprocess.Popen([*NOBODY, f"{NATIVE}/bin/postgres", "-D", data, *options])


def serve(cert, key, places):
    first = os.path.abspath("postgres-data")
    subprocess.run([*NOBODY, f"{NATIVE}/bin/initdb", "-D", first, "-U", "caller", "--locale=C", "-E", "UTF8", "--no-sync"],
                   check=True, stdout=subprocess.DEVNULL)
    servers = []
    for place in places:
        port, kind = place.split(":")
        data = f"{first}-{kind}"
        shutil.copytree(first, data)
        servers.append(start(cert, key, port, kind, data))
    sys.stdin.read()
    for server in servers:
        server.terminate()


def library(path):
    pq = ctypes.CDLL(path)
    for name in ("PQconnectdb", "PQexec"):
        getattr(pq, name).restype = ctypes.c_void_p
    for name in ("PQerrorMessage", "PQgetvalue"):
        getattr(pq, name).restype = ctypes.c_char_p
    pq.PQconnectdb.argtypes = [ctypes.c_char_p]
    pq.PQexec.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    pq.PQgetvalue.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int]
    for name in ("PQstatus", "PQerrorMessage", "PQfinish", "PQresultStatus"):
        getattr(pq, name).argtypes = [ctypes.c_void_p]
    return pq


def call(pq, ca, port, how, name, first):
    settings = f"host={name} port={port} user=caller dbname=postgres sslmode=verify-full sslrootcert={ca} " \
        f"sslnegotiation={how} gssencmode=disable connect_timeout=20"
    connection = pq.PQconnectdb(settings.encode())
    try:
        if pq.PQstatus(connection) != OK:
            return pq.PQerrorMessage(connection).decode()
        result = pq.PQexec(connection, f"SELECT '{BODY}'".encode())
        if pq.PQresultStatus(result) != TUPLES_OK or pq.PQgetvalue(result, 0, 0) != BODY.encode():
            return pq.PQerrorMessage(connection).decode()
        if first == "server":
            # The server says that it was told to, and closes.
            pq.PQexec(connection, b"SELECT pg_terminate_backend(pg_backend_pid())")
        return ""
    finally:
        pq.PQfinish(connection)


def main():
    if sys.argv[1] == "serve":
        return serve(sys.argv[2], sys.argv[3], sys.argv[4:])
    pq = library(f"{NATIVE}/lib/{sys.argv[2]}")
    for line in sys.stdin:
        name, _path, _resume, _notify, first, calls = line.split()
        done, problem = 0, ""
        for _ in range(int(calls)):
            error = call(pq, *sys.argv[3:6], name, first)
            done, problem = (done, error) if error else (done + 1, problem)
        print(done, problem.replace("\n", " "), flush=True)


main()
