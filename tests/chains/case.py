"""A chain that is tried, and the plain good path that most of them are made of."""

from dataclasses import dataclass, replace

from certificates import Spec, key_id, make, name

# When the chains are judged. What is valid then is valid whenever the tests may run, and the other
# way round; but for the cases that have a moment of their own.
MOMENT = "20300601120000Z"

# Kinds of keys, the device's first, the anchor's last; the last but one is repeated.
P256, RSA, MIXED = ("p256",), ("rsa2048",), ("p256", "rsa2048", "p384")


@dataclass(frozen=True)
class Case:
    name: str
    tags: frozenset  # what is odd about it; the table of disagreements speaks of these
    anchors: tuple   # in DER
    shown: tuple     # the device's own first
    key: tuple       # the device's, of the pool
    moment: str = MOMENT
    crls: tuple = ()     # in DER; none: nothing is asked about revocation
    beside: tuple = ()   # certificates, in DER, that stand beside the CRLs in the gate's file


def kind_at(kinds, position, depth):
    if position == depth + 1:
        return kinds[-1]
    return kinds[min(position, max(0, len(kinds) - 2))] if len(kinds) > 1 else kinds[0]


def path(depth=1, kinds=P256, **leaf):
    """Specs of a good path, the device's first, the root last, with `depth` CAs between them."""
    pairs = [(kind_at(kinds, position, depth), position) for position in range(depth + 2)]
    names = [name(O="Works", CN="device-1"),
             *(name(O="Works", CN=f"Devices CA {number}") for number in range(1, depth + 1)),
             name(O="Works", CN="Root CA")]
    specs = [Spec(subject=names[0], key=pairs[0], issuer=names[1], signer=pairs[1], serial=1000,
                  ca=False, usage=("digitalSignature",), eku=("client",))]
    for position in range(1, depth + 2):
        above = min(position + 1, depth + 1)
        specs.append(Spec(subject=names[position], key=pairs[position], issuer=names[above],
                          signer=pairs[above], serial=10 + position, ca=True,
                          usage=("keyCertSign", "cRLSign")))
    specs[0] = replace(specs[0], **leaf)
    return specs


def case(title, specs, *tags, anchors=None, shown=None, moment=MOMENT):
    """Of Specs. By default all but the last are shown, and the last is the anchor."""
    anchors = specs[-1:] if anchors is None else anchors
    shown = specs[:-1] or specs if shown is None else shown
    return Case(title, frozenset(tags), tuple(make(spec) for spec in anchors),
                tuple(make(spec) for spec in shown), shown[0].key, moment)


def resubject(specs, position, subject):
    """Another subject; those that it has issued follow."""
    old = specs[position].subject
    specs[position] = replace(specs[position], subject=subject)
    if specs[position].issuer == old and specs[position].signer == specs[position].key:
        specs[position] = replace(specs[position], issuer=subject)
    if position > 0:
        specs[position - 1] = replace(specs[position - 1], issuer=subject)


def rekey(specs, position, pair):
    """Another key; those that it has signed follow."""
    is_root = specs[position].signer == specs[position].key
    specs[position] = replace(specs[position], key=pair, **({"signer": pair} if is_root else {}))
    if position > 0:
        specs[position - 1] = replace(specs[position - 1], signer=pair)


def change(specs, position, **fields):
    specs[position] = replace(specs[position], **fields)


def key_id_of(spec):
    return key_id(spec.key)
