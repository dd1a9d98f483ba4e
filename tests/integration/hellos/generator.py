"""Hellos that are legal, and others that nearly are. Always the same ones: chance has a seed.

Each has at least one suite, group and signature algorithm that gate and judges have, unless its
name says otherwise; values that nobody has are 0xEAEA and the like (RFC 8701).
"""

import random
from dataclasses import replace

from hellos.hello import (ALPN, CERTIFICATE_CAS, CID, DTLS_10, DTLS_12, DTLS_13, EARLY_DATA,
                          ECDSA_GCM, ECDSA_SHA256, ENCRYPT_THEN_MAC, EXTENDED_MASTER, GROUPS,
                          HEARTBEAT, IDENTITY, KEY, KEY_SHARE, MAX_FRAGMENT, P256, PADDING,
                          POINT_FORMATS, POST_HANDSHAKE, PRE_SHARED_KEY, PSK_CCM8, PSK_GCM,
                          PSK_MODES, RECORD_SIZE, RENEGOTIATION, SCSV, SCT, SERVER_NAME, SHARE,
                          SIGNATURES, SIGNATURES_CERT, SRTP, STATUS_REQUEST, TICKET, TLS13_GCM,
                          UNKNOWN, VERSIONS, X25519, Hello, Psk, list8, list16, share, u16)

LONGEST = 7000  # entries of two bytes that fit into a record with all else


def unknown(count, first=0xEA00):
    """Values that nobody has: without meaning as suite, group, algorithm or version."""
    return u16(*(first + i % 0xBA for i in range(count)))


GROUPS_12 = (GROUPS, list16(u16(P256)))
SIGNATURES_12 = (SIGNATURES, list16(u16(ECDSA_SHA256)))
PSK_12 = Hello("1.2 psk")
CERT_12 = Hello("1.2 certificate", suites=u16(ECDSA_GCM), extensions=(GROUPS_12, SIGNATURES_12))
_SHARES_13 = ((VERSIONS, list8(u16(DTLS_13))), (GROUPS, list16(u16(X25519))),
              (KEY_SHARE, list16(share(X25519, SHARE))))
CERT_13 = Hello("1.3 certificate", is_13=True, suites=u16(TLS13_GCM),
                extensions=(*_SHARES_13, SIGNATURES_12))
KNOWN = Psk(IDENTITY, key=KEY)
PSK_13 = Hello("1.3 psk", is_13=True, suites=u16(TLS13_GCM),
               extensions=(*_SHARES_13, (PSK_MODES, b"\x01\x01")), psks=(KNOWN,))
BASES = (PSK_12, CERT_12, CERT_13, PSK_13)

# Extensions whose content is legal in a hello of any version, at its shortest and longest.
LEGAL_EXTENSIONS = {
    "server_name": (SERVER_NAME, [list16(b"\x00" + list16(name))
                                  for name in (b"a", b"gate.example", b"x" * 255)]),
    "max_fragment_length": (MAX_FRAGMENT, [bytes([code]) for code in (1, 2, 3, 4)]),
    "status_request": (STATUS_REQUEST, [b"\x01\x00\x00\x00\x00"]),
    "heartbeat": (HEARTBEAT, [b"\x01", b"\x02"]),
    "alpn": (ALPN, [list16(list8(b"coap")), list16(b"".join(list8(b"p" * n) for n in (1, 255)))]),
    "sct": (SCT, [b""]),
    "padding": (PADDING, [b"", bytes(1), bytes(3000)]),
    "record_size_limit": (RECORD_SIZE, [u16(512), u16(16384), u16(16385)]),
    "session_ticket": (TICKET, [b"", b"t", b"t" * 200, b"t" * 5000]),
    "connection_id": (CID, [list8(bytes(n)) for n in (0, 1, 8, 32, 33, 255)]),
    "renegotiation_info": (RENEGOTIATION, [b"\x00"]),
    "extended_master_secret": (EXTENDED_MASTER, [b""]),
    "encrypt_then_mac": (ENCRYPT_THEN_MAC, [b""]),
    "unknown": (UNKNOWN, [b"", b"\x00", bytes(8000)]),
    "signature_algorithms_cert": (SIGNATURES_CERT, [
        list16(u16(ECDSA_SHA256)), list16(unknown(63) + u16(ECDSA_SHA256)),
        list16(unknown(500) + u16(ECDSA_SHA256))]),
    "certificate_authorities": (CERTIFICATE_CAS, [list16(list16(b"\x30\x00")),
                                                  list16(list16(b"\x30\x00") * 50)]),
    "post_handshake_auth": (POST_HANDSHAKE, [b""]),
    "srtp": (SRTP, [list16(u16(1)) + b"\x00"]),
    "point_formats": (POINT_FORMATS, [b"\x01\x00", b"\x03\x00\x01\x02", b"\x03\x02\x01\x00",
                                      list8(bytes(range(255)))]),
}


