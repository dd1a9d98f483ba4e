"""CRLs for good chains, right ones and odd ones, and which of them the gate judges otherwise than OpenSSL."""

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import der
from case import MIXED, MOMENT, P256, RSA, Case, key_id_of, path
from certificates import algorithm_of, key_id, make, name, sign, write_name

REASONS = range(0, 11)
KINDS = {"p256": P256, "rsa": RSA, "mixed": MIXED, "ed25519": ("ed25519",), "p521": ("p521",)}

# What OpenSSL accepts and the gate does not: (the case's name, as of a file, and why).
STRICTER = [
    ("algorithm/md5/*", "signatures with MD5 and SHA-1 are refused, as of certificates"),
    ("algorithm/sha1/*", "signatures with MD5 and SHA-1 are refused, as of certificates"),
    ("extension/idp-*", "a CRL for some certificates only would have to be matched with each certificate"),
    ("extension/delta", "a delta CRL does not say what has been revoked before; OpenSSL takes it for a complete one"),
    ("entry/issuer/another", "entries of other issuers; OpenSSL minds them where they concern the device"),
    ("entry/repeated-extension*", "RFC 5280 section 4.2: no extension twice"),
    ("between/no-certificate-beside", "the CRL of a CA that is not trusted itself is verified when it is loaded"),
    ("odd/*/trailing", "what follows the CRL is none"),
    ("odd/*/v3", "there is no such version"),
    ("several/second-is-delta*", "every CRL of the file must be one that can be used"),
    ("several/second-is-damaged*", "every CRL of the file must be one that can be used"),
]
# What the gate accepts and OpenSSL does not.
MILDER = [
    ("anchor/not-self-issued", "a CA that is trusted need not have been issued by one that has a CRL"),
    ("extension/number-critical", "whatever the CRL's number, it says the same"),
]


@dataclass(frozen=True)
class Crl:
    issuer: tuple
    signer: tuple           # key of the pool
    revoked: tuple = ()     # of (serial in DER or a number, extensions in DER)
    begin: str = "20300101000000Z"
    end: object = "20310101000000Z"  # None: it has none
    version: object = 1     # the number in it; None: v1
    akid: object = "own"    # "own": the signer's; bytes; None: none
    more: tuple = ()        # extensions in DER
    has_empty_list: bool = False
    hash: object = None
    is_pss: bool = False
    damage: object = None


def extension(which, is_critical, value):
    return der.sequence(der.oid(which), der.boolean(True) if is_critical else b"", der.octets(value))


def reason(number, is_critical=False):
    return extension("2.5.29.21", is_critical, der.tlv(0x0A, bytes([number])))


def _entry(serial, extensions):
    number = serial if isinstance(serial, bytes) else der.integer(serial)
    parts = [number, der.time("20291231000000Z")]
    return der.sequence(*parts, der.sequence(*extensions)) if extensions else der.sequence(*parts)


def make_crl(spec):
    algorithm = algorithm_of(spec)
    parts = [] if spec.version is None else [der.integer(spec.version)]
    parts += [algorithm, write_name(spec.issuer), der.time(spec.begin)]
    if spec.end is not None:
        parts.append(der.time(spec.end))
    if spec.revoked or spec.has_empty_list:
        parts.append(der.sequence(*(_entry(*entry) for entry in spec.revoked)))
    extensions = list(spec.more)
    if spec.akid is not None and spec.version is not None:
        value = key_id(spec.signer) if spec.akid == "own" else spec.akid
        extensions.append(extension("2.5.29.35", False, der.sequence(der.implicit(0, value))))
    if extensions:
        parts.append(der.explicit(0, der.sequence(*extensions)))
    content = der.sequence(*parts)
    signature = bytearray(sign(spec, content))
    if spec.damage == "signature":
        signature[-2] ^= 1
    whole = der.sequence(content, algorithm, der.bits(bytes(signature)))
    return whole[:-1] if spec.damage == "cut" else whole + b"\0" if spec.damage == "trailing" else whole


