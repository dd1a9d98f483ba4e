"""GnuTLS's gnutls-cli. It knows DTLS 1.2 only."""

from clients.program import Program

NOTHING_YET = "NORMAL:-VERS-ALL:+VERS-DTLS1.2:-CIPHER-ALL:-KX-ALL"


class GnutlsClient(Program):
    READY = "Simple Client Mode"

    def __init__(self, address, priority, *options):
        super().__init__(["gnutls-cli", "--udp", "--port", address[1],
                          "--priority", f"{NOTHING_YET}:{priority}",
                          *options, address[0]])

    @classmethod
    def psk(cls, address, identity, key, cipher="AES-128-CCM-8", options=()):
        return cls(address, f"+{cipher}:+PSK", "--pskusername", identity, "--pskkey", key, *options)

    @classmethod
    def certificate(cls, address, keys, pair=None, cipher="AES-128-GCM", options=()):
        own = ["--x509certfile", pair.certificate, "--x509keyfile", pair.key] if pair else []
        return cls(address, f"+{cipher}:+ECDHE-ECDSA:+ECDHE-RSA",
                   "--x509cafile", keys.ca.certificate, "--verify-hostname", "localhost", *own, *options)

    def close(self):
        """Sends close_notify and ends."""
        self.end_input()
        return self.wait_end()