def legal_extensions(hello):
    """Those of them that a hello of its kind may have."""
    kinds = {kind for kind, _ in hello.extensions or ()}
    without = {SRTP} if hello.is_13 else set()  # it is of DTLS; the judges of 1.3 are of TLS
    if SIGNATURES not in kinds:
        without.add(SIGNATURES_CERT)
    return {name: value for name, value in LEGAL_EXTENSIONS.items() if value[0] not in without}


def with_positions(known, count):
    """The known value first, in the middle and last among unknown ones."""
    around = unknown(count)
    half = count // 2 * 2
    return (("first", known + around), ("middle", around[:half] + known + around[half:]),
            ("last", around + known))


def everywhere():
    """What all four kinds have: session ID, suites, compression, extensions and their order."""
    for base in BASES:
        yield base
        for length in (1, 31, 32):
            yield base.but(f"session ID of {length}", session_id=bytes(length))
        for length in (33, 255):
            yield base.but(f"session ID too long, {length}", session_id=bytes(length))
        for count in (1, 2, 74, 148, 149, 150, 151, 1000, LONGEST):
            for place, suites in with_positions(base.suites, count):
                yield base.but(f"suite {place} of {count + 1}", suites=suites)
        yield base.but("suite 200 times", suites=base.suites * 200)
        yield base.but("no common suite of 1", suites=unknown(1))
        yield base.but("no common suite of 151", suites=unknown(151))
        yield base.but("no suites", suites=b"")
        yield base.but("half a suite", suites=base.suites + b"\x00")
        yield base.but("no compression", compression=b"")
        yield base.but("compression without null", compression=b"\x01")
        for methods in (b"\x00\x01", b"\x01\x00", bytes(range(255))):
            yield base.but(f"{len(methods)} compressions, null at {methods.index(0)}",
                           compression=methods)
        for name, (kind, contents) in legal_extensions(base).items():
            for number, content in enumerate(contents):
                yield base.plus(f"{name} {number}", (kind, content))
        for count in (1, 50, 400):
            yield base.plus(f"{count} unknown extensions",
                            *((0xC000 + i, bytes(i % 7)) for i in range(count)))
        yield base.plus("bytes behind the extensions", tail=b"\x00")
        for error in (-1, 1):
            yield base.plus(f"length of the block {error:+d}", (UNKNOWN, b"12"), block_error=error,
                            psks=())
        for extension in base.extensions or ((POINT_FORMATS, b"\x01\x00"),):
            yield base.but(f"extension {extension[0]} twice",
                           extensions=(extension, *(base.extensions or ()), extension))
        for kind, content in base.extensions or ():
            yield base.plus(f"extension {kind} with a byte too many", (kind, content + b"\x00"))
            yield base.plus(f"extension {kind} cut", (kind, content[:-1]))
            yield base.plus(f"extension {kind} empty", (kind, b""))


def in_any_order():
    for base in BASES:
        rich = base.plus("rich", *((kind, contents[0])
                                   for kind, contents in legal_extensions(base).values()
                                   if kind not in (TICKET, MAX_FRAGMENT)))
        dice = random.Random(base.name)
        for number in range(20):
            order = list(rich.extensions)
            dice.shuffle(order)
            yield rich.but(f"order {number}", extensions=tuple(order))


