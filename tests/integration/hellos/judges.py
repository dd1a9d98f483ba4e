"""Servers of OpenSSL and GnuTLS, in this process: what they make of a hello others may expect.

They are the packages' own libraries, fed through memory. DTLS 1.2 is judged as DTLS, with the
cookie exchange. Neither library has DTLS 1.3, so a hello of it is judged as one of TLS 1.3, whose
rules for the body are the same but for legacy_cookie and the cookie (RFC 9147 section 5.3): asked
for another key share counts as served.
"""

import ctypes
import errno
from contextlib import contextmanager
from ctypes import (CFUNCTYPE, POINTER, byref, c_char_p, c_int, c_long, c_size_t, c_ubyte, c_uint,
                    c_uint64, c_void_p)

import records
from hellos.hello import (ASKED, IDENTITY, KEY, REFUSED, SERVED, SILENT, Answer, datagram,
                          read_datagram, read_message, tls_record)

_RECORD_HEADER = 5


def _read_tls(data):
    """The answer in records of TLS."""
    if not data:
        return Answer(SILENT)
    if data[0] == records.ALERT:
        return Answer(REFUSED, alert=data[_RECORD_HEADER + 1])
    return read_message(data[_RECORD_HEADER], data[_RECORD_HEADER + 4:])


def _read_dtls(data):
    return (read_datagram(data) if data else None) or Answer(SILENT)


class Judge:
    """Subclasses have name, and server(is_13): a context manager whose value takes what arrives and
    returns the first that is sent."""

    def verdict(self, hello):
        with self.server(hello.is_13) as feed:
            if hello.is_13:
                answer = _read_tls(feed(tls_record(hello)))
                return Answer(SERVED) if answer.verdict == ASKED else answer
            answer = _read_dtls(feed(datagram(hello)))
            if answer.verdict == ASKED:
                answer = _read_dtls(feed(datagram(hello, answer.cookie)))
            return answer


# --- OpenSSL ---

_SSL_FILETYPE_PEM, _SSL_CTRL_SET_MTU, _BIO_SET_MEM_EOF_RETURN = 1, 17, 130
_COOKIE_EXCHANGE, _NO_QUERY_MTU = 1 << 13, 1 << 12
_SSL_CTRL_MIN_VERSION, _SSL_CTRL_MAX_VERSION = 123, 124
_COOKIE = b"a cookie of this test"

_PskCallback = CFUNCTYPE(c_uint, c_void_p, c_char_p, POINTER(c_ubyte), c_uint)
_MakeCookie = CFUNCTYPE(c_int, c_void_p, POINTER(c_ubyte), POINTER(c_uint))
_CheckCookie = CFUNCTYPE(c_int, c_void_p, POINTER(c_ubyte), c_uint)


@_PskCallback
def _give_psk(_ssl, identity, psk, room):
    if identity != IDENTITY or room < len(KEY):
        return 0
    ctypes.memmove(psk, KEY, len(KEY))
    return len(KEY)


@_MakeCookie
def _make_cookie(_ssl, cookie, length):
    ctypes.memmove(cookie, _COOKIE, len(_COOKIE))
    length[0] = len(_COOKIE)
    return 1


@_CheckCookie
def _check_cookie(_ssl, cookie, length):
    return int(bytes(cookie[:length]) == _COOKIE)


class OpenSSL(Judge):
    name = "openssl"

    def __init__(self, pair):
        self._ssl, self._crypto = ctypes.CDLL("libssl.so.3"), ctypes.CDLL("libcrypto.so.3")
        for function in ("SSL_CTX_new", "SSL_new", "TLS_server_method", "DTLS_server_method"):
            getattr(self._ssl, function).restype = c_void_p
        for function in ("BIO_new", "BIO_s_mem"):
            getattr(self._crypto, function).restype = c_void_p
        self._contexts = {True: self._context(pair, "TLS_server_method", 0x0304),
                          False: self._context(pair, "DTLS_server_method", records.DTLS_12)}

    def _context(self, pair, method, version):
        ssl = self._ssl
        context = c_void_p(ssl.SSL_CTX_new(c_void_p(getattr(ssl, method)())))
        for control in (_SSL_CTRL_MIN_VERSION, _SSL_CTRL_MAX_VERSION):
            assert ssl.SSL_CTX_ctrl(context, control, c_long(version), None) == 1
        assert ssl.SSL_CTX_set_cipher_list(
            context, b"PSK-AES128-CCM8:PSK-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-GCM-SHA256:"
                     b"ECDHE-ECDSA-AES128-CCM8:@SECLEVEL=0") == 1
        assert ssl.SSL_CTX_use_certificate_file(context, str(pair.certificate).encode(),
                                                _SSL_FILETYPE_PEM) == 1
        assert ssl.SSL_CTX_use_PrivateKey_file(context, str(pair.key).encode(),
                                               _SSL_FILETYPE_PEM) == 1
        ssl.SSL_CTX_set_psk_server_callback(context, _give_psk)
        ssl.SSL_CTX_set_cookie_generate_cb(context, _make_cookie)
        ssl.SSL_CTX_set_cookie_verify_cb(context, _check_cookie)
        return context

    @contextmanager
    def server(self, is_13):
        ssl, crypto = self._ssl, self._crypto
        connection = c_void_p(ssl.SSL_new(self._contexts[is_13]))
        ends = [c_void_p(crypto.BIO_new(c_void_p(crypto.BIO_s_mem()))) for _ in range(2)]
        for end in ends:
            crypto.BIO_ctrl(end, _BIO_SET_MEM_EOF_RETURN, c_long(-1), None)
        ssl.SSL_set_bio(connection, *ends)
        if not is_13:
            ssl.SSL_set_options(connection, c_uint64(_COOKIE_EXCHANGE | _NO_QUERY_MTU))
            ssl.SSL_ctrl(connection, _SSL_CTRL_SET_MTU, c_long(1400), None)
        room = ctypes.create_string_buffer(65536)

        def feed(data):
            crypto.BIO_write(ends[0], data, len(data))
            ssl.SSL_accept(connection)
            length = crypto.BIO_read(ends[1], room, len(room))
            return room.raw[:max(length, 0)]
        try:
            yield feed
        finally:
            ssl.SSL_free(connection)
            crypto.ERR_clear_error()


