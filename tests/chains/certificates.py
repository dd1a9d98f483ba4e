"""Certificates of any content: what each is to be is a Spec, make() writes and signs it. Keys come from a pool; the
same Spec makes the same certificate within a run."""

import base64
import hashlib
from dataclasses import dataclass, replace
from functools import lru_cache

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

import der

CURVES = {"p224": ec.SECP224R1, "p256": ec.SECP256R1, "p384": ec.SECP384R1, "p521": ec.SECP521R1,
          "k256": ec.SECP256K1, "bp256": ec.BrainpoolP256R1}
HASHES = {"md5": hashes.MD5, "sha1": hashes.SHA1, "sha224": hashes.SHA224, "sha256": hashes.SHA256,
          "sha384": hashes.SHA384, "sha512": hashes.SHA512}
RSA_OIDS = {"md5": "1.2.840.113549.1.1.4", "sha1": "1.2.840.113549.1.1.5",
            "sha224": "1.2.840.113549.1.1.14", "sha256": "1.2.840.113549.1.1.11",
            "sha384": "1.2.840.113549.1.1.12", "sha512": "1.2.840.113549.1.1.13"}
ECDSA_OIDS = {"sha1": "1.2.840.10045.4.1", "sha224": "1.2.840.10045.4.3.1",
              "sha256": "1.2.840.10045.4.3.2", "sha384": "1.2.840.10045.4.3.3",
              "sha512": "1.2.840.10045.4.3.4"}
HASH_OIDS = {"sha256": "2.16.840.1.101.3.4.2.1", "sha384": "2.16.840.1.101.3.4.2.2",
             "sha512": "2.16.840.1.101.3.4.2.3"}
ED25519, RSA_PSS, MGF1 = "1.3.101.112", "1.2.840.113549.1.1.10", "1.2.840.113549.1.1.8"

# Bits of keyUsage, RFC 5280 section 4.2.1.3.
USAGES = {"digitalSignature": 0, "nonRepudiation": 1, "keyEncipherment": 2, "dataEncipherment": 3,
          "keyAgreement": 4, "keyCertSign": 5, "cRLSign": 6}
PURPOSES = {"any": "2.5.29.37.0", "server": "1.3.6.1.5.5.7.3.1", "client": "1.3.6.1.5.5.7.3.2",
            "code": "1.3.6.1.5.5.7.3.3", "email": "1.3.6.1.5.5.7.3.4", "own": "1.3.6.1.4.1.99999.7"}
ATTRIBUTES = {"CN": "2.5.4.3", "C": "2.5.4.6", "O": "2.5.4.10", "OU": "2.5.4.11",
              "email": "1.2.840.113549.1.9.1", "serial": "2.5.4.5"}
EXTENSIONS = {"skid": "2.5.29.14", "usage": "2.5.29.15", "san": "2.5.29.17", "basic": "2.5.29.19",
              "constraints": "2.5.29.30", "akid": "2.5.29.35", "eku": "2.5.29.37"}

RSA_KEYS = 5  # as they take long to make: numbers that differ by this are one key

VALID_FROM, VALID_TO = "20200101000000Z", "20491231235959Z"


@lru_cache(maxsize=None)
def key(kind, number):
    """A private key of the pool. All but RSA's are the same in each run."""
    seed = hashlib.sha256(f"{kind} {number}".encode()).digest()
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.from_private_bytes(seed)
    if kind in CURVES:
        secret = int.from_bytes(seed[:27], "big")  # less than the order of the smallest
        return ec.derive_private_key(secret, CURVES[kind]())
    return _rsa_key(int(kind.removeprefix("rsa").removesuffix("pss")), number % RSA_KEYS)


@lru_cache(maxsize=None)
def _rsa_key(size, number):
    return rsa.generate_private_key(65537, size)


def name(**attributes):
    """A Name: ((attribute, tag, value), ...), one to each RDN."""
    return tuple((attribute, der.PRINTABLE if attribute == "C" else der.UTF8, value)
                 for attribute, value in attributes.items())