def groups_and_signatures():
    for base in (CERT_12, CERT_13, PSK_13, PSK_12):
        known = u16(X25519 if base.is_13 else P256)
        for count in (0, 1, 30, LONGEST):
            for place, groups in with_positions(known, count):
                yield base.plus(f"group {place} of {count + 1}", (GROUPS, list16(groups)))
        yield base.plus("no group", (GROUPS, list16(b"")))
        yield base.plus("half a group", (GROUPS, list16(known + b"\x00")))
        yield base.plus("group list says less", (GROUPS, u16(2) + known * 2))
        yield base.plus("group list says more", (GROUPS, u16(4) + known))
        yield base.plus("unknown groups", (GROUPS, list16(unknown(3))))
        yield base.plus("groups twice each", (GROUPS, list16(known * 2)))
    for base in (CERT_12, CERT_13, PSK_12, PSK_13):
        for count in (0, 1, 62, 63, 64, LONGEST):
            for place, algorithms in with_positions(u16(ECDSA_SHA256), count):
                yield base.plus(f"signature {place} of {count + 1}",
                                (SIGNATURES, list16(algorithms)))
        yield base.plus("no signature", (SIGNATURES, list16(b"")))
        yield base.plus("half a signature", (SIGNATURES, list16(u16(ECDSA_SHA256) + b"\x00")))
        yield base.plus("unknown signatures", (SIGNATURES, list16(unknown(3))))
    for base in (PSK_12, CERT_12):
        yield base.plus("no point format", (POINT_FORMATS, b"\x00"))
        yield base.plus("compressed points only", (POINT_FORMATS, b"\x01\x01"))
        yield base.plus("points say more", (POINT_FORMATS, b"\x02\x00"))
    for group in (P256, X25519):
        yield CERT_12.plus(f"group {group}", (GROUPS, list16(u16(group))))
    yield CERT_12.without("no groups", GROUPS)
    yield CERT_12.without("no signatures", SIGNATURES)
    yield CERT_12.but("no extensions", extensions=None)
    for name, suites in (("psk behind certificate", u16(ECDSA_GCM, PSK_CCM8)),
                         ("psk before certificate", u16(PSK_CCM8, ECDSA_GCM))):
        mixed = CERT_12.but(name, suites=suites)
        yield mixed
        yield mixed.plus("unknown groups", (GROUPS, list16(unknown(2))))
        yield mixed.plus("unknown signatures", (SIGNATURES, list16(unknown(2))))


def only_12():
    yield PSK_12.but("gcm", suites=u16(PSK_GCM))
    yield PSK_12.but("empty block", extensions=())
    yield PSK_12.but("one byte behind", tail=b"\x00")
    yield PSK_12.but("half an extension", extensions=(), block_error=3, tail=b"\x00\x17\x00")
    for base in (PSK_12, CERT_12):
        for place, suites in (("first", u16(SCSV) + base.suites),
                              ("last", base.suites + u16(SCSV))):
            scsv = base.but(f"signalling suite {place}", suites=suites)
            yield scsv
            yield scsv.plus("and extension", (RENEGOTIATION, b"\x00"))
            yield scsv.plus("and verify_data", (RENEGOTIATION, list8(bytes(12))))
        yield base.plus("verify_data", (RENEGOTIATION, list8(bytes(12))))
        yield base.plus("renegotiation_info says more", (RENEGOTIATION, b"\x01"))
        yield base.plus("renegotiation_info says less", (RENEGOTIATION, b"\x00\x00"))
        yield base.plus("renegotiation_info empty", (RENEGOTIATION, b""))
        for version in (0xFEFC, 0xFEFB, 0xFE80, 0xFE00):
            yield base.but(f"version {version:04x}", version=version)
        for version in (DTLS_10, 0x0303, 0x0000, 0xFFFF, 0xFDFD):
            yield base.but(f"wrong version {version:04x}", version=version)
        for length in (1, 16, 32, 255):
            yield base.but(f"unknown cookie of {length}", cookie=bytes(length))
        for version in (0xFEFF, 0xFEFD, 0xFEFC, 0xFE00, 0x0303, 0xFFFF):
            yield base.but(f"records of {version:04x}", record_versions=(version, version))
        for versions in (u16(DTLS_12), u16(UNKNOWN, DTLS_12), u16(DTLS_12) + unknown(126)):
            yield base.plus(f"supported_versions of {len(versions) // 2}",
                            (VERSIONS, list8(versions)))
        yield base.plus("key shares", (KEY_SHARE, list16(share(X25519, SHARE))),
                        (PSK_MODES, b"\x01\x01"))
        yield base.plus("extended_master_secret with content", (EXTENDED_MASTER, b"\x00"))
        yield base.plus("encrypt_then_mac with content", (ENCRYPT_THEN_MAC, b"\x00"))
        for code in (0, 5, 6, 255):
            yield base.plus(f"max_fragment_length of code {code}", (MAX_FRAGMENT, bytes([code])))
        yield base.plus("max_fragment_length of two", (MAX_FRAGMENT, b"\x01\x01"))
        yield base.plus("server_name empty", (SERVER_NAME, b""))
        yield base.plus("server_name without names", (SERVER_NAME, list16(b"")))
        yield base.plus("server_name of no bytes", (SERVER_NAME, list16(b"\x00" + list16(b""))))
        yield base.plus("connection_id empty", (CID, b""))
        yield base.plus("connection_id says more", (CID, b"\x02\x00"))
        yield base.plus("connection_id says less", (CID, b"\x00\x00"))


