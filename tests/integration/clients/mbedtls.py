"""Mbed TLS's ssl_client2, built by scripts/fetch-mbedtls. It knows DTLS 1.2 only, connection IDs included.

It sends a request, waits for one datagram, and so on: the backend's answers pace it.
"""

from clients.program import Program
from environment import MBEDTLS_CLIENT

PSK_CCM8 = "TLS-PSK-WITH-AES-128-CCM-8"
ECDSA_CCM8 = "TLS-ECDHE-ECDSA-WITH-AES-128-CCM-8"


class MbedtlsClient(Program):
    """cid: None, or the connection ID of its own that it asks for (b"" is one without bytes).
    exchanges: requests that it sends before it closes, and a reconnect_hard makes it one more.
    request_bytes: the length of each; without it they are short.
    reconnect_hard: after the first answer it forgets its session and begins anew from its port.
    mtu, max_frag_len, read_timeout (ms), max_resend and others: as ssl_client2 calls them."""

    READY = "Write to server:"

    def __init__(self, address, *, suite, cid=None, exchanges=1, request_bytes=None,
                 reconnect_hard=False, **parameters):
        parameters = {
            "server_addr": address[0], "server_port": address[1], "server_name": "localhost",
            "dtls": 1, "force_version": "dtls12", "force_ciphersuite": suite,
            "exchanges": exchanges, **parameters}
        if cid is not None:
            parameters |= {"cid": 1, "cid_val": cid.hex()}
        if request_bytes is not None:
            parameters["request_size"] = request_bytes
        if reconnect_hard:
            parameters["reconnect_hard"] = 1
        super().__init__([MBEDTLS_CLIENT, *(f"{name}={value}" for name, value in parameters.items())])

    @classmethod
    def psk(cls, address, identity, key, suite=PSK_CCM8, **settings):
        return cls(address, suite=suite, psk=key, psk_identity=identity, ca_file="none",
                   crt_file="none", key_file="none", **settings)

    @classmethod
    def certificate(cls, address, keys, pair, suite=ECDSA_CCM8, **settings):
        return cls(address, suite=suite, auth_mode="required", ca_file=keys.ca.certificate,
                   crt_file=pair.certificate, key_file=pair.key, **settings)

    def wait_closed(self):
        """Waits until it has made its exchanges, closed and ended."""
        status, output = self.wait_end()
        assert status == 0, f"ssl_client2 ended with {status}:\n{output}"
        return output