@dataclass(frozen=True)
class Spec:
    """What a certificate is to be. None: the extension is not there."""
    subject: tuple
    key: tuple             # (kind, number) of the pool
    issuer: tuple
    signer: tuple          # the issuer's key
    serial: int = 1
    version: int = 3
    begin: str = VALID_FROM
    end: str = VALID_TO
    ca: object = None      # None, True, False, or "empty" (false by default)
    path_len: object = None
    is_basic_critical: bool = True
    usage: object = None   # tuple of USAGES
    eku: object = None     # tuple of PURPOSES
    is_eku_critical: bool = False
    san: object = None     # tuple of (kind, value), see general_name
    is_san_critical: bool = False
    skid: object = "own"   # "own": by the key; or bytes
    akid: object = "own"   # "own": the signer's; bytes; or (bytes or None, issuer name, serial)
    permitted: tuple = ()  # name constraints: of (kind, value)
    excluded: tuple = ()
    is_constraints_critical: bool = True
    more: tuple = ()       # (oid, is_critical, value in DER)
    hash: object = None    # None: the usual of the signer's kind
    is_pss: bool = False   # signed with RSASSA-PSS
    damage: object = None  # "signature", "algorithms", "trailing", "no-extensions"


def key_id(pair):
    return hashlib.sha1(_point(pair)).digest()


def _point(pair):
    public = key(*pair).public_key()
    if pair[0] == "ed25519":
        return public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    if pair[0].startswith("rsa"):
        return public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.PKCS1)
    return public.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


@lru_cache(maxsize=None)
def _public_info(pair):
    if pair[0].endswith("pss"):
        return der.sequence(der.sequence(der.oid(RSA_PSS)), der.bits(_point(pair)))
    return key(*pair).public_key().public_bytes(serialization.Encoding.DER,
                                                serialization.PublicFormat.SubjectPublicKeyInfo)


def write_name(parts):
    return der.sequence(*(der.set_of(der.sequence(der.oid(ATTRIBUTES[kind]), der.text(tag, value)))
                          for kind, tag, value in parts))


def general_name(kind, value):
    """RFC 5280 section 4.2.1.6. An address in name constraints has its mask behind it."""
    if kind == "dns":
        return der.implicit(2, value.encode())
    if kind == "email":
        return der.implicit(1, value.encode())
    if kind == "uri":
        return der.implicit(6, value.encode())
    if kind == "ip":
        return der.implicit(7, bytes.fromhex(value))
    if kind == "directory":
        return der.explicit(4, write_name(value))
    if kind == "registered":
        return der.implicit(8, der.oid(value)[2:])
    assert kind == "other", kind
    return der.explicit(0, der.oid("1.3.6.1.4.1.99999.9"), der.explicit(0, der.text(der.UTF8, value)))


def _basic(spec):
    parts = [] if spec.ca == "empty" else [der.boolean(True)] if spec.ca else []
    if spec.path_len is not None:
        parts.append(der.integer(spec.path_len))
    return der.sequence(*parts)


def _akid(spec):
    value = key_id(spec.signer) if spec.akid == "own" else spec.akid
    if isinstance(value, bytes):
        return der.sequence(der.implicit(0, value))
    number, issuer, serial = value
    parts = [] if number is None else [der.implicit(0, number)]
    return der.sequence(*parts, der.explicit(1, der.explicit(4, write_name(issuer))),
                        der.implicit(2, der.integer(serial)[2:]))


def _subtrees(number, names):
    if not names:
        return b""
    return der.explicit(number, *(der.sequence(general_name(*entry)) for entry in names))