def versions_and_shares():
    for base in (CERT_13, PSK_13):
        for name, versions in (("both", u16(DTLS_13, DTLS_12)), ("both, 1.2 first",
                                                                 u16(DTLS_12, DTLS_13)),
                               ("unknown first", unknown(3) + u16(DTLS_13)),
                               ("127", u16(DTLS_13) + unknown(126)),
                               ("127, the last", unknown(126) + u16(DTLS_13)),
                               ("twice", u16(DTLS_13) * 2)):
            yield base.plus(f"versions {name}", (VERSIONS, list8(versions)))
        yield base.plus("versions unknown only", (VERSIONS, list8(unknown(2))))
        yield base.plus("no versions", (VERSIONS, b"\x00"))
        yield base.plus("half a version", (VERSIONS, list8(u16(DTLS_13) + b"\xfe")))
        for version in (0xFEFC, 0xFE00):
            yield base.but(f"legacy_version {version:04x}", version=version)
        yield base.but("legacy_version feff", version=DTLS_10)
        for version in (0xFEFF, 0xFEFC, 0xFE00, 0x0304, 0xFFFF):
            yield base.but(f"records of {version:04x}", record_versions=(version, version))
        yield base.but("legacy_cookie", cookie=b"12345678")
        shares = {"none": b"", "unknown only": share(UNKNOWN, b"1"),
                  "unknown before": share(UNKNOWN, b"1") + share(X25519, SHARE),
                  "unknown behind": share(X25519, SHARE) + share(UNKNOWN, b"1"),
                  "of 50 groups": b"".join(share(0x5000 + i, b"1") for i in range(49))
                  + share(X25519, SHARE)}
        offered = (GROUPS, list16(u16(X25519, UNKNOWN, *range(0x5000, 0x5031))))
        for name, entries in shares.items():
            yield base.plus(f"shares {name}", offered, (KEY_SHARE, list16(entries)))
        wrong = {"twice": share(X25519, SHARE) * 2, "of 31 bytes": share(X25519, SHARE[1:]),
                 "of 33 bytes": share(X25519, SHARE + b"1"), "of no bytes": share(X25519, b""),
                 "cut": share(X25519, SHARE)[:-1]}
        for name, entries in wrong.items():
            yield base.plus(f"share {name}", (KEY_SHARE, list16(entries)))
        yield base.plus("share of a group not offered", (GROUPS, list16(u16(P256))))
        yield base.without("no groups", GROUPS)
        yield base.without("no shares", KEY_SHARE)
    yield CERT_13.without("no signatures", SIGNATURES)
    yield CERT_13.but("suite of 1.2 behind", suites=u16(TLS13_GCM, ECDSA_GCM))
    yield CERT_13.but("suite of 1.2 before", suites=u16(ECDSA_GCM, TLS13_GCM))
    yield CERT_13.plus("renegotiation_info with verify_data", (RENEGOTIATION, list8(bytes(12))))


