"""OpenSSL's s_client. It knows DTLS 1.2 only."""

from clients.program import Program


class OpensslClient(Program):
    # Printed when the handshake is over, before the first line of input is read.
    READY = "SSL handshake has read"

    def __init__(self, address, *options):
        super().__init__(["openssl", "s_client", "-dtls1_2", "-connect", "%s:%d" % address,
                          *options])

    @classmethod
    def psk(cls, address, identity, key, cipher="PSK-AES128-CCM8"):
        # CCM-8 has a short tag: OpenSSL offers it at security level 0 only.
        return cls(address, "-psk_identity", identity, "-psk", key, "-cipher",
                   f"{cipher}:@SECLEVEL=0")

    @classmethod
    def certificate(cls, address, keys, pair=None, cipher="ECDHE-ECDSA-AES128-GCM-SHA256"):
        own = ["-cert", pair.certificate, "-key", pair.key] if pair else []
        return cls(address, "-CAfile", keys.ca.certificate, "-verify_return_error",
                   "-cipher", cipher, *own)

    def close(self):
        """Sends close_notify and ends."""
        self.say("Q")
        return self.wait_end()

    def renegotiate(self):
        self.say("R")
