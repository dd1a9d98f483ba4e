"""Just enough of the DTLS wire format to read what a shim saw, and to write what no client would.

RFC 6347 section 4.1 and 4.2.2, RFC 9147 section 4. Nothing here encrypts.
"""

import os
import struct
from dataclasses import dataclass

CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, APPLICATION_DATA, CID_RECORD = 20, 21, 22, 23, 25
HELLO_REQUEST, CLIENT_HELLO, SERVER_HELLO, HELLO_VERIFY_REQUEST = 0, 1, 2, 3
DTLS_10, DTLS_12, DTLS_13 = 0xFEFF, 0xFEFD, 0xFEFC
PSK_CCM8, PSK_GCM, ECDSA_GCM, TLS13_GCM = 0xC0A8, 0x00A8, 0xC02B, 0x1301

# A ServerHello with this random is a HelloRetryRequest (RFC 8446 section 4.1.3).
RETRY_RANDOM = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")

RECORD_HEADER_BYTES, HANDSHAKE_HEADER_BYTES = 13, 12


@dataclass(frozen=True)
class Record:
    kind: int
    epoch: int
    sequence: int
    body: bytes


def record(kind, body, epoch=0, sequence=0, version=DTLS_12, length=None):
    declared = len(body) if length is None else length
    return (struct.pack("!BHH", kind, version, epoch) + sequence.to_bytes(6, "big")
            + struct.pack("!H", declared) + body)


def handshake(kind, body, message_sequence=0, total=None, offset=0, length=None):
    """One fragment of a handshake message; total, offset and length may lie."""
    total = len(body) if total is None else total
    length = len(body) if length is None else length
    return (bytes([kind]) + total.to_bytes(3, "big") + struct.pack("!H", message_sequence)
            + offset.to_bytes(3, "big") + length.to_bytes(3, "big") + body)


def extension(kind, body):
    return struct.pack("!HH", kind, len(body)) + body


def hello_body(cookie=b"", suites=(PSK_CCM8,), random=None, extensions=b"", version=DTLS_12,
               session_id=b""):
    body = struct.pack("!H", version) + (random or os.urandom(32))
    body += bytes([len(session_id)]) + session_id + bytes([len(cookie)]) + cookie
    body += struct.pack("!H", 2 * len(suites)) + b"".join(struct.pack("!H", s) for s in suites)
    body += b"\x01\x00"
    return body + (struct.pack("!H", len(extensions)) + extensions if extensions else b"")


def client_hello(cookie=b"", message_sequence=0, sequence=0, record_version=DTLS_10, **hello):
    """A whole DTLS 1.2 ClientHello in one datagram."""
    return record(HANDSHAKE, handshake(CLIENT_HELLO, hello_body(cookie, **hello),
                                       message_sequence), sequence=sequence,
                  version=record_version)


def client_hello_13(padding_bytes=0):
    """A DTLS 1.3 ClientHello without a key share, so that a server has to answer with a retry."""
    extensions = extension(43, b"\x02" + struct.pack("!H", DTLS_13))  # supported_versions
    extensions += extension(10, struct.pack("!HH", 2, 23))  # supported_groups: P-256
    extensions += extension(13, struct.pack("!HHH", 4, 0x0403, 0x0804))  # signature_algorithms
    extensions += extension(51, struct.pack("!H", 0))  # key_share: none yet
    extensions += extension(45, b"\x01\x01")  # psk_key_exchange_modes: psk_dhe_ke
    if padding_bytes:
        extensions += extension(21, bytes(padding_bytes))
    return client_hello(suites=(TLS13_GCM,), extensions=extensions)


def split(datagram):
    """The records of a datagram with plain DTLS headers; stops at the first DTLS 1.3 ciphertext."""
    found = []
    while len(datagram) >= RECORD_HEADER_BYTES and 20 <= datagram[0] <= 26:
        kind, _, epoch = struct.unpack("!BHH", datagram[:5])
        length = struct.unpack("!H", datagram[11:13])[0]
        end = RECORD_HEADER_BYTES + length
        found.append(Record(kind, epoch, int.from_bytes(datagram[5:11], "big"),
                            datagram[RECORD_HEADER_BYTES:end]))
        datagram = datagram[end:]
    return found


def plain_messages(datagram):
    """The types of the unencrypted handshake messages in a datagram."""
    return [r.body[0] for r in split(datagram) if r.kind == HANDSHAKE and r.epoch == 0 and r.body]


def is_hello_verify(datagram):
    return plain_messages(datagram) == [HELLO_VERIFY_REQUEST]


def is_retry(datagram):
    return plain_messages(datagram) == [SERVER_HELLO] and RETRY_RANDOM in datagram


def is_stateless_reply(datagram):
    return is_hello_verify(datagram) or is_retry(datagram)


def cookie_of(hello_verify):
    """The cookie in a HelloVerifyRequest."""
    body = split(hello_verify)[0].body[HANDSHAKE_HEADER_BYTES:]
    return body[3:3 + body[2]]


def is_forbidden_toward_device(datagram):
    """A server never sends a ClientHello or a HelloRequest."""
    return any(m in (CLIENT_HELLO, HELLO_REQUEST) for m in plain_messages(datagram))
