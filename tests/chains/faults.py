"""What can be odd about one certificate of a path. A fault changes the Specs of a path at a position: 0 is the
device's, the last one the anchor's. Some are no faults at all, and must not be taken for one."""

import der
from case import change, rekey, resubject
from certificates import key_id, name

FAULTS = {}


def fault(title, where="leaf ca anchor", needs=None):
    def keep(function):
        FAULTS[title] = (function, frozenset(where.split()), needs)
        return function
    return keep


def role(specs, position):
    return "leaf" if position == 0 else "anchor" if position == len(specs) - 1 else "ca"


def _changes(title, where="leaf ca anchor", needs=None, **fields):
    fault(title, where, needs)(lambda specs, at: change(specs, at, **fields))


def _rsa_signed(specs, at):
    return specs[at].signer[0].startswith("rsa")


# --- dates -------------------------------------------------------------------------------------

def add(specs, at, *extensions):
    change(specs, at, more=specs[at].more + extensions)


_changes("expired", end="20220101000000Z")
_changes("not-yet", begin="20450101000000Z")
_changes("end-before-begin", begin="20400101000000Z", end="20250101000000Z")
_changes("forever", end="99991231235959Z")
_changes("from-1950", begin="19500101000000Z")
_changes("general-time", begin="general 20200101000000Z", end="general 20480101000000Z")
_changes("expired-2049-as-1949", begin="general 19400101000000Z", end="general 19491231235959Z")

# --- may it sign -------------------------------------------------------------------------------

_changes("no-basic", "leaf ca anchor", ca=None)
_changes("basic-false", "ca anchor", ca=False)
_changes("basic-empty", "leaf ca anchor", ca="empty")
_changes("basic-not-critical", is_basic_critical=False)
_changes("no-basic-no-usage", "leaf ca anchor", ca=None, usage=None)
_changes("leaf-is-ca", "leaf", ca=True)
_changes("path-len-0", "ca anchor", path_len=0)
_changes("path-len-1", "ca anchor", path_len=1)
_changes("path-len-2", "ca anchor", path_len=2)
_changes("path-len-huge", "ca anchor", path_len=2 ** 33)
_changes("path-len-negative", "ca anchor", path_len=-1)
_changes("path-len-without-ca", "leaf", path_len=0, ca="empty")

_changes("no-usage", usage=None)
_changes("usage-no-cert-sign", "ca anchor", usage=("cRLSign",))
_changes("usage-digital-only", "ca anchor", usage=("digitalSignature",))
_changes("usage-sign-and-digital", "ca anchor", usage=("keyCertSign", "digitalSignature"))
_changes("usage-encipherment", "leaf", usage=("keyEncipherment",))
_changes("usage-agreement", "leaf", usage=("keyAgreement",))
_changes("usage-cert-sign", "leaf", usage=("keyCertSign",))
_changes("usage-non-repudiation", "leaf", usage=("nonRepudiation",))
_changes("usage-digital-and-encipherment", "leaf", usage=("digitalSignature", "keyEncipherment"))
_changes("usage-none", usage=())

_changes("eku-none", eku=None)
_changes("eku-client", eku=("client",))
_changes("eku-server", eku=("server",))
_changes("eku-both", eku=("server", "client"))
_changes("eku-any", eku=("any",))
_changes("eku-any-and-server", eku=("server", "any"))
_changes("eku-email", eku=("email",))
_changes("eku-own", eku=("own",))
_changes("eku-own-and-client", eku=("own", "client"))
_changes("eku-client-critical", eku=("client",), is_eku_critical=True)
_changes("eku-server-critical", eku=("server",), is_eku_critical=True)

# --- form --------------------------------------------------------------------------------------

_changes("v1", version=1, damage="no-extensions")
_changes("v2", version=2, damage="no-extensions")
_changes("v3-without-extensions", damage="no-extensions")
_changes("v4", version=4)
_changes("serial-0", serial=0)
_changes("serial-negative", serial=-5)
_changes("serial-20-bytes", serial=2 ** 158 + 1)
_changes("serial-21-bytes", serial=2 ** 166 + 1)
_changes("signature-broken", damage="signature")
_changes("algorithms-differ", damage="algorithms")


@fault("unknown-extension")
def _unknown(specs, at):
    add(specs, at, ("1.3.6.1.4.1.99999.1", False, der.octets(b"x")))


@fault("unknown-critical-extension")
def _unknown_critical(specs, at):
    add(specs, at, ("1.3.6.1.4.1.99999.1", True, der.octets(b"x")))


@fault("extension-twice")
def _twice(specs, at):
    value = der.named_bits([0] if at == 0 else [5])
    add(specs, at, ("2.5.29.15", True, value), ("2.5.29.15", True, value))
    change(specs, at, usage=None)


@fault("policy")
def _policy(specs, at):
    add(specs, at, ("2.5.29.32", False,
                    der.sequence(der.sequence(der.oid("1.3.6.1.4.1.99999.2")))))


@fault("policy-critical")
def _policy_critical(specs, at):
    add(specs, at, ("2.5.29.32", True,
                    der.sequence(der.sequence(der.oid("1.3.6.1.4.1.99999.2")))))


@fault("policy-constraints-critical", "ca anchor")
def _policy_constraints(specs, at):
    add(specs, at, ("2.5.29.36", True, der.sequence(der.implicit(0, b"\x05"))))


