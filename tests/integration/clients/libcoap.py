"""libcoap's coap-client on OpenSSL and on GnuTLS: CoAP over DTLS 1.2, one command a request."""

from clients.program import Program

PROGRAMS = ("coap-client-openssl", "coap-client-gnutls")


class CoapClient(Program):
    """Runs one request. A PSK key is given to libcoap as text, so it is the text's bytes."""

    def __init__(self, program, url, *options, identity=None, key=None, keys=None, pair=None):
        credentials = []
        if identity:
            credentials += ["-u", identity, "-k", key]
        if keys:
            credentials += ["-C", keys.ca.certificate]
        if pair:
            credentials += ["-c", pair.certificate, "-j", pair.key]
        super().__init__([program, "-v", "4", "-B", "10", *credentials, *options, url])

    def answer(self):
        """The payload that the client printed, once it ended."""
        status, output = self.wait_end(15)
        assert status == 0, f"{self.command[0]} ended with {status}:\n{output}"
        return output


def url(address, path=""):
    return "coaps://%s:%d/%s" % (*address, path)
