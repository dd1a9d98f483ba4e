"""One ClientHello as data, and its bytes for DTLS or, for a judge that has no DTLS 1.3, for TLS.

RFC 5246 section 7.4.1.2, RFC 8446 section 4.1.2; what DTLS adds: RFC 6347 section 4.2.1 and RFC
9147 section 5.3. Every field may be wrong.
"""

import hashlib
import hmac
import struct
from dataclasses import dataclass, replace

import records

IDENTITY, KEY = b"device1", bytes.fromhex("00112233445566778899aabbccddeeff")
PSK_CCM8, PSK_GCM, ECDSA_GCM, TLS13_GCM = 0xC0A8, 0x00A8, 0xC02B, 0x1301
SCSV, UNKNOWN = 0x00FF, 0xEAEA
DTLS_10, DTLS_12, DTLS_13 = 0xFEFF, 0xFEFD, 0xFEFC
SERVER_NAME, MAX_FRAGMENT, STATUS_REQUEST, GROUPS, POINT_FORMATS, SIGNATURES = 0, 1, 5, 10, 11, 13
SRTP, HEARTBEAT, ALPN, SCT, PADDING, ENCRYPT_THEN_MAC, EXTENDED_MASTER = 14, 15, 16, 18, 21, 22, 23
RECORD_SIZE, TICKET, PRE_SHARED_KEY, EARLY_DATA, VERSIONS, COOKIE = 28, 35, 41, 42, 43, 44
PSK_MODES, CERTIFICATE_CAS, POST_HANDSHAKE, SIGNATURES_CERT, KEY_SHARE = 45, 47, 49, 50, 51
CID, RENEGOTIATION = 54, 0xFF01
P256, X25519, ECDSA_SHA256 = 0x0017, 0x001D, 0x0403
SHARE = bytes(range(1, 33))  # to X25519 any 32 bytes are a point
P256_SHARE = bytes.fromhex(  # the generator, FIPS 186-4 D.1.2.3
    "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
    "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5")


def u16(*numbers):
    return b"".join(struct.pack("!H", number) for number in numbers)


def list8(data):
    return bytes([len(data)]) + data


def list16(data):
    return u16(len(data)) + data


def share(group, key):
    return u16(group) + list16(key)


@dataclass(frozen=True)
class Psk:
    """An entry of pre_shared_key; without a key its binder is of that many bytes of nothing."""
    identity: bytes
    age: int = 0
    key: bytes | None = None
    binder_bytes: int = 32


@dataclass(frozen=True)
class Hello:
    name: str
    is_13: bool = False
    version: int = DTLS_12
    session_id: bytes = b""
    cookie: bytes = b""  # of the first hello; RFC 9147 section 5.3 wants none in DTLS 1.3
    suites: bytes = u16(PSK_CCM8)
    compression: bytes = b"\x00"
    extensions: tuple | None = None  # of (type, content); None: not even their length
    psks: tuple = ()  # DTLS 1.3: pre_shared_key, the last
    psks_extra: bytes = b""  # behind the binders
    block_error: int = 0  # added to the length of the extensions
    tail: bytes = b""  # behind them
    record_versions: tuple = (DTLS_10, DTLS_12)  # of the first hello and the second

    def but(self, name, **changes):
        return replace(self, name=f"{self.name}: {name}", **changes)

    def plus(self, name, *extensions, **changes):
        """With these extensions in the place of those of the same type, or at the end."""
        kept = [e for e in self.extensions or () if e[0] not in {x[0] for x in extensions}]
        return self.but(name, extensions=(*kept, *extensions), **changes)

    def without(self, name, *types):
        return self.but(name, extensions=tuple(e for e in self.extensions if e[0] not in types))


def tls_version(number):
    """What corresponds to a version of DTLS in TLS: 1.0 is 1.1 there, and 1.1 was skipped."""
    down = 0xFF - (number & 0xFF)
    return 0x0302 + down - (down > 0) if number >> 8 == 0xFE else number


def tls_versions(content):
    """The same for the content of supported_versions, as far as it can be read."""
    numbers = [content[i:i + 2] for i in range(1, len(content), 2)]
    return content[:1] + b"".join(
        u16(tls_version(struct.unpack("!H", n)[0])) if len(n) == 2 else n for n in numbers)


def _expand(secret, label, context, length):
    info = u16(length) + list8(label) + list8(context)
    return hmac.new(secret, info + b"\x01", hashlib.sha256).digest()[:length]


def binder(key, transcript, prefix):
    """RFC 8446 section 4.2.11.2, with SHA-256; prefix: "tls13 ", or RFC 9147 section 5.9."""
    early = hmac.new(bytes(32), key, hashlib.sha256).digest()
    nothing = hashlib.sha256(b"").digest()
    binder_key = _expand(early, prefix + b"ext binder", nothing, 32)
    finished = _expand(binder_key, prefix + b"finished", b"", 32)
    return hmac.new(finished, hashlib.sha256(transcript).digest(), hashlib.sha256).digest()