def _extensions(spec):
    def extension(which, is_critical, value):
        return der.sequence(der.oid(which), der.boolean(True) if is_critical else b"", der.octets(value))

    if spec.skid is not None:
        value = key_id(spec.key) if spec.skid == "own" else spec.skid
        yield extension(EXTENSIONS["skid"], False, der.octets(value))
    if spec.akid is not None:
        yield extension(EXTENSIONS["akid"], False, _akid(spec))
    if spec.ca is not None:
        yield extension(EXTENSIONS["basic"], spec.is_basic_critical, _basic(spec))
    if spec.usage is not None:
        yield extension(EXTENSIONS["usage"], True, der.named_bits([USAGES[u] for u in spec.usage]))
    if spec.eku is not None:
        yield extension(EXTENSIONS["eku"], spec.is_eku_critical,
                        der.sequence(*(der.oid(PURPOSES[purpose]) for purpose in spec.eku)))
    if spec.san is not None:
        yield extension(EXTENSIONS["san"], spec.is_san_critical,
                        der.sequence(*(general_name(*entry) for entry in spec.san)))
    if spec.permitted or spec.excluded:
        yield extension(EXTENSIONS["constraints"], spec.is_constraints_critical,
                        der.sequence(_subtrees(0, spec.permitted), _subtrees(1, spec.excluded)))
    for which, is_critical, value in spec.more:
        yield extension(which, is_critical, value)


def _hash_of(spec):
    usual = {"p384": "sha384", "p521": "sha512"}.get(spec.signer[0], "sha256")
    wanted = spec.hash or usual
    # There is no ECDSA with MD5.
    return "sha1" if wanted == "md5" and spec.signer[0] in CURVES else wanted


def _has_pss(spec):
    return spec.signer[0].endswith("pss") or spec.is_pss and spec.signer[0].startswith("rsa")


def _algorithm(spec, digest):
    kind = spec.signer[0]
    if kind == "ed25519":
        return der.sequence(der.oid(ED25519))
    if kind in CURVES:
        return der.sequence(der.oid(ECDSA_OIDS[digest]))
    if not _has_pss(spec):
        return der.sequence(der.oid(RSA_OIDS[digest]), der.null())
    hashed = der.sequence(der.oid(HASH_OIDS[digest]), der.null())
    return der.sequence(der.oid(RSA_PSS), der.sequence(
        der.explicit(0, hashed), der.explicit(1, der.sequence(der.oid(MGF1), hashed)),
        der.explicit(2, der.integer(HASHES[digest].digest_size))))


def _sign(spec, digest, content):
    private, kind = key(*spec.signer), spec.signer[0]
    if kind == "ed25519":
        return private.sign(content)
    hashed = HASHES[digest]()
    if kind in CURVES:
        return private.sign(content, ec.ECDSA(hashed))
    if _has_pss(spec):
        return private.sign(content, padding.PSS(padding.MGF1(hashed), hashed.digest_size), hashed)
    return private.sign(content, padding.PKCS1v15(), hashed)


def algorithm_of(spec):
    """Of what spec.signer signs, which need not be a certificate."""
    return _algorithm(spec, _hash_of(spec))


def sign(spec, content):
    return _sign(spec, _hash_of(spec), content)


@lru_cache(maxsize=None)
def make(spec):
    """The certificate in DER."""
    digest = _hash_of(spec)
    algorithm = _algorithm(spec, digest)
    parts = [der.explicit(0, der.integer(spec.version - 1))] if spec.version > 1 else []
    parts += [der.integer(spec.serial), algorithm, write_name(spec.issuer),
              der.sequence(der.time(spec.begin), der.time(spec.end)), write_name(spec.subject),
              _public_info(spec.key)]
    extensions = list(_extensions(spec))
    if spec.version >= 3 and spec.damage != "no-extensions" and extensions:
        parts.append(der.explicit(3, der.sequence(*extensions)))
    content = der.sequence(*parts)
    signature = bytearray(_sign(spec, digest, content))
    if spec.damage == "signature":
        signature[-2] ^= 1
    if spec.damage == "algorithms":  # the one outside is not the one inside, which is signed
        algorithm = _algorithm(replace(spec, hash="sha512" if digest != "sha512" else "sha384"),
                               "sha512" if digest != "sha512" else "sha384")
    return der.sequence(content, algorithm, der.bits(bytes(signature))) + \
        (b"\x00" if spec.damage == "trailing" else b"")


def pem(content, kind="CERTIFICATE"):
    text = base64.b64encode(content).decode()
    lines = [text[at:at + 64] for at in range(0, len(text), 64)]
    return "\n".join([f"-----BEGIN {kind}-----", *lines, f"-----END {kind}-----", ""])


def private_pem(pair):
    return key(*pair).private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                    serialization.NoEncryption()).decode()