def crls_of(specs):
    """A good CRL of each CA of a path, the lowest first."""
    return [Crl(issuer=ca.subject, signer=ca.key) for ca in specs[1:]]


def case(title, specs, crls, moment=MOMENT, beside=None, anchors=None):
    shown = specs[:-1]
    anchors = specs[-1:] if anchors is None else anchors
    return Case(title, frozenset(), tuple(map(make, anchors)), tuple(map(make, shown)), shown[0].key, moment,
                tuple(crl if isinstance(crl, bytes) else make_crl(crl) for crl in crls),
                tuple(map(make, specs[1:-1] if beside is None else beside)))


def _with(crls, at, **fields):
    changed = list(crls)
    changed[at] = replace(crls[at], **fields)
    return changed


def who_is_revoked():
    for kind, kinds in KINDS.items():
        for depth in (0, 1, 2):
            specs = path(depth, kinds)
            crls = crls_of(specs)
            yield case(f"revoked/{kind}-{depth}/nobody", specs, crls)
            for at, spec in enumerate(specs):
                by = min(at, len(crls) - 1)  # the root is in its own
                revoked = _with(crls, by, revoked=((7, ()), (spec.serial, ()), (8, ())))
                yield case(f"revoked/{kind}-{depth}/{at}", specs, revoked)
                other = (by + 1) % len(crls)
                if other != by:
                    yield case(f"revoked/{kind}-{depth}/{at}-by-another", specs,
                               _with(crls, other, revoked=((spec.serial, ()),)))


def what_is_missing():
    for depth in (0, 1, 2):
        specs = path(depth)
        crls = crls_of(specs)
        for at in range(len(crls)):
            left = crls[:at] + crls[at + 1:]
            if left:
                yield case(f"missing/{depth}/{at}", specs, left)
            for title, fields in {
                    "expired": {"end": "20300531000000Z"}, "just-expired": {"end": "20300601115959Z"},
                    "just-good": {"end": "20300601120001Z"}, "not-yet": {"begin": "20300601120001Z"},
                    "from-now": {"begin": "20300601115959Z"}, "no-end": {"end": None},
                    "general-time": {"begin": "general 20300101000000Z", "end": "general 20310101000000Z"},
                    "far-end": {"end": "20600101000000Z"}, "end-before-begin": {"end": "20200101000000Z"},
                    "expired-and-revoked": {"end": "20300531000000Z", "revoked": ((specs[at].serial, ()),)},
                    "damaged": {"damage": "signature"}, "cut": {"damage": "cut"}, "trailing": {"damage": "trailing"},
                    "other-signer": {"signer": ("p256", 60), "akid": key_id(specs[at + 1].key)},
                    "other-signer-says-so": {"signer": ("p256", 60)},
                    "other-name": {"issuer": name(O="Works", CN="Another CA")},
                    "akid-none": {"akid": None}, "akid-wrong": {"akid": b"wrong"}, "v1": {"version": None},
                    "v3": {"version": 2}, "v2-without-extensions": {"akid": None}, "empty-list": {"has_empty_list": True},
            }.items():
                yield case(f"odd/{depth}/{at}/{title}", specs, _with(crls, at, **fields))


def serials():
    for title, serial in {"1-byte": 5, "127": 127, "128": 128, "255": 255, "256": 256, "8-bytes": 2 ** 62,
                          "19-bytes": 2 ** 151 - 1, "20-bytes": 2 ** 159 - 1, "20-high": 2 ** 158, "21-bytes": 2 ** 167 - 1,
                          "negative": -5, "negative-2": -300, "minus-1": -1}.items():
        specs = path(0, serial=serial)
        crls = crls_of(specs)
        yield case(f"serial/{title}/revoked", specs, _with(crls, 0, revoked=((serial, ()),)))
        yield case(f"serial/{title}/next", specs, _with(crls, 0, revoked=((serial + 1, ()), (serial - 1, ()))))
        yield case(f"serial/{title}/other-sign", specs, _with(crls, 0, revoked=((-serial, ()),)))
        yield case(f"serial/{title}/shifted", specs, _with(crls, 0, revoked=((serial * 256, ()),)))
    specs = path(0)
    for count in (2, 50, 3000):
        many = tuple((n, ()) for n in range(5000, 5000 + count))
        yield case(f"serial/many/{count}", specs, _with(crls_of(specs), 0, revoked=many))
        yield case(f"serial/many/{count}-and-the-device", specs,
                   _with(crls_of(specs), 0, revoked=(*many, (specs[0].serial, ()))))