# --- GnuTLS ---

_SERVER, _DATAGRAM, _NONBLOCK = 1, 4, 8
_E_AGAIN, _E_INTERRUPTED = -28, -52
_CRD_CERTIFICATE, _CRD_PSK = 1, 4
_X509_FMT_PEM = 1

_Pull = CFUNCTYPE(c_long, c_void_p, POINTER(c_ubyte), c_size_t)
_PullTimeout = CFUNCTYPE(c_int, c_void_p, c_uint)
_Push = CFUNCTYPE(c_long, c_void_p, POINTER(c_ubyte), c_size_t)


class _Datum(ctypes.Structure):
    _fields_ = [("data", c_void_p), ("size", c_uint)]


class _Prestate(ctypes.Structure):
    _fields_ = [("record_seq", c_uint), ("hsk_read_seq", c_uint), ("hsk_write_seq", c_uint)]


class GnuTLS(Judge):
    name = "gnutls"
    _CLIENT = ctypes.create_string_buffer(b"client")

    def __init__(self, pair, psk_file):
        gnutls = self._gnutls = ctypes.CDLL("libgnutls.so.30")
        self._certificate, self._psk, self._cookie_key = c_void_p(), c_void_p(), _Datum()
        assert gnutls.gnutls_certificate_allocate_credentials(byref(self._certificate)) == 0
        assert gnutls.gnutls_certificate_set_x509_key_file(
            self._certificate, str(pair.certificate).encode(), str(pair.key).encode(),
            _X509_FMT_PEM) == 0
        assert gnutls.gnutls_psk_allocate_server_credentials(byref(self._psk)) == 0
        assert gnutls.gnutls_psk_set_server_credentials_file(self._psk,
                                                             str(psk_file).encode()) == 0
        assert gnutls.gnutls_key_generate(byref(self._cookie_key), 16) == 0
        common = (b"NONE:+CIPHER-ALL:+MAC-ALL:+COMP-NULL:+SIGN-ALL:+GROUP-SECP256R1:+GROUP-X25519:"
                  b"+CTYPE-X509:+AES-128-CCM-8:+AES-128-CCM:+PSK:+ECDHE-ECDSA:+DHE-PSK:+ECDHE-PSK:")
        self._priorities = {}
        for is_13, versions in ((True, b"+VERS-TLS1.3"), (False, b"+VERS-DTLS1.2")):
            priority, where = c_void_p(), c_char_p()
            assert gnutls.gnutls_priority_init(byref(priority), common + versions,
                                               byref(where)) == 0, where.value
            self._priorities[is_13] = priority

    @contextmanager
    def server(self, is_13):
        gnutls, session = self._gnutls, c_void_p()
        flags = _SERVER | _NONBLOCK | (0 if is_13 else _DATAGRAM)
        assert gnutls.gnutls_init(byref(session), flags) == 0
        arrived, sent = [], []

        @_Pull
        def pull(_transport, buffer, size):
            if not arrived:
                gnutls.gnutls_transport_set_errno(session, errno.EAGAIN)
                return -1
            piece = arrived.pop()
            if is_13 and len(piece) > size:
                arrived.append(piece[size:])
            ctypes.memmove(buffer, piece, min(len(piece), size))
            return min(len(piece), size)

        @_Push
        def push(_transport, buffer, size):
            sent.append(ctypes.string_at(buffer, size))
            return size

        @_PullTimeout
        def wait(_transport, _milliseconds):
            return int(bool(arrived))

        gnutls.gnutls_transport_set_pull_function(session, pull)
        gnutls.gnutls_transport_set_push_function(session, push)
        gnutls.gnutls_transport_set_pull_timeout_function(session, wait)
        gnutls.gnutls_priority_set(session, self._priorities[is_13])
        gnutls.gnutls_credentials_set(session, _CRD_CERTIFICATE, self._certificate)
        gnutls.gnutls_credentials_set(session, _CRD_PSK, self._psk)

        def feed(data):
            sent.clear()
            if is_13 or self._has_cookie(session, data, push):
                arrived.append(data)
                self._handshake(session, arrived, sent)
            return sent[0] if sent else b""
        try:
            yield feed
        finally:
            gnutls.gnutls_deinit(session)

    def _has_cookie(self, session, data, push):
        """What a server does before it has a session; else a cookie is sent."""
        gnutls, prestate = self._gnutls, _Prestate()
        client = (byref(self._cookie_key), self._CLIENT, c_size_t(6))
        if gnutls.gnutls_dtls_cookie_verify(*client, data, c_size_t(len(data)),
                                            byref(prestate)) < 0:
            gnutls.gnutls_dtls_cookie_send(*client, byref(prestate), None, push)
            return False
        gnutls.gnutls_dtls_prestate_set(session, byref(prestate))
        return True

    def _handshake(self, session, arrived, sent):
        result = _E_AGAIN
        while result == _E_AGAIN and arrived and not sent:
            result = self._gnutls.gnutls_handshake(session)
        if not sent and result not in (_E_AGAIN, _E_INTERRUPTED):
            # The library leaves it to its user to send the alert.
            self._gnutls.gnutls_alert_send_appropriate(session, result)