def psks_of_13():
    mixed = PSK_13.plus("with certificate", SIGNATURES_12)
    nobody = Psk(b"nobody")
    for base in (PSK_13, mixed):
        for modes in (b"\x01", b"\x00\x01", b"\x01\x00", b"\xea\x01", bytes(range(1, 255))):
            yield base.plus(f"{len(modes)} modes from {modes[0]}", (PSK_MODES, list8(modes)))
        yield base.without("no modes at all", PSK_MODES)
        yield base.plus("unknown mode", (PSK_MODES, b"\x01\xea"))
        for age in (1, 5000, 0xFFFFFFFF):
            yield base.but(f"age {age}", psks=(Psk(IDENTITY, age=age, key=KEY),))
        for count in (1, 2, 10, 100):
            others = tuple(Psk(b"other%d" % i) for i in range(count))
            yield base.but(f"behind {count} others", psks=(*others, KNOWN))
            yield base.but(f"before {count} others", psks=(KNOWN, *others))
        for length in (1, 128, 129, 1024, 1025, 10000):
            yield base.but(f"behind an identity of {length}", psks=(Psk(b"x" * length), KNOWN))
        for length in (33, 48, 64, 65, 255):
            yield base.but(f"behind a binder of {length}",
                           psks=(Psk(b"nobody", binder_bytes=length), KNOWN))
        yield base.but("behind a NUL", psks=(Psk(b"\x00"), KNOWN))
        yield base.but("wrong binder", psks=(Psk(IDENTITY, key=KEY[1:]),))
        yield base.but("binder of 31", psks=(Psk(b"nobody", binder_bytes=31), KNOWN))
        yield base.but("byte behind binders", psks_extra=b"\x00")
        yield base.but("empty identity", psks=(Psk(b""), KNOWN))
        yield base.but("early data", extensions=(*base.extensions, (EARLY_DATA, b"")))
    yield PSK_13.but("unknown", psks=(nobody,))
    yield PSK_13.but("100 unknown", psks=(nobody,) * 100)
    yield mixed.but("unknown", psks=(nobody,))
    yield mixed.but("unknown of 10000", psks=(Psk(b"x" * 10000),))
    yield mixed.but("unknown with a binder of 255", psks=(Psk(b"nobody", binder_bytes=255),))
    yield mixed.but("no longer last", psks=(), extensions=(
        (PRE_SHARED_KEY, list16(list16(b"nobody") + bytes(4)) + list16(list8(bytes(32)))),
        *mixed.extensions))


def mixtures(count):
    """Legal ones, each with several things at once."""
    dice = random.Random(20)
    for number in range(count):
        hello = dice.choice(BASES)
        chosen = dice.sample([(kind, dice.choice(contents))
                              for kind, contents in legal_extensions(hello).values()],
                             dice.randrange(12))
        if dice.random() < 0.5:
            chosen.append((GROUPS, list16(dice.choice(
                with_positions(u16(X25519 if hello.is_13 else P256), dice.randrange(200)))[1])))
        if dice.random() < 0.5:
            chosen.append((SIGNATURES, list16(dice.choice(
                with_positions(u16(ECDSA_SHA256), dice.randrange(200)))[1])))
        chosen += [(0xC100 + i, bytes(dice.randrange(9))) for i in range(dice.randrange(5))]
        hello = hello.plus("", *chosen)
        order = list(hello.extensions)
        dice.shuffle(order)
        suites = dice.choice(with_positions(hello.suites, dice.randrange(400)))[1]
        yield replace(hello, name=f"mixture {number}", extensions=tuple(order), suites=suites,
                      session_id=bytes(dice.randrange(33)))


def all_hellos():
    for family in (everywhere, in_any_order, groups_and_signatures, only_12, versions_and_shares,
                   psks_of_13):
        yield from family()
    yield from mixtures(150)