def entry_extensions():
    specs = path(0)
    serial = specs[0].serial
    cases = {f"reason-{number}": (reason(number),) for number in REASONS}
    cases.update({
        "reason-critical": (reason(1, True),),
        "invalidity-date": (extension("2.5.29.24", False, der.time("general 20290101000000Z")),),
        "hold-instruction": (reason(6), extension("2.5.29.23", False, der.oid("1.2.840.10040.2.1"))),
        "unknown": (extension("1.2.3.4", False, b"x"),), "unknown-critical": (extension("1.2.3.4", True, b"x"),),
        "issuer": (extension("2.5.29.29", True, der.sequence(der.explicit(4, write_name(specs[-1].subject)))),),
        "repeated-extension": (reason(1), reason(1)),
    })
    for title, extensions in cases.items():
        yield case(f"entry/{title}", specs, _with(crls_of(specs), 0, revoked=((serial, extensions),)))
        yield case(f"entry/{title}/another", specs, _with(crls_of(specs), 0, revoked=((serial + 1, extensions),)))


def crl_extensions():
    specs = path(0)
    scope = {"user": der.implicit(1, b"\xff"), "ca": der.implicit(2, b"\xff"), "reasons": der.implicit(3, b"\x01\x80"),
             "indirect": der.implicit(4, b"\xff"), "attributes": der.implicit(5, b"\xff"),
             "point": der.explicit(0, der.explicit(0, der.implicit(6, b"http://ca.example/1.crl"))), "nothing": b""}
    cases = {f"idp-{title}": extension("2.5.29.28", True, der.sequence(value)) for title, value in scope.items()}
    cases.update({
        "number": extension("2.5.29.20", False, der.integer(7)), "number-critical": extension("2.5.29.20", True,
                                                                                              der.integer(7)),
        "delta": extension("2.5.29.27", True, der.integer(3)),
        "unknown": extension("1.2.3.4", False, b"x"), "unknown-critical": extension("1.2.3.4", True, b"x"),
        "issuer-alt-name": extension("2.5.29.18", False, der.sequence(der.implicit(2, b"ca.example"))),
        "freshest": extension("2.5.29.46", False, der.sequence(der.sequence(der.explicit(0, der.explicit(
            0, der.implicit(6, b"http://ca.example/d.crl")))))),
    })
    for title, more in cases.items():
        yield case(f"extension/{title}", specs, _with(crls_of(specs), 0, more=(more,)))
        yield case(f"extension/{title}/revoked", specs,
                   _with(crls_of(specs), 0, more=(more,), revoked=((specs[0].serial, ()),)))
    yield case("version/v1-with-extensions", specs, _with(crls_of(specs), 0, version=None, more=(cases["number"],)))


def names_and_algorithms():
    for title, change in {"upper-case": str.upper, "printable": None, "spaces": lambda text: f" {text}  "}.items():
        specs = path(0)
        written = tuple((kind, der.PRINTABLE if change is None else tag, value if change is None else change(value))
                        for kind, tag, value in specs[-1].subject)
        for who, revoked in {"nobody": (), "device": ((specs[0].serial, ()),)}.items():
            yield case(f"name/{title}/{who}", specs, _with(crls_of(specs), 0, issuer=written, revoked=revoked))
    for kind in ("rsa2048", "p256"):
        for digest in ("md5", "sha1", "sha224", "sha256", "sha384", "sha512"):
            specs = path(0, (kind,))
            for who, revoked in {"nobody": (), "device": ((specs[0].serial, ()),)}.items():
                yield case(f"algorithm/{digest}/{kind}/{who}", specs,
                           _with(crls_of(specs), 0, hash=digest, revoked=revoked))
    for kind, fields in {"rsa2048": {"is_pss": True}, "rsa2048pss": {}}.items():
        for digest in ("sha256", "sha384", "sha512"):
            specs = path(0, (kind,))
            yield case(f"algorithm/pss-{digest}/{kind}", specs, _with(crls_of(specs), 0, hash=digest, **fields))