@fault("inhibit-any-policy-critical", "ca anchor")
def _inhibit(specs, at):
    add(specs, at, ("2.5.29.54", True, der.integer(3)))


@fault("distribution-point")
def _distribution(specs, at):
    full = der.explicit(0, der.explicit(0, der.implicit(6, b"http://192.0.2.9/crl")))
    add(specs, at, ("2.5.29.31", False, der.sequence(der.sequence(full))))


@fault("authority-information")
def _authority(specs, at):
    entry = der.sequence(der.oid("1.3.6.1.5.5.7.48.1"), der.implicit(6, b"http://192.0.2.9/ocsp"))
    add(specs, at, ("1.3.6.1.5.5.7.1.1", False, der.sequence(entry)))


# --- names -------------------------------------------------------------------------------------

@fault("issuer-other", "leaf ca")
def _issuer_other(specs, at):
    change(specs, at, issuer=name(O="Works", CN="Somebody else"))


@fault("issuer-case", "leaf ca")
def _issuer_case(specs, at):
    change(specs, at, issuer=tuple((kind, tag, value.upper()) for kind, tag, value in specs[at].issuer))


@fault("issuer-spaces", "leaf ca")
def _issuer_spaces(specs, at):
    change(specs, at, issuer=tuple((kind, tag, f" {value.replace(' ', '  ')} ")
                                   for kind, tag, value in specs[at].issuer))


@fault("issuer-printable", "leaf ca")
def _issuer_printable(specs, at):
    change(specs, at, issuer=tuple((kind, der.PRINTABLE, value) for kind, _, value in specs[at].issuer))


@fault("issuer-order", "leaf ca")
def _issuer_order(specs, at):
    change(specs, at, issuer=tuple(reversed(specs[at].issuer)))


@fault("issuer-empty", "leaf ca")
def _issuer_empty(specs, at):
    change(specs, at, issuer=())


@fault("subject-empty", "ca anchor")
def _subject_empty(specs, at):
    resubject(specs, at, ())


@fault("subject-of-root", "ca")
def _subject_of_root(specs, at):
    resubject(specs, at, specs[-1].subject)


@fault("subject-bmp", "ca anchor")
def _subject_bmp(specs, at):
    resubject(specs, at, (("O", der.BMP, "Works"), ("CN", der.BMP, "Über CA")))


@fault("subject-teletex", "ca anchor")
def _subject_teletex(specs, at):
    resubject(specs, at, (("O", der.TELETEX, "Works"), ("CN", der.TELETEX, "Telex CA")))


@fault("subject-without-cn", "ca anchor")
def _subject_without_cn(specs, at):
    resubject(specs, at, name(C="DE", O="Works", OU="Issuing"))


# --- key identifiers ---------------------------------------------------------------------------

_changes("no-skid", skid=None)
_changes("skid-other", "ca anchor", skid=b"\x55" * 20)
_changes("skid-short", "ca anchor", skid=b"\x55")
_changes("no-akid", akid=None)
_changes("akid-wrong", "leaf ca", akid=b"\xaa" * 20)


@fault("no-key-ids")
def _no_key_ids(specs, at):
    change(specs, at, akid=None, skid=None)


@fault("akid-by-name", "leaf ca")
def _akid_by_name(specs, at):
    above = specs[at + 1]
    change(specs, at, akid=(None, above.issuer, above.serial))


@fault("akid-by-wrong-name", "leaf ca")
def _akid_by_wrong_name(specs, at):
    change(specs, at, akid=(None, name(O="Works", CN="Somebody else"), specs[at + 1].serial))


@fault("akid-by-wrong-serial", "leaf ca")
def _akid_by_wrong_serial(specs, at):
    change(specs, at, akid=(None, specs[at + 1].issuer, 424242))


# --- algorithms --------------------------------------------------------------------------------

_changes("sha1", hash="sha1")
_changes("sha224", hash="sha224", needs=lambda specs, at: specs[at].signer[0] != "ed25519")
_changes("sha384", hash="sha384")
_changes("sha512", hash="sha512")
_changes("md5", hash="md5", needs=_rsa_signed)
_changes("pss", is_pss=True, needs=_rsa_signed)


def _key_fault(kind, where="leaf ca anchor"):
    fault(f"key-{kind}", where)(lambda specs, at: rekey(specs, at, (kind, at)))


for _kind in ("p384", "p521", "ed25519", "rsa1024", "rsa2048", "rsa3072"):
    _key_fault(_kind)
for _kind in ("p224", "k256", "bp256", "rsa2048pss"):
    _key_fault(_kind, "ca anchor")


# --- another hand ------------------------------------------------------------------------------

@fault("signer-other", "leaf ca")
def _signer_other(specs, at):
    """Signed with a key that is not the issuer's, whose identifier it names."""
    keep = specs[at].akid
    kind = specs[at].signer[0]
    change(specs, at, signer=(kind, 77), akid=_own_id(specs[at + 1]) if keep == "own" else keep)


def _own_id(spec):
    return key_id(spec.key) if spec.skid == "own" else spec.skid or b"\x00"


def apply(specs, title, at):
    """False if the fault does not go there."""
    function, where, needs = FAULTS[title]
    if role(specs, at) not in where or needs is not None and not needs(specs, at):
        return False
    function(specs, at)
    return True
