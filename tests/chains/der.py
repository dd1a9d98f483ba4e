"""Writes DER, and what of it no decent tool would write: the chains that are tried here are wrong in many ways."""

INTEGER, BIT_STRING, OCTET_STRING, NULL, OID = 0x02, 0x03, 0x04, 0x05, 0x06
UTF8, PRINTABLE, TELETEX, IA5, BMP = 0x0C, 0x13, 0x14, 0x16, 0x1E
UTC_TIME, GENERALIZED_TIME = 0x17, 0x18
SEQUENCE, SET = 0x30, 0x31


def tlv(tag, content):
    """One element: tag, length, content."""
    length = len(content)
    if length < 0x80:
        return bytes([tag, length]) + content
    size = (length.bit_length() + 7) // 8
    return bytes([tag, 0x80 | size]) + length.to_bytes(size, "big") + content


def sequence(*parts):
    return tlv(SEQUENCE, b"".join(parts))


def set_of(*parts):
    return tlv(SET, b"".join(sorted(parts)))


def integer(value):
    size = max(1, ((value if value >= 0 else ~value).bit_length() + 8) // 8)
    return tlv(INTEGER, value.to_bytes(size, "big", signed=True))


def boolean(value):
    return b"\x01\x01\xff" if value else b"\x01\x01\x00"


def null():
    return tlv(NULL, b"")


def octets(content):
    return tlv(OCTET_STRING, content)


def bits(content, unused=0):
    return tlv(BIT_STRING, bytes([unused]) + content)


def named_bits(numbers):
    """A BIT STRING of the numbered bits, without zero bits at its end."""
    if not numbers:
        return bits(b"")
    size = max(numbers) // 8 + 1
    value = sum(1 << (8 * size - 1 - number) for number in numbers)
    return bits(value.to_bytes(size, "big"), 8 * size - 1 - max(numbers))


def oid(text):
    first, second, *rest = map(int, text.split("."))
    content = bytes([40 * first + second])
    for number in rest:
        groups = [number & 0x7F]
        while number > 0x7F:
            number >>= 7
            groups.append(0x80 | number & 0x7F)
        content += bytes(reversed(groups))
    return tlv(OID, content)


def explicit(number, *parts):
    """[number] EXPLICIT, and any constructed [number] IMPLICIT."""
    return tlv(0xA0 | number, b"".join(parts))


def implicit(number, content):
    """[number] IMPLICIT of what is not constructed."""
    return tlv(0x80 | number, content)


def text(tag, value):
    return tlv(tag, value.encode("utf-16-be" if tag == BMP else "utf-8"))


def time(value):
    """YYYYMMDDHHMMSSZ, as RFC 5280 section 4.1.2.5 wants it; with "general " before it, as a
    GeneralizedTime in any case."""
    if value.startswith("general "):
        return tlv(GENERALIZED_TIME, value[8:].encode())
    if "1950" <= value[:4] < "2050":
        return tlv(UTC_TIME, value[2:].encode())
    return tlv(GENERALIZED_TIME, value.encode())