def several():
    specs = path(0)
    good = crls_of(specs)[0]
    device = ((specs[0].serial, ()),)
    older, newer = replace(good, begin="20290101000000Z"), replace(good, begin="20300301000000Z")
    for title, crls in {
            "old-revokes": [replace(older, revoked=device), newer], "new-revokes": [older, replace(newer, revoked=device)],
            "both-revoke": [replace(older, revoked=device), replace(newer, revoked=device)],
            "old-expired": [replace(older, end="20300101000000Z"), newer],
            "old-expired-revokes": [replace(older, end="20300101000000Z", revoked=device), newer],
            "twice": [good, good],
            "second-is-of-another": [good, Crl(issuer=name(CN="x"), signer=("p256", 61))],
            "second-is-of-another-revokes": [good, Crl(issuer=name(CN="x"), signer=("p256", 61), revoked=device)],
            "second-is-delta": [good, replace(newer, more=(extension("2.5.29.27", True, der.integer(3)),))],
            "second-is-damaged": [newer, replace(older, damage="signature")],
    }.items():
        yield case(f"several/{title}", specs, crls)
        yield case(f"several/{title}/turned", specs, crls[::-1])
    # Two keys of one CA.
    root = specs[-1]
    second = replace(root, key=("p256", 62), signer=("p256", 62), serial=900)
    of_second = replace(good, signer=second.key)
    for title, crls in {"both": [good, of_second], "turned": [of_second, good]}.items():
        yield case(f"several/rollover-{title}", specs, crls, anchors=[root, second])


def cas_between():
    specs = path(1)
    crls = crls_of(specs)
    yield case("between/no-certificate-beside", specs, crls, beside=[])
    yield case("between/another-beside", specs, crls, beside=[*specs[1:], *path(2)[1:2]])
    yield case("between/revoked-no-certificate-beside", specs, _with(crls, 0, revoked=((specs[0].serial, ()),)), beside=[])
    # The certificate beside it must not be taken for one that is trusted.
    stray = replace(specs[1], key=("p256", 63), issuer=specs[1].subject, signer=("p256", 63))
    below = replace(specs[0], signer=("p256", 63), akid=key_id_of(stray))
    yield case("between/beside-is-not-trusted", [below, stray, specs[-1]], _with(crls, 0, signer=("p256", 63)))
    for usage in (None, ("keyCertSign",), ("keyCertSign", "cRLSign")):
        for at in (1, 2):
            changed = list(path(1))
            changed[at] = replace(changed[at], usage=usage)
            yield case(f"between/usage-{at}-{'-'.join(usage or ('none',))}", changed, crls_of(changed))
    yield case("anchor/not-self-issued", specs[:2], crls[:1], anchors=specs[1:2])
    yield case("anchor/not-self-issued/revoked", specs[:2], _with(crls, 0, revoked=((specs[0].serial, ()),))[:1],
               anchors=specs[1:2])


def every():
    families = (who_is_revoked, what_is_missing, serials, entry_extensions, crl_extensions, names_and_algorithms, several,
                cas_between)
    cases = [one for family in families for one in family()]
    assert len({one.name for one in cases}) == len(cases), "a name stands twice"
    return cases


def expected(one, openssl):
    """Whether the gate must accept, and the entry of a table that says so against OpenSSL, or None."""
    for table, verdict in ((STRICTER, False), (MILDER, True)):
        for row in table:
            if openssl is not verdict and fnmatchcase(one.name, row[0]):
                return verdict, row
    return openssl, None