def message(kind, body):
    return bytes([kind]) + len(body).to_bytes(3, "big") + body


def encode(hello, *, is_dtls, cookie=None, retry=None, first=None):
    """The body of the ClientHello. cookie: that the server gave; retry: the body of the
    HelloRetryRequest that it came in, which answered the hello `first`."""
    as_version = (lambda v: v) if is_dtls else tls_version
    body = u16(as_version(hello.version)) + bytes(range(32)) + list8(hello.session_id)
    if is_dtls:
        body += list8(cookie if cookie is not None and not hello.is_13 else hello.cookie)
    body += list16(hello.suites) + list8(hello.compression)
    extensions = list(hello.extensions or ())
    if hello.is_13 and cookie is not None:
        extensions.append((COOKIE, list16(cookie)))
    if not is_dtls:
        extensions = [(t, tls_versions(c) if t == VERSIONS else c) for t, c in extensions]
    block = b"".join(records.extension(t, c) for t, c in extensions)
    if not hello.psks:
        if hello.extensions is not None:
            body += u16(len(block) + hello.block_error) + block
        return body + hello.tail
    identities = list16(b"".join(list16(p.identity) + struct.pack("!I", p.age)
                                 for p in hello.psks))
    binders_bytes = sum(1 + p.binder_bytes for p in hello.psks)
    content_bytes = len(identities) + 2 + binders_bytes + len(hello.psks_extra)
    body += u16(len(block) + 4 + content_bytes) + block + u16(PRE_SHARED_KEY, content_bytes)
    body += identities
    # The transcript ends before the binders; its header says the whole length.
    whole = len(body) + 2 + binders_bytes + len(hello.psks_extra)
    transcript = bytes([1]) + whole.to_bytes(3, "big") + body
    if retry is not None:
        digest = hashlib.sha256(message(1, encode(first or hello, is_dtls=is_dtls))).digest()
        transcript = message(254, digest) + message(2, retry) + transcript
    prefix = b"dtls13" if is_dtls else b"tls13 "
    binders = b"".join(list8(binder(p.key, transcript, prefix) if p.key is not None
                             else b"\x55" * p.binder_bytes) for p in hello.psks)
    return body + list16(binders) + hello.psks_extra


def datagram(hello, cookie=None, retry=None, first=None):
    """The hello in a record of DTLS: the first one, or with a cookie the second."""
    is_second = cookie is not None
    body = encode(hello, is_dtls=True, cookie=cookie, retry=retry, first=first)
    return records.record(records.HANDSHAKE,
                          records.handshake(records.CLIENT_HELLO, body, int(is_second)),
                          sequence=int(is_second), version=hello.record_versions[is_second])


def tls_record(hello):
    """The hello in records of TLS, whose bodies have 2^14 bytes at most."""
    data = message(records.CLIENT_HELLO, encode(hello, is_dtls=False))
    return b"".join(b"\x16\x03\x01" + list16(data[i:i + 16384]) for i in range(0, len(data), 16384))


# --- answers ---

SERVED, ASKED, REFUSED, SILENT = "served", "asked", "refused", "silent"


@dataclass
class Answer:
    """What a server made of a hello. alert: its number, if it was refused with one."""
    verdict: str
    alert: int | None = None
    cookie: bytes | None = None
    retry: bytes | None = None

    def __str__(self):
        return self.verdict if self.alert is None else f"{self.verdict} ({self.alert})"


def find_extension(hello, wanted):
    """The content of an extension of a ServerHello or HelloRetryRequest; None if it has none."""
    at = 2 + 32 + 1 + hello[34] + 2 + 1 + 2
    while at + 4 <= len(hello):
        kind, length = struct.unpack("!HH", hello[at:at + 4])
        if kind == wanted:
            return hello[at + 4:at + 4 + length]
        at += 4 + length
    return None


def read_message(kind, body):
    """The answer in a server's first handshake message."""
    if kind == records.HELLO_VERIFY_REQUEST:
        return Answer(ASKED, cookie=body[3:3 + body[2]])
    assert kind == records.SERVER_HELLO, f"a server sent handshake message {kind}"
    if body[2:34] == records.RETRY_RANDOM:
        cookie = find_extension(body, COOKIE)
        return Answer(ASKED, cookie=cookie and cookie[2:], retry=body)
    return Answer(SERVED)


def read_datagram(data):
    """The answer in a datagram; None if it has none. A fatal alert is one wherever it stands."""
    answer = None
    for found in records.split(data):
        if found.epoch == 0 and found.kind == records.ALERT and found.body[0] == 2:
            return Answer(REFUSED, alert=found.body[1])
        if found.epoch == 0 and found.kind == records.HANDSHAKE and answer is None:
            if found.body[0] in (records.HELLO_VERIFY_REQUEST, records.SERVER_HELLO):
                answer = read_message(found.body[0], found.body[records.HANDSHAKE_HEADER_BYTES:])
    return answer
